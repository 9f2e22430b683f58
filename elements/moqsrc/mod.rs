//! `moqsrc`: plays a broadcast as a live source.

mod imp;
mod mailbox;
mod pad;
mod run;
mod session;
mod settings;
mod slot;
mod starved;
mod stats;
mod streams;
mod track_src;

use gst::{glib, prelude::*};

use crate::net::subscribe::{CatalogFormat, Start};

glib::wrapper! {
    /// Plays a MoQ broadcast: one `video_%u` or `audio_%u` pad for each track of its catalog.
    pub struct MoqSrc(ObjectSubclass<imp::MoqSrc>) @extends gst::Bin, gst::Element, gst::Object, @implements gst::ChildProxy;
}

/// Where playing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstMoqSrcStart")]
pub enum MoqSrcStart {
    #[default]
    #[enum_value(
        name = "At the live edge, wherever in a group that is: what precedes it is only decoded",
        nick = "live"
    )]
    Live = 0,
    #[enum_value(
        name = "With the next video group, so that a recording begins with a key frame",
        nick = "next-group"
    )]
    NextGroup = 1,
}

impl From<MoqSrcStart> for Start {
    fn from(start: MoqSrcStart) -> Self {
        match start {
            MoqSrcStart::Live => Self::Live,
            MoqSrcStart::NextGroup => Self::NextGroup,
        }
    }
}

/// Which form of the catalog is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstMoqSrcCatalog")]
pub enum MoqSrcCatalog {
    #[default]
    #[enum_value(
        name = "What there is: hang's first, but MSF's first for broadcasts whose names end in .msf",
        nick = "auto"
    )]
    Auto = 0,
    #[enum_value(
        name = "That of hang: catalog.json, or compressed catalog.json.z",
        nick = "hang"
    )]
    Hang = 1,
    #[enum_value(name = "That of MSF: catalog", nick = "msf")]
    Msf = 2,
}

impl From<MoqSrcCatalog> for CatalogFormat {
    fn from(catalog: MoqSrcCatalog) -> Self {
        match catalog {
            MoqSrcCatalog::Auto => Self::Auto,
            MoqSrcCatalog::Hang => Self::Hang,
            MoqSrcCatalog::Msf => Self::Msf,
        }
    }
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    MoqSrcCatalog::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    MoqSrcStart::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "moqsrc",
        gst::Rank::NONE,
        MoqSrc::static_type(),
    )
}

/*
 * SECTION:element-moqsink
 *
 * Publishes encoded media as a Media over QUIC broadcast. The page is docs/elements/moqsink.md.
 *
 * |[
 * gst-launch-1.0 -e videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=60 ! h264parse !
 *   moqsink url=https://relay.example/ broadcast=camera.hang
 * ]|
 */
//! `moqsink`: a bin with one private sink per track.
//!
//! | File | What it is about |
//! |---|---|
//! | `imp` | the bin: properties, templates, states |
//! | `pads` | pads that come and go |
//! | `events` | what tracks and connection have to say; end of stream |
//! | `settings` | properties of the element |
//! | `pad` | the request pad and its properties |
//! | `track_sink` | the private sink: pacing, caps, segments, buffers |
//! | `track` | access units → groups of one track |
//! | `feed` | the stream of a track, and the frames that are made of it |
//! | `frame` | access units of each codec: what they are and how they are written |
//! | `details` | what tags add to the catalog entry of a track |
//! | `network` | what the network makes of a track: losses, congestion, QoS |
//! | `publication` | broadcast, catalog, announcement: what the tracks have in common |
//! | `catalogs` | the catalog tracks |
//! | `compat` | properties that moq-gst has |
//! | `key_unit` | asking the encoder for a key frame |
//! | `requests` | players that ask for one from afar |
//! | `stats` | the `stats` structure |

mod catalogs;
mod compat;
mod details;
mod events;
mod feed;
mod frame;
mod imp;
mod key_unit;
mod network;
mod pad;
mod pads;
mod publication;
mod requests;
mod settings;
mod stats;
#[cfg(test)]
mod tests;
mod track;
mod track_sink;
mod unparsed;

use gst::{glib, prelude::*};

use crate::elements::caps::Packaging;

glib::wrapper! {
    pub struct MoqSink(ObjectSubclass<imp::MoqSink>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

glib::wrapper! {
    pub struct MoqSinkPad(ObjectSubclass<pad::MoqSinkPad>)
        @extends gst::GhostPad, gst::ProxyPad, gst::Pad, gst::Object;
}

glib::wrapper! {
    pub struct MoqTrackSink(ObjectSubclass<track_sink::MoqTrackSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

/// Where the track of a pad is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMoqSinkTrackStatus")]
#[repr(i32)]
pub enum MoqSinkTrackStatus {
    #[default]
    #[enum_value(name = "Nothing known of the stream yet", nick = "pending")]
    Pending,
    #[enum_value(name = "Waits for the first key frame", nick = "waiting")]
    Waiting,
    #[enum_value(name = "In the catalog and written", nick = "publishing")]
    Publishing,
    #[enum_value(name = "End of stream", nick = "ended")]
    Ended,
    #[enum_value(
        name = "Cannot be published, see track-error; the other tracks go on",
        nick = "failed"
    )]
    Failed,
}

/// How frames are laid out in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMoqSinkContainer")]
#[repr(i32)]
pub enum MoqSinkContainer {
    #[default]
    #[enum_value(
        name = "A timestamp and the frame, as all hang players read it",
        nick = "legacy"
    )]
    Legacy,
    #[enum_value(name = "Low Overhead Container, for IETF players", nick = "loc")]
    Loc,
    #[enum_value(name = "Fragmented MP4, for Media Source players", nick = "cmaf")]
    Cmaf,
}

impl From<MoqSinkContainer> for Packaging {
    fn from(container: MoqSinkContainer) -> Self {
        match container {
            MoqSinkContainer::Legacy => Self::Legacy,
            MoqSinkContainer::Loc => Self::Loc,
            MoqSinkContainer::Cmaf => Self::Cmaf,
        }
    }
}

impl From<Packaging> for MoqSinkContainer {
    fn from(packaging: Packaging) -> Self {
        match packaging {
            Packaging::Legacy => Self::Legacy,
            Packaging::Loc => Self::Loc,
            Packaging::Cmaf => Self::Cmaf,
        }
    }
}

/// Wire forms of the catalog.
#[glib::flags(name = "GstMoqSinkCatalogs")]
pub enum MoqSinkCatalogs {
    #[flags_value(name = "hang: catalog.json and catalog.json.z", nick = "hang")]
    HANG = 0b1,
    #[flags_value(name = "MSF: catalog", nick = "msf")]
    MSF = 0b10,
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    MoqSinkPad::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    for type_ in [
        MoqSinkTrackStatus::static_type(),
        MoqSinkContainer::static_type(),
        MoqSinkCatalogs::static_type(),
        compat::MoqSinkConnectionStatus::static_type(),
    ] {
        type_.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "moqsink",
        gst::Rank::NONE,
        MoqSink::static_type(),
    )
}

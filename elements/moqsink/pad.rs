//! The request pad: a ghost of the private sink's pad, with the properties of its track.

use std::sync::{Arc, LazyLock, OnceLock};

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{
    MoqSinkContainer, MoqSinkTrackStatus,
    imp::CAT,
    track::{Track, default_priority},
};
use crate::{media::codec::Kind, policy::group::DEFAULT_AUDIO_DURATION};

#[derive(Default)]
pub struct MoqSinkPad {
    track: OnceLock<Arc<Track>>,
    kind: OnceLock<Option<Kind>>,
}

impl MoqSinkPad {
    pub(super) fn set_up(&self, track: Arc<Track>, kind: Option<Kind>) {
        let _ = self.track.set(track);
        let _ = self.kind.set(kind);
    }

    fn kind(&self, track: &Track) -> Option<Kind> {
        let known = track.info.lock().kind;
        known.or_else(|| self.kind.get().copied().flatten())
    }
}

#[glib::object_subclass]
impl ObjectSubclass for MoqSinkPad {
    const NAME: &'static str = "GstMoqSinkPad";
    type Type = super::MoqSinkPad;
    type ParentType = gst::GhostPad;
}

impl ObjectImpl for MoqSinkPad {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("track")
                    .nick("Track")
                    .blurb(
                        "Name of the track; unset = the next free number and the codec, such as 0.avc3 or 1.opus, readable \
                         once the stream is known. Used when the track begins, so changeable until then in any state",
                    )
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("priority")
                    .nick("Priority")
                    .blurb(
                        "Priority of the track, higher is sent first when the network is short (0 to 255; unset = 80 for \
                         audio, 60 for video). Used when the track begins, so changeable until then in any state",
                    )
                    .maximum(255)
                    .default_value(60)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt64::builder("group-duration")
                    .nick("Group duration")
                    .blurb(
                        "How much audio goes into one group: shorter lets players start sooner and lose less, longer costs \
                         fewer streams (ns, 0 = a group for each packet; video groups start at key frames). Changeable in \
                         any state",
                    )
                    .default_value(DEFAULT_AUDIO_DURATION.unsigned_abs())
                    .mutable_playing()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("container", MoqSinkContainer::default())
                    .nick("Container")
                    .blurb(
                        "How frames are laid out in objects. Used when caps arrive, so changeable until then in any state",
                    )
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("encoder")
                    .nick("Encoder")
                    .blurb(
                        "A local encoder feeds the pad: how late its first frames come behind their running time is part of \
                         the jitter in the catalog. Leave it off for files and for what comes over a network. Changeable in \
                         any state",
                    )
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("demand")
                    .nick("Demand")
                    .blurb("Somebody subscribes to the track; notified on change")
                    .read_only()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("track-status", MoqSinkTrackStatus::default())
                    .nick("Track status")
                    .blurb("Where the track is in its life; notified on change")
                    .read_only()
                    .build(),
                glib::ParamSpecString::builder("track-error")
                    .nick("Track error")
                    .blurb("Why the track failed, unset unless it did; notified on change")
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let Some(track) = self.track.get() else {
            return;
        };
        if matches!(pspec.name(), "track" | "priority") && track.info.lock().name.is_some() {
            gst::warning!(
                CAT,
                imp = self,
                "The track has begun; {} is used when the next one does",
                pspec.name()
            );
        }
        if pspec.name() == "container" && track.has_stream() {
            gst::warning!(
                CAT,
                imp = self,
                "The stream is known; container is used with the next caps"
            );
        }
        let mut settings = track.settings.lock();
        match pspec.name() {
            "track" => {
                settings.name = value
                    .get::<Option<String>>()
                    .expect("type checked upstream")
                    .filter(|name| !name.is_empty());
            }
            "priority" => {
                let priority = value.get::<u32>().expect("type checked upstream");
                settings.priority = Some(u8::try_from(priority).unwrap_or(u8::MAX));
            }
            "group-duration" => {
                let duration = value.get::<u64>().expect("type checked upstream");
                settings.group_duration = i64::try_from(duration).unwrap_or(i64::MAX);
            }
            "container" => {
                let container: MoqSinkContainer = value.get().expect("type checked upstream");
                settings.packaging = container.into();
            }
            "encoder" => settings.encoder = value.get().expect("type checked upstream"),
            name => unreachable!("no property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let Some(track) = self.track.get() else {
            return pspec.default_value().clone();
        };
        let settings = track.settings.lock().clone();
        let info = track.info.lock().clone();
        match pspec.name() {
            "track" => info.name.or(settings.name).to_value(),
            "priority" => {
                let default = || default_priority(self.kind(track).unwrap_or(Kind::Video));
                u32::from(settings.priority.unwrap_or_else(default)).to_value()
            }
            "group-duration" => settings.group_duration.unsigned_abs().to_value(),
            "container" => MoqSinkContainer::from(settings.packaging).to_value(),
            "encoder" => settings.encoder.to_value(),
            "demand" => info.demand.to_value(),
            "track-status" => info.status.to_value(),
            "track-error" => info.error.to_value(),
            name => unreachable!("no property {name}"),
        }
    }
}

impl GstObjectImpl for MoqSinkPad {}
impl PadImpl for MoqSinkPad {}
impl ProxyPadImpl for MoqSinkPad {}
impl GhostPadImpl for MoqSinkPad {}

//! Pads that come and go, and the private sink and track of each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::prelude::*;

use super::{
    imp::{CAT, MoqSink},
    publication::{TrackId, end_track},
    track::Track,
};
use crate::media::codec::Kind;

#[derive(Default)]
pub(super) struct Pads {
    next: TrackId,
    /// Names in use, from the request of a pad to its release.
    names: BTreeMap<TrackId, String>,
    all: BTreeMap<TrackId, Entry>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub pad: super::MoqSinkPad,
    pub sink: super::MoqTrackSink,
    pub track: Arc<Track>,
}

impl Entry {
    /// An element message about this pad, with its name and that of its track.
    pub fn message(&self, name: &str) -> gst::structure::Builder {
        let track = self.track.info.lock().name.clone();
        gst::Structure::builder(name)
            .field("pad", self.pad.name())
            .field_if_some("track", track)
    }
}

impl ChildProxyImpl for MoqSink {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let pads = self.pads.lock();
        let entry = pads.all.values().nth(usize::try_from(index).ok()?)?;
        Some(entry.pad.clone().upcast())
    }

    fn children_count(&self) -> u32 {
        u32::try_from(self.pads.lock().all.len()).unwrap_or(u32::MAX)
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        let pads = self.pads.lock();
        let entry = pads.all.values().find(|entry| entry.pad.name() == name)?;
        Some(entry.pad.clone().upcast())
    }
}

impl MoqSink {
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.pads.lock().all.values().cloned().collect()
    }

    pub(super) fn entry(&self, id: TrackId) -> Option<Entry> {
        self.pads.lock().all.get(&id).cloned()
    }

    pub(super) fn track_of(&self, sink: Option<&gst::Object>) -> Option<Arc<Track>> {
        let sink = sink?;
        let pads = self.pads.lock();
        let entry = pads
            .all
            .values()
            .find(|entry| entry.sink.upcast_ref::<gst::Object>() == sink)?;
        Some(entry.track.clone())
    }

    pub(super) fn add_track(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Result<super::MoqSinkPad, glib::BoolError> {
        let kind = match template.name_template() {
            "video_%u" => Some(Kind::Video),
            "audio_%u" => Some(Kind::Audio),
            _ => None,
        };
        let (id, name) = self.reserve(template, name)?;
        let track = Arc::new(Track::new(id, self.publication.clone()));
        let sink: super::MoqTrackSink = glib::Object::builder()
            .property("name", format!("{name}-track"))
            .build();
        sink.imp().set_up(track.clone(), kind);
        let pad = gst::PadBuilder::<super::MoqSinkPad>::from_template(template)
            .name(name.as_str())
            .build();
        pad.imp().set_up(track.clone(), kind);
        // So that vague caps get as far as the sink, which says what they lack.
        pad.set_pad_flags(gst::PadFlags::ACCEPT_INTERSECT);
        let entry = Entry { pad, sink, track };
        if let Err(err) = self.insert(&entry) {
            self.discard(&entry);
            return Err(err);
        }
        self.obj().child_added(&entry.pad, &name);
        gst::debug!(CAT, imp = self, "Added {name}");
        Ok(entry.pad)
    }

    /// What it leaves behind when it fails is for [`Self::discard`].
    fn insert(&self, entry: &Entry) -> Result<(), glib::BoolError> {
        let obj = self.obj();
        let Entry { pad, sink, track } = entry;
        let settings = self.settings.lock().clone();
        sink.imp().configure(settings.sync, settings.drain_timeout);
        let running = self.events().is_some();
        obj.add(sink)?;
        pad.set_target(Some(sink.sink_pad()))?;
        self.pads.lock().all.insert(track.id, entry.clone());
        self.publication.add(track.id);
        if let Some(events) = self.events() {
            track.start(events, *self.limits.lock());
        }
        if sink.sync_state_with_parent().is_err() {
            gst::warning!(
                CAT,
                obj = pad,
                "The pad does not follow the element's state"
            );
        }
        if running {
            pad.set_active(true)?;
        }
        obj.add_pad(pad)
    }

    /// The name that was asked for, if it is free, or the next free number.
    fn reserve(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Result<(TrackId, String), glib::BoolError> {
        let mut pads = self.pads.lock();
        let taken = |name: &str| pads.names.values().any(|other| other == name);
        let prefix = template.name_template().trim_end_matches("%u");
        let name = match name {
            Some(name) if name.contains('%') => None,
            other => other,
        };
        let name = match name {
            Some(name) if taken(name) => return Err(glib::bool_error!("There is a pad {name}")),
            Some(name) => name.to_owned(),
            None => (0..)
                .map(|n| format!("{prefix}{n}"))
                .find(|name| !taken(name))
                .unwrap_or_default(),
        };
        let id = pads.next;
        pads.next += 1;
        pads.names.insert(id, name.clone());
        Ok((id, name))
    }

    pub(super) fn remove_track(&self, pad: &gst::Pad) {
        let entry = {
            let pads = self.pads.lock();
            let mut entries = pads.all.values();
            entries.find(|entry| entry.pad == *pad).cloned()
        };
        let Some(entry) = entry else {
            return;
        };
        self.discard(&entry);
        let name = entry.pad.name();
        self.obj().child_removed(&entry.pad, &name);
        gst::debug!(CAT, imp = self, "Released {name}");
    }

    /// Takes out what there is of a track, also of one that was not added to the end.
    fn discard(&self, entry: &Entry) {
        let obj = self.obj();
        let Entry { pad, sink, track } = entry;
        self.pads.lock().all.remove(&track.id);
        self.held.lock().remove(&track.id);
        // Going to NULL wakes a streaming thread that waits in the base class; deactivating the pad waits until it has left.
        sink.set_locked_state(true);
        let _ = sink.set_state(gst::State::Null);
        let _ = pad.set_active(false);
        if let Some(writer) = track.stop() {
            let drain = Duration::from_nanos(self.settings.lock().drain_timeout);
            end_track(&self.publication, track.id, writer, drain, drop);
        }
        self.publication.remove(track.id);
        let _ = pad.set_target(None::<&gst::Pad>);
        let owner = obj.upcast_ref::<gst::Object>();
        if pad.parent().as_ref() == Some(owner) {
            let _ = obj.remove_pad(pad);
        }
        if sink.parent().as_ref() == Some(owner) {
            let _ = obj.remove(sink);
        }
        self.pads.lock().names.remove(&track.id);
    }
}

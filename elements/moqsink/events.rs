//! What tracks and connection have to say, as messages and notifications; and the end of stream, which waits for the drain.

use gst::{prelude::*, subclass::prelude::*};
use gst_base::prelude::*;

use super::{
    imp::{CAT, MoqSink},
    key_unit,
    publication::TrackId,
    track::{Event, Track},
};
use crate::{
    elements::connection::{Direction, Reporter, post_warning},
    net::{config::Secret, session::State},
};

/// An end of stream is told when the sink has posted it and the track is drained, both in the same epoch.
#[derive(Default)]
pub(super) struct Held {
    message: Option<(u64, gst::Message)>,
    drained: Option<u64>,
}

impl MoqSink {
    /// The sink of a track has posted its end of stream: it is told once the track is drained.
    pub(super) fn hold_end(&self, track: &Track, message: gst::Message) {
        let epoch = track.epoch();
        self.held.lock().entry(track.id).or_default().message = Some((epoch, message));
        self.tell_end(track);
    }

    /// On the pump's thread.
    pub(super) fn handle_event(&self, reporter: &mut Reporter, event: Event) {
        let obj = self.obj();
        match event {
            Event::Connection(state) => {
                let connected = matches!(state, State::Connected { silence: None, .. });
                reporter.report(&*obj, state);
                if connected {
                    self.entries()
                        .iter()
                        .filter(|entry| entry.track.info.lock().demand)
                        .for_each(|entry| {
                            entry.track.want_key_unit();
                        });
                }
            }
            Event::Demand(id, demand) => self.demand(id, demand),
            Event::Requests(heard) => self.handle_request(heard),
            Event::Changed(id) => {
                if let Some(entry) = self.entry(id) {
                    for property in ["track", "track-status", "track-error"] {
                        entry.pad.notify(property);
                    }
                }
            }
            Event::KeyUnit(id) => {
                if let Some(entry) = self.entry(id) {
                    let handled = key_unit::request(entry.sink.sink_pad());
                    gst::debug!(CAT, obj = entry.pad, "Asked for a key frame: {handled}");
                }
            }
            Event::Dropped(id, reason, amount) => {
                if let Some(entry) = self.entry(id) {
                    let structure = entry
                        .message("moq-dropped")
                        .field("reason", reason.as_str())
                        .field("groups", amount.groups)
                        .field("frames", amount.frames)
                        .field("bytes", amount.bytes)
                        .build();
                    self.post(structure);
                }
            }
            Event::Congestion(id, congested, pending) => {
                if let Some(entry) = self.entry(id) {
                    let structure = entry
                        .message("moq-congestion")
                        .field("congested", congested)
                        .field("behind", pending.behind.unsigned_abs())
                        .field("pending-bytes", pending.bytes)
                        .build();
                    self.post(structure);
                }
            }
            Event::Warning(error) => {
                post_warning(&*obj, Direction::Write, &error, &self.url());
            }
            Event::Drained(id, epoch) => {
                if let Some(entry) = self.entry(id) {
                    self.held.lock().entry(id).or_default().drained = Some(epoch);
                    self.tell_end(&entry.track);
                }
            }
        }
    }

    /// On the thread of the token requests.
    pub(super) fn take_token(&self, token: Secret) {
        let connection = self.publication.connection();
        self.settings
            .lock()
            .connection
            .set_auth_token(token.clone());
        self.requests.set_token(Some(token.clone()));
        if let Some(connection) = connection {
            connection.set_token(Some(token));
        }
    }

    fn demand(&self, id: TrackId, demand: bool) {
        let Some(entry) = self.entry(id) else {
            return;
        };
        let track = {
            let mut info = entry.track.info.lock();
            if std::mem::replace(&mut info.demand, demand) == demand {
                return;
            }
            info.name.clone()
        };
        entry.pad.notify("demand");
        let structure = gst::Structure::builder("moq-track-demand")
            .field("pad", entry.pad.name())
            .field("track", track)
            .field("demand", demand)
            .build();
        self.post(structure);
        if demand {
            entry.track.want_key_unit();
        }
    }

    /// Hands the sink's end of stream on once its track is drained.
    fn tell_end(&self, track: &Track) {
        let message = {
            let mut held = self.held.lock();
            let Some(entry) = held.get_mut(&track.id) else {
                return;
            };
            let epoch = track.epoch();
            match (&entry.message, entry.drained) {
                (Some((posted, _)), Some(drained)) if *posted == epoch && drained == epoch => {
                    held.remove(&track.id).and_then(|held| held.message)
                }
                _ => None,
            }
        };
        if let Some((_, message)) = message {
            gst::debug!(CAT, imp = self, "Drained, telling end of stream");
            self.parent_handle_message(message);
        }
    }

    fn post(&self, structure: gst::Structure) {
        let obj = self.obj();
        let message = gst::message::Element::builder(structure).src(&*obj).build();
        // Fails while the element has no bus.
        let _ = obj.post_message(message);
    }
}

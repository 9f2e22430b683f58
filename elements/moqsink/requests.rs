//! Players that ask for key frames from afar: what they ask for becomes what demand here becomes, a force-key-unit event.

use std::sync::atomic::{AtomicU64, Ordering};

use gst::subclass::prelude::*;
use parking_lot::Mutex;

use super::{
    MoqSinkTrackStatus,
    imp::{CAT, MoqSink},
    pads::Entry,
    track::Event,
};
use crate::{
    elements::connection::{Direction, EventSender, post_warning},
    media::codec::Kind,
    net::{
        config::{ConnectConfig, Secret},
        error::Result,
        requests::{Heard, Listener},
    },
};

/// The listener, from READY→PAUSED to PAUSED→READY when requests are allowed, and what came of what it heard.
#[derive(Default)]
pub(super) struct Requests {
    listener: Mutex<Option<Listener>>,
    received: AtomicU64,
    granted: AtomicU64,
    limited: AtomicU64,
    refused: AtomicU64,
}

impl Requests {
    /// Listens for those who play this broadcast.
    ///
    /// # Errors
    /// A name below which nothing can be asked for.
    pub fn start(
        &self,
        config: ConnectConfig,
        broadcast: &str,
        events: EventSender<Event>,
    ) -> Result<()> {
        for counter in [&self.received, &self.granted, &self.limited, &self.refused] {
            counter.store(0, Ordering::Relaxed);
        }
        let listener = Listener::start(config, broadcast, move |heard| {
            // Who is not heard now says it again.
            let _ = events.try_send(Event::Requests(heard));
        })?;
        *self.listener.lock() = Some(listener);
        Ok(())
    }

    pub fn stop(&self) {
        let listener = self.listener.lock().take();
        drop(listener);
    }

    pub fn set_token(&self, token: Option<Secret>) {
        if let Some(listener) = &*self.listener.lock() {
            listener.set_token(token);
        }
    }

    /// `None` while nobody is listened to.
    pub fn stats(&self) -> Option<gst::Structure> {
        let listener = self.listener.lock().as_ref().map(Listener::stats)?;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let structure = gst::Structure::builder("requests")
            .field("requesters", listener.requesters)
            .field("received", get(&self.received))
            .field("granted", get(&self.granted))
            .field("limited", get(&self.limited))
            .field("refused", get(&self.refused))
            .field("malformed", listener.malformed)
            .build();
        Some(structure)
    }
}

impl MoqSink {
    /// On the pump's thread.
    pub(super) fn handle_request(&self, heard: Heard) {
        match heard {
            Heard::Wanted(tracks) => {
                let entries = self.entries();
                for track in &tracks {
                    self.grant(&entries, track);
                }
            }
            Heard::Malformed { requester, why } => {
                gst::warning!(
                    CAT,
                    imp = self,
                    "What {requester:?} asks for cannot be read: {why}"
                );
            }
            Heard::Refused(error) => {
                post_warning(&*self.obj(), Direction::Write, &error, &self.url());
            }
        }
    }

    fn grant(&self, entries: &[Entry], track: &str) {
        let requests = &self.requests;
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(&requests.received);
        let of_name = entries.iter().find(|entry| {
            let info = entry.track.info.lock();
            info.name.as_deref() == Some(track)
                && info.kind == Some(Kind::Video)
                && info.status == MoqSinkTrackStatus::Publishing
        });
        count(match of_name {
            None => &requests.refused,
            Some(entry) if entry.track.want_key_unit() => &requests.granted,
            Some(_) => &requests.limited,
        });
    }
}

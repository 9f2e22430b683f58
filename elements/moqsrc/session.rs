//! What exists while a moqsrc is at least PAUSED: the player, and the pads of the broadcast's tracks.
//!
//! Pads are made and removed in the element's event thread only. `state` is never held while GStreamer is called; `stopping`
//! is looked at again after each step that let go of it, because the application may stop the element from `pad-added`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gst::{prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use super::{
    MoqSrc,
    slot::{Slot, SlotConfig},
    streams::{self, Entry, Kind, Selection},
};
use crate::{
    media::catalog::Catalog,
    net::{
        error::{Cause, Error},
        session::{
            Connection,
            State::{Connected, Connecting, Failed, Reconnecting},
        },
        subscribe::Player,
    },
};

pub(super) struct Session {
    pub connection: Connection,
    pub player: Arc<Player>,
    /// Its name.
    pub broadcast: String,
    source_id: String,
    group_id: gst::GroupId,
    /// ns; each pad's source answers with it.
    latency: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// Tracks of the catalog that cannot be played, with the reason.
    refused: Vec<(String, String)>,
    /// By track name.
    slots: BTreeMap<String, Slot>,
    pads_made: BTreeMap<Kind, u32>,
    selection: Selection,
    /// What was said last about the broadcast, since its last catalog.
    trouble: Option<Error>,
    complete: bool,
    /// EOS was asked for: pads come and begin again no more.
    ending: bool,
    stopping: bool,
}

impl Session {
    pub(super) fn new(
        connection: Connection,
        player: Player,
        broadcast: String,
        source_id: String,
        latency: gst::ClockTime,
    ) -> Self {
        Self {
            connection,
            player: Arc::new(player),
            broadcast,
            source_id,
            group_id: gst::GroupId::next(),
            latency: Arc::new(AtomicU64::new(latency.nseconds())),
            state: Mutex::default(),
        }
    }

    /// While not playing nothing is subscribed and nothing waits.
    pub(super) fn set_playing(&self, playing: bool) {
        // What waited when the pipeline was paused is of the past when it goes on.
        for (_, slot) in self.slots() {
            slot.queue.clear();
        }
        self.player.set_playing(playing);
    }

    /// No further pads from here on.
    pub(super) fn set_stopping(&self) {
        self.state.lock().stopping = true;
    }

    /// No further pads and beginnings from here on: the application ends the pads that there are.
    pub(super) fn set_ending(&self) {
        self.state.lock().ending = true;
    }

    /// Remembers what was told about the broadcast.
    pub(super) fn set_trouble(&self, trouble: Option<Error>) {
        self.state.lock().trouble = trouble;
    }

    /// What to say of an EOS before anything of the broadcast came: the connection's reason, else the broadcast's.
    pub(super) fn nothing_to_end(&self) -> Error {
        let connection = self.connection.state().borrow().clone();
        let trouble = self.state.lock().trouble.clone();
        let why = match connection {
            Connecting { last } => last,
            Reconnecting { last: err } | Failed(err) => Some(err),
            Connected { silence, info, .. } => silence.or(trouble).or_else(|| {
                let text = format!("{} has not announced it yet", info.url);
                Some(Error::new(Cause::NoBroadcast, text))
            }),
        };
        let why = why.unwrap_or_else(|| {
            Error::new(Cause::NoBroadcast, "the connection was still being made")
        });
        let name = &self.broadcast;
        let text =
            format!("EOS came before there was anything of the broadcast '{name}' to end: {why}");
        Error::new(why.cause, text)
    }

    /// The track goes on after its end, and so does its pad.
    pub(super) fn resume(&self, track: &str) {
        let slot = {
            let state = self.state.lock();
            let slot = (!state.is_over()).then(|| state.slots.get(track).cloned());
            slot.flatten()
        };
        if let Some(slot) = slot {
            slot.resume();
        }
    }

    pub(super) fn set_latency(&self, latency: gst::ClockTime) {
        self.latency.store(latency.nseconds(), Ordering::Relaxed);
        self.player
            .set_latency(i64::try_from(latency.nseconds()).unwrap_or(i64::MAX / 4));
    }

    pub(super) fn slots(&self) -> Vec<(String, Slot)> {
        let state = self.state.lock();
        state
            .slots
            .iter()
            .map(|(track, slot)| (track.clone(), slot.clone()))
            .collect()
    }

    /// Makes the element's pads those of the catalog.
    pub(super) fn take_catalog(&self, element: &MoqSrc, catalog: &Catalog) {
        let (mut entries, refused) = streams::entries(catalog, &self.source_id);
        let told = std::mem::replace(&mut self.state.lock().refused, refused.clone());
        for (track, reason) in refused.iter().filter(|it| !told.contains(it)) {
            element.imp().warn(&Error::new(
                Cause::Codec,
                format!("the track '{track}' cannot be played: {reason}"),
            ));
        }
        let known = self.state.lock().entries.clone();
        let is_another = streams::carry_on(&known, &mut entries);
        self.state.lock().adopt(entries);
        if is_another {
            self.post_collection(element);
        }
        self.fill_slots(element, false);
    }

    /// Takes the application's choice.
    pub(super) fn select(&self, element: &MoqSrc, stream_ids: Vec<String>) {
        let deselected = {
            let mut state = self.state.lock();
            state.selection = Selection::of(stream_ids, &state.entries);
            state.take_deselected()
        };
        for slot in deselected {
            slot.end();
            slot.dispose(element.upcast_ref());
            slot.remove_pad(element.upcast_ref());
        }
        self.fill_slots(element, true);
    }

    /// Takes every pad away. Called when the sources are stopped.
    pub(super) fn remove_slots(&self, element: &MoqSrc) {
        let slots = std::mem::take(&mut self.state.lock().slots);
        for slot in slots.into_values() {
            slot.dispose(element.upcast_ref());
            slot.remove_pad(element.upcast_ref());
        }
    }

    fn collection(&self, state: &State) -> gst::StreamCollection {
        streams::collection(&self.source_id, &state.entries)
    }

    /// Tells the application and whoever is downstream.
    fn post_collection(&self, element: &MoqSrc) {
        let (collection, slots) = {
            let state = self.state.lock();
            let slots: Vec<Slot> = state.slots.values().cloned().collect();
            (self.collection(&state), slots)
        };
        for slot in slots {
            slot.src.set_collection(&collection);
        }
        let message = gst::message::StreamCollection::builder(&collection)
            .src(element)
            .build();
        let _ = element.post_message(message);
    }

    /// Makes a pad for each selected track that has none, then says that there are no more. A choice is always answered.
    fn fill_slots(&self, element: &MoqSrc, chosen: bool) {
        let missing: Vec<Entry> = {
            let state = self.state.lock();
            state
                .entries
                .iter()
                .filter(|entry| {
                    state.selection.wants(entry, &state.entries)
                        && !state.slots.contains_key(&entry.track)
                })
                .cloned()
                .collect()
        };
        for entry in &missing {
            if !self.add_slot(element, entry) {
                return;
            }
        }
        let first = {
            let mut state = self.state.lock();
            !state.stopping && !std::mem::replace(&mut state.complete, true)
        };
        if !missing.is_empty() {
            // The sinks behind the new pads have to learn how late their data is.
            let _ = element.post_message(gst::message::Latency::builder().src(element).build());
        }
        if first {
            element.no_more_pads();
        }
        if first || chosen || !missing.is_empty() {
            self.post_selected(element);
        }
    }

    fn post_selected(&self, element: &MoqSrc) {
        let (collection, selected) = {
            let state = self.state.lock();
            let selected: Vec<_> = state
                .entries
                .iter()
                .filter(|entry| state.slots.contains_key(&entry.track))
                .map(|entry| entry.stream.clone())
                .collect();
            (self.collection(&state), selected)
        };
        let message = gst::message::StreamsSelected::builder(&collection)
            .streams(selected)
            .src(element)
            .build();
        let _ = element.post_message(message);
    }

    /// False when the element is being stopped.
    fn add_slot(&self, element: &MoqSrc, entry: &Entry) -> bool {
        let (index, collection) = {
            let mut state = self.state.lock();
            if state.is_over() {
                return false;
            }
            let made = state.pads_made.entry(entry.kind).or_default();
            let index = *made;
            *made += 1;
            (index, self.collection(&state))
        };
        let template = element
            .pad_template(entry.kind.template())
            .expect("every kind has its template");
        let slot = Slot::new(
            element.upcast_ref(),
            SlotConfig {
                pad_name: &entry.kind.pad_name(index),
                template: &template,
                track: &entry.track,
                kind: entry.kind,
                rendition: &entry.rendition,
                stream: &entry.stream,
                collection: &collection,
                group_id: self.group_id,
                latency: self.latency.clone(),
                player: &self.player,
            },
        );
        let slot = match slot {
            Ok(slot) => slot,
            Err(err) => {
                element.imp().warn(&Error::new(
                    Cause::Codec,
                    format!("no pad for the track '{}': {err}", entry.track),
                ));
                return true;
            }
        };
        if !self.keep(entry, &slot) {
            slot.dispose(element.upcast_ref());
            return false;
        }
        let started =
            element.add_pad(&slot.pad).is_ok() && slot.src.sync_state_with_parent().is_ok();
        if self.state.lock().ending {
            // The event may have passed this source by.
            slot.src.send_event(gst::event::Eos::new());
        }
        if self.state.lock().stopping {
            // The state change may have passed this source by, and the pads may have been taken away already.
            slot.dispose(element.upcast_ref());
            slot.remove_pad(element.upcast_ref());
            return false;
        }
        if !started {
            element.imp().warn(&Error::new(
                Cause::Codec,
                format!("the pad for the track '{}' did not start", entry.track),
            ));
        }
        true
    }

    fn keep(&self, entry: &Entry, slot: &Slot) -> bool {
        let mut state = self.state.lock();
        if !state.is_over() {
            state.slots.insert(entry.track.clone(), slot.clone());
        }
        !state.is_over()
    }
}

/// The name of a stream's caps.
fn media_type(stream: &gst::Stream) -> Option<String> {
    let caps = stream.caps()?;
    Some(caps.structure(0)?.name().to_string())
}

impl State {
    fn is_over(&self) -> bool {
        self.stopping || self.ending
    }

    /// Takes the new entries. A pad whose track is gone goes on with a new track of its kind, as after a restart of the publisher
    /// under other names; without one it stays and waits.
    fn adopt(&mut self, entries: Vec<Entry>) {
        let gone: Vec<String> = self
            .slots
            .keys()
            .filter(|track| !entries.iter().any(|entry| entry.track == **track))
            .cloned()
            .collect();
        let mut fresh: Vec<&Entry> = entries
            .iter()
            .filter(|entry| {
                !self.slots.contains_key(&entry.track) && !self.selection.refuses(entry)
            })
            .collect();
        for track in gone {
            let slot = &self.slots[&track];
            let is_of_kind = |entry: &&Entry| entry.kind == slot.kind;
            let codec = media_type(&slot.stream());
            // What is linked takes this codec, and maybe no other.
            let of_codec = |entry: &&Entry| is_of_kind(entry) && media_type(&entry.stream) == codec;
            let best = fresh.iter().position(of_codec);
            let Some(at) = best.or_else(|| fresh.iter().position(is_of_kind)) else {
                continue;
            };
            let heir = fresh.remove(at);
            if let Some(slot) = self.slots.remove(&track) {
                slot.continue_with(&heir.stream, &heir.track);
                self.selection.inherit(heir);
                self.slots.insert(heir.track.clone(), slot);
            }
        }
        self.entries = entries;
    }

    fn take_deselected(&mut self) -> Vec<Slot> {
        let tracks: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| !self.selection.has(entry))
            .map(|entry| entry.track.clone())
            .collect();
        tracks
            .iter()
            .filter_map(|track| self.slots.remove(track))
            .collect()
    }
}

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// The number of the next group of each track that a connection has published, by broadcast and track.
///
/// A broadcast that takes the place of one of its name is the same one to a relay which has not yet let go of the first: it
/// asks for the tracks from the group on that it has not seen (moq-lite, SUBSCRIBE with a start group). Numbered from 0 again,
/// a track would be silent until it has caught up.
#[derive(Clone, Default)]
pub(in crate::net) struct Numbers(Arc<Mutex<HashMap<(String, String), Next>>>);

impl Numbers {
    pub(super) fn of(&self, broadcast: &str, track: &str) -> Next {
        let mut all = self.0.lock();
        all.entry((broadcast.to_owned(), track.to_owned()))
            .or_default()
            .clone()
    }
}

/// The number of the next group of a track. One writer at a time has it.
#[derive(Clone, Default)]
pub(super) struct Next(Arc<AtomicU64>);

impl Next {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A group with this number has begun.
    pub fn took(&self, number: u64) {
        self.0.store(number.saturating_add(1), Ordering::Relaxed);
    }
}

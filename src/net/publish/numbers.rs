use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// How many tracks without a writer are remembered. A relay lets go of a broadcast within its idle timeout; a process that
/// publishes more tracks than this in that time begins the oldest anew.
const MAX_LEFT: usize = 1024;

/// The number of the next group of each track that a connection has published, by broadcast and track.
///
/// A broadcast that takes the place of one of its name is the same one to a relay which has not yet let go of the first: it
/// asks for the tracks from the group on that it has not seen (moq-lite, SUBSCRIBE with a start group). Numbered from 0 again,
/// a track would be silent until it has caught up.
///
/// Of the tracks that have no writer any more, those are forgotten whose writers left first.
#[derive(Clone, Default)]
pub(in crate::net) struct Numbers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    tracks: Mutex<HashMap<(String, String), Arc<Track>>>,
    /// Writers that have left.
    leavings: AtomicU64,
}

#[derive(Default)]
struct Track {
    next: AtomicU64,
    /// Which of the leavings was the last of its writers.
    left: AtomicU64,
}

impl Numbers {
    pub(super) fn of(&self, broadcast: &str, track: &str) -> Next {
        let mut tracks = self.0.tracks.lock();
        let track = tracks
            .entry((broadcast.to_owned(), track.to_owned()))
            .or_default()
            .clone();
        forget(&mut tracks);
        Next {
            track,
            shared: self.0.clone(),
        }
    }
}

fn forget(tracks: &mut HashMap<(String, String), Arc<Track>>) {
    // Only this map, which is locked, makes more of one that has no writer.
    let is_left = |track: &Arc<Track>| Arc::strong_count(track) == 1;
    if tracks.len() <= MAX_LEFT {
        return;
    }
    let left = tracks.values().filter(|track| is_left(track));
    let mut left: Vec<u64> = left.map(|t| t.left.load(Ordering::Relaxed)).collect();
    let Some(excess) = left.len().checked_sub(MAX_LEFT + 1) else {
        return;
    };
    left.sort_unstable();
    let until = left[excess];
    tracks.retain(|_, track| !is_left(track) || track.left.load(Ordering::Relaxed) > until);
}

/// The number of the next group of a track. One writer at a time has it.
pub(super) struct Next {
    track: Arc<Track>,
    shared: Arc<Shared>,
}

impl Next {
    pub fn get(&self) -> u64 {
        self.track.next.load(Ordering::Relaxed)
    }

    /// A group with this number has begun.
    pub fn took(&self, number: u64) {
        let next = number.saturating_add(1);
        self.track.next.store(next, Ordering::Relaxed);
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        let leaving = self.shared.leavings.fetch_add(1, Ordering::Relaxed);
        self.track.left.store(leaving, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_goes_on_where_its_last_writer_left_it() {
        let numbers = Numbers::default();
        let first = numbers.of("camera", "video");
        assert_eq!(first.get(), 0);
        first.took(6);
        drop(first);
        assert_eq!(numbers.of("camera", "video").get(), 7);
        assert_eq!(numbers.of("camera", "audio").get(), 0);
        assert_eq!(numbers.of("other", "video").get(), 0);
    }

    #[test]
    fn of_endless_names_the_newest_are_remembered_and_those_in_use() {
        let numbers = Numbers::default();
        let in_use = numbers.of("camera", "video");
        in_use.took(6);
        // It leaves late, however early it came.
        let late = numbers.of("late", "video");
        late.took(8);
        for n in 0..3 * MAX_LEFT {
            numbers.of(&format!("take-{n}"), "video").took(4);
        }
        drop(late);
        for n in 0..MAX_LEFT / 2 {
            numbers.of(&format!("more-{n}"), "video").took(4);
        }
        assert!(numbers.0.tracks.lock().len() <= MAX_LEFT + 2);
        assert_eq!(numbers.of("late", "video").get(), 9);
        assert_eq!(numbers.of("camera", "video").get(), 7);
        assert_eq!(numbers.of("take-0", "video").get(), 0);
        let newest = format!("take-{}", 3 * MAX_LEFT - 1);
        assert_eq!(numbers.of(&newest, "video").get(), 5);
    }
}

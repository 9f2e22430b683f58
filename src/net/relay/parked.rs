//! Tracks that nobody reads any more, and whose newest group is kept all the same.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use moq_net::{PathOwned, stats::Report};

/// How long `moq_net` keeps a track for a reader that comes back (30 s), and a little more for its timers.
const KEPT: Duration = Duration::from_secs(31);

/// The tracks of one session that are kept without a reader, at most: a track that was left twice counts twice.
#[derive(Debug, Default)]
pub(super) struct Parked {
    broadcasts: HashMap<PathOwned, Broadcast>,
}

/// A broadcast that the session announces; with its retraction its tracks are gone.
#[derive(Debug, Default)]
struct Broadcast {
    /// Subscriptions that had ended at the last look.
    ended: u64,
    /// When how many did.
    left: VecDeque<(Instant, u64)>,
}

impl Parked {
    /// Takes note of what ended since the last look.
    pub fn note(&mut self, now: Instant, report: &Report) {
        let announced = report
            .traffic
            .iter()
            .filter(|entry| entry.subscriber.is_announced())
            .map(|entry| (&entry.path, entry.subscriber.subscriptions_ended));
        self.see(now, announced);
    }

    fn see<'a>(&mut self, now: Instant, announced: impl Iterator<Item = (&'a PathOwned, u64)>) {
        let mut before = std::mem::take(&mut self.broadcasts);
        for (path, ended) in announced {
            let mut broadcast = before.remove(path).unwrap_or_default();
            // Names that were forgotten begin at 0 again.
            let more = ended.checked_sub(broadcast.ended).unwrap_or(ended);
            broadcast.ended = ended;
            if more > 0 {
                broadcast.left.push_back((now, more));
            }
            self.broadcasts.insert(path.clone(), broadcast);
        }
    }

    /// How many there may be.
    pub fn tracks(&mut self, now: Instant) -> u64 {
        let mut tracks = 0;
        for broadcast in self.broadcasts.values_mut() {
            let left = &mut broadcast.left;
            while left.front().is_some_and(|(at, _)| *at + KEPT <= now) {
                left.pop_front();
            }
            tracks += left.iter().map(|(_, count)| count).sum::<u64>();
        }
        tracks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_that_was_left_counts_until_it_is_forgotten_or_retracted() {
        let (a, b) = (PathOwned::from("a"), PathOwned::from("b"));
        let mut parked = Parked::default();
        let start = Instant::now();
        parked.see(start, [(&a, 0), (&b, 2)].into_iter());
        assert_eq!(parked.tracks(start), 2);
        let later = start + KEPT / 2;
        parked.see(later, [(&a, 3), (&b, 2)].into_iter());
        assert_eq!(parked.tracks(later), 5);
        assert_eq!(parked.tracks(start + KEPT), 3, "the first are forgotten");
        parked.see(later, [(&b, 2)].into_iter());
        assert_eq!(parked.tracks(later), 0, "the broadcast is gone");
        parked.see(later, [(&b, 1)].into_iter());
        assert_eq!(parked.tracks(later), 1, "its counters began anew");
    }
}

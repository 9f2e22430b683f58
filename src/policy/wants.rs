//! Which key frames a player waits for, and when it says so.

use std::collections::BTreeMap;

use super::{MILLISECOND, Nanos};

/// The same track is named no more often, and as often while it is waited for.
const INTERVAL: Nanos = 500 * MILLISECOND;

/// After so many times in vain nobody hears it.
const REPEATS: u32 = 10;

/// How long a track may be without a frame to go on with before that is said: a group that is given up mostly has a successor that is
/// under way.
const GRACE: Nanos = 100 * MILLISECOND;

/// The key frames that are waited for, by track. What is said is all of them, so that the newest word alone counts.
#[derive(Debug, Default)]
pub struct Wants {
    tracks: BTreeMap<String, Want>,
    unanswered: bool,
}

#[derive(Debug, Default)]
struct Want {
    /// Somebody asked, and no key frame came since.
    asked: bool,
    /// Since when nothing can be decoded.
    missing: Option<Nanos>,
    /// When it was said last.
    told: Option<Nanos>,
    /// How often it was said since it began to be waited for.
    times: u32,
    /// Nobody hears it.
    vain: bool,
    /// It is part of what was said last.
    listed: bool,
    total: u64,
}

impl Want {
    fn is_open(&self) -> bool {
        !self.vain && (self.asked || self.missing.is_some())
    }

    /// When to say it, or that it is in vain.
    fn due(&self) -> Option<Nanos> {
        if !self.is_open() {
            return None;
        }
        let from = match self.missing {
            Some(since) if !self.asked => since.saturating_add(GRACE),
            _ => Nanos::MIN,
        };
        let told = self.told.map(|told| told.saturating_add(INTERVAL));
        Some(told.map_or(from, |again| again.max(from)))
    }

    /// A wait is over, or another one begins.
    fn rest(&mut self) {
        self.times = 0;
        self.vain = false;
    }
}

impl Wants {
    /// Somebody asks for a key frame of a track.
    pub fn ask(&mut self, track: &str) {
        let want = self.entry(track);
        if !want.is_open() {
            want.rest();
        }
        want.asked = true;
    }

    /// Whether nothing of a track can be decoded until a key frame comes, at time `now`.
    pub fn set_missing(&mut self, track: &str, missing: bool, now: Nanos) {
        if missing {
            self.entry(track).missing.get_or_insert(now);
        } else if let Some(want) = self.tracks.get_mut(track)
            && want.missing.take().is_some()
            && !want.asked
        {
            want.rest();
        }
    }

    /// A new key frame of a track came.
    pub fn key_frame(&mut self, track: &str) {
        if let Some(want) = self.tracks.get_mut(track) {
            want.asked = false;
            if want.missing.is_none() {
                want.rest();
            }
        }
    }

    /// The track is not played any more.
    pub fn remove(&mut self, track: &str) {
        self.tracks.remove(track);
    }

    /// Nothing is waited for any more. How often and when it was stands.
    pub fn clear(&mut self) {
        for want in self.tracks.values_mut() {
            want.asked = false;
            want.missing = None;
            want.listed = false;
            want.rest();
        }
    }

    /// What to say now: the tracks that are waited for, none when that is over.
    pub fn poll(&mut self, now: Nanos) -> Option<Vec<String>> {
        let (mut news, mut over) = (false, false);
        for want in self.tracks.values_mut() {
            if want.due().is_some_and(|due| due <= now) {
                if want.times == REPEATS {
                    want.asked = false;
                    want.vain = true;
                    self.unanswered = true;
                } else {
                    want.told = Some(now);
                    want.times += 1;
                    want.total += 1;
                    want.listed = true;
                    news = true;
                }
            }
            if !want.is_open() {
                over |= std::mem::take(&mut want.listed);
            }
        }
        let listed = self.tracks.iter().filter(|(_, want)| want.listed);
        let listed: Vec<String> = listed.map(|(track, _)| track.clone()).collect();
        (news || (over && listed.is_empty())).then_some(listed)
    }

    /// When to call [`Self::poll`] again at the latest.
    pub fn wake(&self) -> Option<Nanos> {
        self.tracks.values().filter_map(Want::due).min()
    }

    /// Whether a track was said to be waited for until that was in vain, since the last call.
    pub fn take_unanswered(&mut self) -> bool {
        std::mem::take(&mut self.unanswered)
    }

    /// How often a track was said to be waited for.
    pub fn total(&self, track: &str) -> u64 {
        self.tracks.get(track).map_or(0, |want| want.total)
    }

    fn entry(&mut self, track: &str) -> &mut Want {
        self.tracks.entry(track.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tracks: &[&str]) -> Option<Vec<String>> {
        Some(tracks.iter().map(|&track| track.to_owned()).collect())
    }

    #[test]
    fn a_burst_of_requests_is_said_once_and_again_after_half_a_second() {
        let mut wants = Wants::default();
        for _ in 0..100 {
            wants.ask("v");
        }
        assert_eq!(wants.poll(0), names(&["v"]));
        assert_eq!(wants.poll(0), None);
        assert_eq!(wants.wake(), Some(INTERVAL));
        assert_eq!(wants.poll(INTERVAL), names(&["v"]));
        assert_eq!(wants.total("v"), 2);
    }

    #[test]
    fn a_key_frame_ends_it_and_the_next_request_waits_its_turn() {
        let mut wants = Wants::default();
        wants.ask("v");
        assert_eq!(wants.poll(0), names(&["v"]));
        wants.key_frame("v");
        assert_eq!(
            wants.poll(1),
            names(&[]),
            "nothing stale is left to be read"
        );
        assert_eq!((wants.poll(2), wants.wake()), (None, None));
        wants.ask("v");
        assert_eq!(wants.poll(INTERVAL - 1), None);
        assert_eq!(wants.poll(INTERVAL), names(&["v"]));
    }

    #[test]
    fn what_is_said_is_all_that_is_waited_for() {
        let mut wants = Wants::default();
        wants.ask("a");
        assert_eq!(wants.poll(0), names(&["a"]));
        wants.ask("b");
        assert_eq!(wants.poll(INTERVAL / 2), names(&["a", "b"]));
        wants.key_frame("a");
        assert_eq!(
            wants.poll(INTERVAL / 2),
            None,
            "the next word leaves it out"
        );
        assert_eq!(wants.poll(INTERVAL * 3 / 2), names(&["b"]));
    }

    #[test]
    fn a_hole_is_said_when_nothing_fills_it_soon() {
        let mut wants = Wants::default();
        wants.set_missing("v", true, 0);
        assert_eq!(wants.poll(GRACE - 1), None);
        wants.set_missing("v", false, GRACE - 1);
        assert_eq!((wants.poll(GRACE), wants.wake()), (None, None));
        wants.set_missing("v", true, GRACE);
        wants.set_missing("v", true, GRACE + 1);
        assert_eq!(wants.wake(), Some(2 * GRACE));
        assert_eq!(wants.poll(2 * GRACE), names(&["v"]));
    }

    #[test]
    fn what_nobody_hears_ends_and_another_request_begins_anew() {
        let mut wants = Wants::default();
        wants.ask("v");
        let mut said = 0;
        while let Some(at) = wants.wake() {
            let now = at.max(0);
            said += usize::from(wants.poll(now).is_some_and(|listed| !listed.is_empty()));
        }
        assert_eq!(said, REPEATS as usize);
        assert!(wants.take_unanswered() && !wants.take_unanswered());
        wants.ask("v");
        assert!(wants.wake().is_some());
    }

    #[test]
    fn what_is_cleared_is_neither_said_nor_said_to_be_over() {
        let mut wants = Wants::default();
        wants.ask("v");
        assert!(wants.poll(0).is_some());
        wants.clear();
        assert_eq!((wants.poll(INTERVAL), wants.wake()), (None, None));
        assert_eq!(wants.total("v"), 1);
        wants.remove("v");
        assert_eq!(wants.total("v"), 0);
    }
}

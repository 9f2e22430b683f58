//! Running time → media time of the broadcast.
//!
//! The pipeline's running time starts again or stands still with a seek, a pause, a new clock; media time on the wire only
//! goes on. Each such change is a generation with an offset of its own, chosen so that the catalog's `clock.wall` stays true:
//! media time = wall time − wall time of media time 0.

use std::collections::VecDeque;

/// A generation that starts in the past of what was written is put this far behind it.
const STEP: i64 = 20_000_000;

/// How far a picture may be shown before one that was decoded earlier.
const REORDER: i64 = 1_000_000_000;

/// How much of it a live source may send at once when it begins again, such as the backlog of a connection that is back. What
/// goes on to come faster than the clock is a file in a loop.
const BACKLOG: i64 = 2_000_000_000;

/// Generations that are remembered, for tracks that change over late.
const KEPT: usize = 64;

/// Disagreement of two wall clocks that is not worth a change, in ns.
const TOLERANCE: i64 = 2_000_000;

/// What ties running time to the wall clock. All in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Identity of the clock and the base time: what says that running time is another one.
    pub key: (usize, u64),
    /// Unix time of running time 0.
    pub wall: i64,
}

/// Where one track is in the generations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    generation: usize,
    /// The newest media time of the track.
    newest: Option<i64>,
}

/// A media time, and whether the track's timestamps are continuous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// ns
    pub time: i64,
    /// The mapping is another one than for the frame before.
    pub jumped: bool,
    /// For a stream that began again in its own past: the running time, ns, of the pipeline before which nothing that goes by
    /// the clock comes this far, not even with a backlog.
    pub due: Option<i64>,
}

/// The mapping of a broadcast that is published; see the module.
#[derive(Debug, Default)]
pub struct Generations {
    anchor: Option<Anchor>,
    /// Unix time of media time 0.
    wall: Option<i64>,
    /// Media time of running time 0 in each of the newest generations; never empty once a frame was mapped.
    offsets: VecDeque<i64>,
    /// The number of the oldest of them.
    oldest: usize,
    /// The newest generation that a new anchor began: it concerns every track.
    anchored: usize,
    anchored_offset: i64,
    newest: i64,
    /// By how much the newest frame was ahead of the clock when a stream first began again.
    ahead: i64,
}

impl Generations {
    /// Unix time of media time 0 in ns, once known.
    pub fn wall(&self) -> Option<i64> {
        self.wall
    }

    /// The anchor has to be renewed before [`Self::map`].
    pub fn needs_anchor(&self, key: (usize, u64)) -> bool {
        self.anchor.is_none_or(|anchor| anchor.key != key)
    }

    /// Running time is another one from now on.
    pub fn set_anchor(&mut self, anchor: Anchor) {
        self.anchor = Some(anchor);
        let wall = *self.wall.get_or_insert(anchor.wall);
        let offset = anchor.wall - wall;
        let goes_on = |last: &i64| (last - offset).abs() <= TOLERANCE;
        if !self.offsets.back().is_some_and(goes_on) {
            self.anchored = self.push(offset);
            self.anchored_offset = offset;
        }
    }

    /// Begins a generation and gives its number.
    fn push(&mut self, offset: i64) -> usize {
        self.offsets.push_back(offset);
        if self.offsets.len() > KEPT {
            self.offsets.pop_front();
            self.oldest += 1;
        }
        self.last()
    }

    fn last(&self) -> usize {
        self.oldest + self.offsets.len().saturating_sub(1)
    }

    /// Of one that is not kept, that of the oldest that is.
    fn offset(&self, generation: usize) -> i64 {
        let at = generation.saturating_sub(self.oldest);
        self.offsets.get(at).copied().unwrap_or(0)
    }

    /// Media time of a frame. `restart`: a segment began before it, so that it has to follow everything before; without,
    /// it may stand back as far as pictures are reordered. `now` is the running time of the pipeline: what begins again is not
    /// put before it.
    pub fn map(
        &mut self,
        position: &mut Position,
        running: i64,
        restart: bool,
        now: Option<i64>,
    ) -> Mapped {
        if self.offsets.is_empty() {
            self.push(0);
        }
        let before = position.generation;
        position.generation = before.max(self.anchored).max(self.oldest);
        let reorder = if restart { 0 } else { REORDER };
        let fits = |time: i64| {
            time >= 0
                && position
                    .newest
                    .is_none_or(|newest| time + reorder >= newest)
        };
        let last = self.last();
        let mut time = running.saturating_add(self.offset(position.generation));
        let mut generation = position.generation;
        if !fits(time) {
            // Another track went back before: stay in sync with it.
            generation = last;
            time = running.saturating_add(self.offset(last));
        }
        if !fits(time) {
            let now = now.map(|now| now.saturating_add(self.anchored_offset));
            if last == self.anchored {
                self.ahead = now.map_or(0, |now| self.newest.saturating_sub(now).max(0));
            }
            time = now.unwrap_or(0).max(self.newest + STEP);
            generation = self.push(time.saturating_sub(running));
        }
        position.generation = generation;
        let jumped = position.newest.is_some() && generation != before;
        position.newest = Some(match position.newest {
            Some(newest) if !jumped => newest.max(time),
            _ => time,
        });
        self.newest = self.newest.max(time);
        let due = (generation > self.anchored).then(|| {
            time.saturating_sub(self.anchored_offset)
                .saturating_sub(self.ahead)
                .saturating_sub(BACKLOG)
        });
        Mapped { time, jumped, due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const MS: i64 = 1_000_000;
    /// Unix time at which the tests start.
    const START: i64 = 1_800_000_000 * SECOND;

    fn anchor(base_time: u64, wall: i64) -> Anchor {
        Anchor {
            key: (1, base_time),
            wall,
        }
    }

    #[test]
    fn media_time_is_running_time_at_first() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut track = Position::default();
        for n in 0..3 {
            let mapped = generations.map(&mut track, n * 20 * MS, false, None);
            assert_eq!((mapped.time, mapped.jumped), (n * 20 * MS, false));
        }
        assert_eq!(generations.wall(), Some(START));
    }

    /// Row 12: running time stands still in a pause, the wall clock does not.
    #[test]
    fn after_a_pause_the_wall_clock_is_still_right() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut tracks = [Position::default(), Position::default()];
        for track in &mut tracks {
            generations.map(track, 5 * SECOND, false, None);
        }
        assert!(generations.needs_anchor((1, 10)));
        generations.set_anchor(anchor(10, START + 10 * SECOND));
        for track in &mut tracks {
            let mapped = generations.map(track, 5 * SECOND + 20 * MS, false, None);
            assert_eq!((mapped.time, mapped.jumped), (15 * SECOND + 20 * MS, true));
        }
        assert_eq!(generations.wall(), Some(START));
    }

    /// Row 18.
    #[test]
    fn tracks_that_go_back_go_on_together() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let (mut video, mut audio) = (Position::default(), Position::default());
        generations.map(&mut video, 10 * SECOND, false, None);
        generations.map(&mut audio, 10 * SECOND + 5 * MS, false, None);
        let first = generations.map(&mut video, 2 * SECOND, true, None);
        assert!(first.jumped && first.time > 10 * SECOND + 5 * MS);
        // The other track still has frames of before.
        let old = generations.map(&mut audio, 10 * SECOND + 25 * MS, false, None);
        assert_eq!((old.time, old.jumped), (10 * SECOND + 25 * MS, false));
        let second = generations.map(&mut audio, 2 * SECOND + 10 * MS, true, None);
        assert_eq!(second.time - first.time, 10 * MS);
        let next = generations.map(&mut video, 2 * SECOND + 40 * MS, false, None);
        assert_eq!((next.time - first.time, next.jumped), (40 * MS, false));
    }

    #[test]
    fn reordered_pictures_are_no_jump() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut track = Position::default();
        for pts in [0, 120, 40, 80, 240, 160] {
            let mapped = generations.map(&mut track, pts * MS, false, None);
            assert_eq!((mapped.time, mapped.jumped), (pts * MS, false));
        }
    }

    #[test]
    fn a_small_step_back_counts_when_a_segment_began() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut track = Position::default();
        generations.map(&mut track, 1000 * MS, false, None);
        let mapped = generations.map(&mut track, 900 * MS, true, None);
        assert!(mapped.jumped && mapped.time > 1000 * MS);
    }

    #[test]
    fn what_begins_again_is_due_a_backlog_before_its_media_time() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut track = Position::default();
        let first = generations.map(&mut track, 10 * SECOND, false, Some(10 * SECOND));
        assert_eq!(first.due, None);
        let again = generations.map(&mut track, 0, true, Some(12 * SECOND));
        assert_eq!((again.time, again.due), (12 * SECOND, Some(10 * SECOND)));
        // Two seconds at once are a backlog; with more the stream is held to the clock, in every pass.
        let next = generations.map(&mut track, 2 * SECOND, false, Some(12 * SECOND));
        assert_eq!(next.due, Some(12 * SECOND));
        let next = generations.map(&mut track, 5 * SECOND, false, Some(12 * SECOND));
        assert_eq!(next.due, Some(15 * SECOND));
        let again = generations.map(&mut track, 0, true, Some(15 * SECOND));
        assert_eq!(again.time, 17 * SECOND + STEP);
        assert_eq!(again.due, Some(15 * SECOND + STEP));
        // A pause: running time 0 is another moment, and the generation is over.
        generations.set_anchor(anchor(5, START + 100 * SECOND));
        let resumed = generations.map(&mut track, 3 * SECOND, true, Some(3 * SECOND));
        assert_eq!((resumed.time, resumed.due), (103 * SECOND, None));
    }

    #[test]
    fn a_stream_that_is_ahead_of_the_clock_stays_so_far_ahead() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut track = Position::default();
        generations.map(&mut track, 60 * SECOND, false, Some(10 * SECOND));
        let again = generations.map(&mut track, 0, true, Some(10 * SECOND));
        assert_eq!(again.time, 60 * SECOND + STEP);
        assert_eq!(again.due, Some(8 * SECOND + STEP));
    }

    #[test]
    fn a_clock_that_comes_after_a_step_back_begins_a_generation() {
        let mut generations = Generations::default();
        let mut track = Position::default();
        generations.map(&mut track, 10 * SECOND, false, None);
        generations.map(&mut track, 0, true, None);
        generations.set_anchor(anchor(0, START));
        let mapped = generations.map(&mut track, 20 * SECOND, true, Some(20 * SECOND));
        assert!(mapped.time >= 20 * SECOND);
    }

    #[test]
    fn generations_without_end_are_not_all_kept() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let (mut track, mut idle) = (Position::default(), Position::default());
        generations.map(&mut idle, SECOND, false, Some(SECOND));
        let mut newest = 0;
        for pass in 0..1000 {
            let now = Some(pass * SECOND);
            let time = generations.map(&mut track, 0, true, now).time;
            assert!(pass == 0 || time > newest);
            newest = generations.map(&mut track, 40 * MS, false, now).time;
        }
        assert!(generations.offsets.len() <= KEPT);
        let late = generations.map(&mut idle, 0, true, Some(1000 * SECOND));
        assert!(late.jumped && late.time > SECOND);
        let again = generations.map(&mut track, 0, true, Some(2000 * SECOND));
        assert_eq!(
            (again.time, again.due),
            (2000 * SECOND, Some(1998 * SECOND))
        );
    }

    #[test]
    fn without_a_clock_there_is_no_wall_time() {
        let mut generations = Generations::default();
        let mut track = Position::default();
        assert_eq!(generations.map(&mut track, 7, false, None).time, 7);
        assert_eq!(generations.wall(), None);
    }

    #[test]
    fn negative_running_time_is_never_written() {
        let mut generations = Generations::default();
        let mut track = Position::default();
        assert!(generations.map(&mut track, -5, false, None).time >= 0);
    }
}

//! Running time → media time of the broadcast.
//!
//! The pipeline's running time starts again or stands still with a seek, a pause, a new clock; media time on the wire only
//! goes on. Each such change is a generation with an offset of its own, chosen so that the catalog's `clock.wall` stays true:
//! media time = wall time − wall time of media time 0.

/// A generation that starts in the past of what was written is put this far behind it.
const STEP: i64 = 20_000_000;

/// How far a picture may be shown before one that was decoded earlier.
const REORDER: i64 = 1_000_000_000;

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
    /// For a stream that began again in its own past (a file read in a loop): the running time, ns, of the pipeline at which
    /// the frame comes if the stream goes on by the clock.
    pub due: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Generation {
    /// Media time of running time 0.
    offset: i64,
    /// By how much it was ahead of the clock when it began.
    lead: i64,
}

impl Generation {
    fn new(offset: i64) -> Self {
        Self { offset, lead: 0 }
    }
}

/// The mapping of a broadcast that is published; see the module.
#[derive(Debug, Default)]
pub struct Generations {
    anchor: Option<Anchor>,
    /// Unix time of media time 0.
    wall: Option<i64>,
    /// Never empty once a frame was mapped.
    all: Vec<Generation>,
    /// The newest generation that a new anchor began: it concerns every track.
    anchored: usize,
    newest: i64,
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
        let first = self.anchor.replace(anchor).is_none();
        let wall = *self.wall.get_or_insert(anchor.wall);
        let offset = anchor.wall - wall;
        if first {
            self.all = vec![Generation::new(offset)];
        } else if self
            .all
            .last()
            .is_none_or(|last| (last.offset - offset).abs() > TOLERANCE)
        {
            self.all.push(Generation::new(offset));
            self.anchored = self.all.len() - 1;
        }
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
        if self.all.is_empty() {
            self.all.push(Generation::new(0));
        }
        let before = position.generation;
        position.generation = before.max(self.anchored);
        let reorder = if restart { 0 } else { REORDER };
        let fits = |time: i64| {
            time >= 0
                && position
                    .newest
                    .is_none_or(|newest| time + reorder >= newest)
        };
        let last = self.all.len() - 1;
        let mut time = running.saturating_add(self.all[position.generation].offset);
        let mut generation = position.generation;
        if !fits(time) {
            // Another track went back before: stay in sync with it.
            generation = last;
            time = running.saturating_add(self.all[last].offset);
        }
        if !fits(time) {
            let now = now.map(|now| now.saturating_add(self.all[self.anchored].offset));
            time = now.unwrap_or(0).max(self.newest + STEP);
            self.all.push(Generation {
                offset: time.saturating_sub(running),
                lead: now.map_or(0, |now| time.saturating_sub(now)),
            });
            generation = self.all.len() - 1;
        }
        position.generation = generation;
        let jumped = position.newest.is_some() && generation != before;
        position.newest = Some(match position.newest {
            Some(newest) if !jumped => newest.max(time),
            _ => time,
        });
        self.newest = self.newest.max(time);
        let due = (generation > self.anchored).then(|| {
            time.saturating_sub(self.all[self.anchored].offset)
                .saturating_sub(self.all[generation].lead)
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
    fn what_begins_again_is_due_when_its_media_time_has_come() {
        let mut generations = Generations::default();
        generations.set_anchor(anchor(0, START));
        let mut track = Position::default();
        let first = generations.map(&mut track, 10 * SECOND, false, Some(10 * SECOND));
        assert_eq!(first.due, None);
        let again = generations.map(&mut track, 0, true, Some(12 * SECOND));
        assert_eq!((again.time, again.due), (12 * SECOND, Some(12 * SECOND)));
        let next = generations.map(&mut track, 40 * MS, false, Some(12 * SECOND));
        assert_eq!(next.due, Some(12 * SECOND + 40 * MS));
        // A stream that is ahead of the clock stays so far ahead.
        let ahead = generations.map(&mut track, 60 * SECOND, false, Some(13 * SECOND));
        assert_eq!(ahead.time, 72 * SECOND);
        let again = generations.map(&mut track, 0, true, Some(13 * SECOND));
        assert_eq!(
            (again.time, again.due),
            (72 * SECOND + STEP, Some(13 * SECOND))
        );
        let next = generations.map(&mut track, 40 * MS, false, Some(13 * SECOND));
        assert_eq!(next.due, Some(13 * SECOND + 40 * MS));
        // A pause: running time 0 is another moment, and the generation is over.
        generations.set_anchor(anchor(5, START + 100 * SECOND));
        let resumed = generations.map(&mut track, 3 * SECOND, true, Some(3 * SECOND));
        assert_eq!((resumed.time, resumed.due), (103 * SECOND, None));
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

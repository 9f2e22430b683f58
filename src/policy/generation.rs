//! Running time → media time of a published broadcast.
//!
//! Media time on the wire starts at 0 and `clock.wall` of the catalog is the wall time of that 0, once and for all.
//! A flush, a new base time or a pause changes which wall time running time 0 is: a new *generation*, whose
//! offset keeps wall time = `clock.wall` + media time true (peer-lessons rows 12, 18, 25).

use super::{MILLISECOND, Nanos, SECOND};

/// Running times before 0 by up to this become media time 0: priming of an encoder. Before that there is no media time.
const PRIMING: Nanos = SECOND;

/// How far after everything before a generation starts whose wall clock has been set back.
const MARGIN: Nanos = 100 * MILLISECOND;

/// The resolution of media time on the wire.
const MICROSECOND: Nanos = 1000;

/// The generations of a broadcast, shared by its tracks.
#[derive(Debug, Clone)]
pub struct Generations {
    wall_zero: Nanos,
    /// Media time of running time 0.
    offset: Nanos,
    number: u64,
    /// How much of the offset the wall clock does not account for.
    error: Nanos,
    /// No track has shown up in this generation.
    fresh: bool,
    newest: Nanos,
}

/// How far a track of the broadcast has come. One for each track, from its start on.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    generation: u64,
    /// The largest media time so far.
    newest: Option<Nanos>,
    /// The largest media time of the generations before.
    floor: Option<Nanos>,
}

impl Generations {
    /// The first generation: media time is running time. `wall_of_running_zero` in nanoseconds since 1970.
    pub fn new(wall_of_running_zero: Nanos) -> Self {
        Self {
            wall_zero: wall_of_running_zero,
            offset: 0,
            number: 0,
            error: 0,
            fresh: false,
            newest: 0,
        }
    }

    /// Starts a generation: running time 0 is another wall time from now on.
    pub fn restart(&mut self, wall_of_running_zero: Nanos) {
        self.offset = wall_of_running_zero.saturating_sub(self.wall_zero);
        self.error = 0;
        self.number += 1;
        self.fresh = true;
    }

    /// The wall time of media time 0, in nanoseconds since 1970: `clock.wall` of the catalog.
    pub fn wall(&self) -> Nanos {
        self.wall_zero
    }

    /// How far ahead of the wall clock `wall` + media time is, because the clock was set back and
    /// media time cannot go back. Mostly 0.
    pub fn wall_error(&self) -> Nanos {
        self.error
    }

    /// Which generation this is, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The media time of a frame in microseconds. Within a generation it may go back (B-frames), but never to
    /// before what the track had in generations before: there it comes 1 µs later. Up to a second before media time 0 it is
    /// 0; before that there is none, and the frame is not published.
    pub fn media(&mut self, progress: &mut Progress, running: Nanos) -> Option<u64> {
        if progress.generation != self.number {
            progress.generation = self.number;
            progress.floor = progress.newest;
        }
        let mut media = running.saturating_add(self.offset);
        if let Some(floor) = progress.floor
            && media <= floor
        {
            if self.fresh {
                self.slip(media);
                media = running.saturating_add(self.offset);
            }
            media = media.max(floor.saturating_add(MICROSECOND));
        }
        self.fresh = false;
        if media < -PRIMING {
            return None;
        }
        let media = media.max(0) / MICROSECOND * MICROSECOND;
        self.newest = self.newest.max(media);
        progress.newest = Some(progress.newest.map_or(media, |newest| newest.max(media)));
        u64::try_from(media / MICROSECOND).ok()
    }

    /// The wall clock was set back: the whole generation moves after what was, so that its tracks stay in sync.
    fn slip(&mut self, media: Nanos) {
        let by = self
            .newest
            .saturating_add(MARGIN)
            .saturating_sub(media)
            .max(0);
        self.offset = self.offset.saturating_add(by);
        self.error = by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Nanos = 1_800_000_000 * SECOND;
    const MS: Nanos = MILLISECOND;

    #[test]
    fn media_time_is_running_time_in_microseconds_at_first() {
        let mut g = Generations::new(WALL);
        let mut track = Progress::default();
        assert_eq!(g.media(&mut track, 40 * MS), Some(40_000));
        assert_eq!(g.wall(), WALL);
    }

    #[test]
    fn after_a_pause_of_three_seconds_the_wall_clock_is_still_true_row_12() {
        let mut g = Generations::new(WALL);
        let mut track = Progress::default();
        g.media(&mut track, 10 * SECOND);
        // Running time stood still while the wall clock went on.
        g.restart(WALL + 3 * SECOND);
        let running = 10 * SECOND + 40 * MS;
        let media = g.media(&mut track, running).unwrap();
        let captured = WALL + 3 * SECOND + running;
        assert_eq!(g.wall() + media as Nanos * MICROSECOND, captured);
        assert_eq!((g.wall_error(), g.number()), (0, 1));
    }

    #[test]
    fn a_new_base_time_does_not_take_media_time_back_rows_18_and_25() {
        let mut g = Generations::new(WALL);
        let mut track = Progress::default();
        g.media(&mut track, 10 * SECOND);
        // Running time starts at 0 again, 10.5 s after it first did.
        g.restart(WALL + 10 * SECOND + 500 * MS);
        assert_eq!(g.media(&mut track, 0), Some(10_500_000));
        assert_eq!(g.wall_error(), 0);
    }

    #[test]
    fn a_wall_clock_set_back_keeps_media_time_rising_and_the_tracks_in_sync() {
        let mut g = Generations::new(WALL);
        let (mut video, mut audio) = (Progress::default(), Progress::default());
        let last = g.media(&mut video, 10 * SECOND).unwrap();
        let last_audio = g.media(&mut audio, 9 * SECOND + 900 * MS).unwrap();
        g.restart(WALL - 3600 * SECOND);
        let next_audio = g.media(&mut audio, 10 * SECOND).unwrap();
        let next_video = g.media(&mut video, 10 * SECOND).unwrap();
        assert!(next_audio > last_audio && next_video > last);
        assert_eq!(next_audio, next_video);
        assert_eq!(g.wall_error(), 3600 * SECOND + 100 * MS);
        g.restart(WALL);
        assert_eq!(g.wall_error(), 0);
        assert_eq!(g.media(&mut video, 11 * SECOND), Some(11_000_000));
    }

    #[test]
    fn a_wall_clock_set_forward_is_followed() {
        let mut g = Generations::new(WALL);
        let mut track = Progress::default();
        g.media(&mut track, SECOND);
        g.restart(WALL + 3600 * SECOND);
        assert_eq!(g.media(&mut track, 2 * SECOND), Some(3_602_000_000));
    }

    #[test]
    fn b_frames_go_back_within_a_generation_but_not_into_the_one_before() {
        let mut g = Generations::new(WALL);
        let mut track = Progress::default();
        g.media(&mut track, 100 * MS);
        assert_eq!(g.media(&mut track, 40 * MS), Some(40_000));
        g.restart(WALL);
        assert_eq!(g.media(&mut track, 140 * MS), Some(140_000));
        assert_eq!(g.media(&mut track, 100 * MS), Some(100_001));
        assert_eq!(g.media(&mut track, 120 * MS), Some(120_000));
    }

    #[test]
    fn before_media_time_zero_there_is_priming_and_then_nothing() {
        let mut g = Generations::new(WALL);
        let mut track = Progress::default();
        assert_eq!(g.media(&mut track, -7 * MS), Some(0));
        assert_eq!(g.media(&mut track, -2 * SECOND), None);
    }

    #[test]
    fn a_track_that_joins_in_a_later_generation_is_in_sync_with_the_others() {
        let mut g = Generations::new(WALL);
        let mut video = Progress::default();
        g.media(&mut video, 10 * SECOND);
        g.restart(WALL + SECOND);
        let (mut late, running) = (Progress::default(), 11 * SECOND);
        let media = g.media(&mut video, running);
        assert_eq!(g.media(&mut late, running), media);
    }
}

//! The one mapping from media time to running time that all tracks of a broadcast share.
//!
//! Each frame gives a sample d = arrival − media time. The smallest d over a sliding window is the
//! delay of the track's path (its encoder included); the *offset* of the broadcast is the largest
//! of these over its active tracks, and running time = media time + offset. So a track that its
//! encoder delays is still in time, and all stay in sync (peer-lessons row 1).
//!
//! An *epoch* is a stretch with one offset that only moves slowly. It starts unsettled: joining
//! delivers the newest group from its key frame in a burst, whose d falls by up to a GOP until the
//! live edge is reached. The caller keeps the frames meanwhile, calls [`Timeline::poll`] after arrivals and
//! at the time it was given, and opens its segment at the edge once that says settled.

mod track;
mod window;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::track::Track;
use super::{MILLISECOND, Nanos, SECOND};

/// Being later than needed by less is not worth a new epoch after the start: slewing gets there.
const LATE_FOR_NOTHING: Nanos = 100 * MILLISECOND;

/// How long the broadcast must have been later than needed before it catches up by a new epoch.
const CATCH_UP_AFTER: Nanos = 5 * SECOND;

/// How long the minima must have held still where it is single frames that tell how much too late the start was settled: on a path
/// that loses packets better ones may come yet.
const STILL: Nanos = 500 * MILLISECOND;

/// The longest time between two looks for which the offset is slewed.
const LONGEST_SLEW: Nanos = SECOND;

/// For so long after the start the offset falls faster than it follows a clock: where packets are lost most frames are late, and the
/// start was settled by the best of too few.
const HASTE: Nanos = 15 * SECOND;

/// It halves in some 0.7 s then.
const HASTE_TIME: Nanos = SECOND;

/// But no faster than this, in parts per million: pictures come a fortieth sooner one after the other, which nobody sees. Sinks play
/// sound by its count, and skip once 40 ms have added up.
const MOST_HASTE: Nanos = 25_000;

/// A track of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub usize);

/// How a [`Timeline`] behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// For how long no minimum may have fallen before the timeline is settled. A burst comes in
    /// flights one round trip apart, hence max(1.5 × RTT, 20 ms); see [`Timeline::set_hold`]. It is longer for tracks whose
    /// frames are further apart, up to 100 ms.
    pub hold: Nanos,
    /// After this long since the first frame the timeline is settled in any case.
    pub settle_limit: Nanos,
    /// Over how much of the past a minimum reaches.
    pub window: Nanos,
    /// How fast the offset follows, in parts per million of the time passed.
    pub slew_ppm: i64,
    /// A media time further off than this is another continuity.
    pub jump: Nanos,
    /// How much lateness the receiver absorbs: its `latency`; see [`Timeline::set_tolerance`].
    pub tolerance: Nanos,
    /// A backlog that turns out to have gone on after settling by more than this is reported
    /// as [`Event::Resettle`].
    pub resettle: Nanos,
    /// Whether a start that turns out to have been settled too late is corrected at all. What records keeps its distances, and has
    /// no need to be early.
    pub corrects: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hold: 20 * MILLISECOND,
            settle_limit: 2 * SECOND,
            window: 10 * SECOND,
            slew_ppm: 500,
            jump: SECOND,
            tolerance: 200 * MILLISECOND,
            resettle: 20 * MILLISECOND,
            corrects: true,
        }
    }
}

/// What an arrival means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Event {
    /// The frame belongs to this epoch.
    Ok,
    /// The frame belongs to the epoch before, which another track has left: drop it.
    Stale,
    /// Media time left its continuity with this frame, the first of a new, unsettled epoch.
    /// The caller drops what it holds from before and joins again.
    Jumped,
    /// The backlog of the join was not over when the timeline settled. A new epoch has begun and settles
    /// at the next [`Timeline::poll`], at the true live edge. At most once a join.
    Resettle,
    /// The path became slower than the tolerance absorbs, or has been faster for seconds by more than slewing can make
    /// up. A new, unsettled epoch has begun; media times go on.
    Rejoin,
}

/// Where an epoch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The mapping is not known yet. Poll again at `check_at`, and after arrivals.
    Unsettled {
        /// When to look again at the latest.
        check_at: Nanos,
    },
    /// The mapping stands.
    Settled {
        /// Running time of the live edge at the moment of settling: where the segment opens.
        edge: Nanos,
    },
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    edge: Nanos,
    at: Nanos,
}

/// Maps the media time of a broadcast to running time. See the module.
#[derive(Debug, Clone)]
pub struct Timeline {
    config: Config,
    tracks: BTreeMap<TrackId, Track>,
    /// Valid while settled.
    offset: Nanos,
    settled: Option<Settled>,
    /// Arrival of the first frame of the epoch.
    first: Option<Nanos>,
    /// Arrival of the last frame that belonged to the epoch.
    last: Option<Nanos>,
    /// Up to when the offset has been slewed.
    slewed: Nanos,
    /// [`Event::Resettle`] has not been used up in this join.
    may_resettle: bool,
}

impl Timeline {
    /// An unsettled timeline without tracks.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            tracks: BTreeMap::new(),
            offset: 0,
            settled: None,
            first: None,
            last: None,
            slewed: 0,
            may_resettle: true,
        }
    }

    /// Sets the hold time: max(1.5 × RTT, 20 ms).
    pub fn set_hold(&mut self, hold: Nanos) {
        self.config.hold = hold.max(0);
    }

    /// Sets how much lateness the receiver absorbs: its `latency`.
    pub fn set_tolerance(&mut self, tolerance: Nanos) {
        self.config.tolerance = tolerance.max(0);
    }

    /// Adds a track. On a settled timeline its backlog disturbs nobody.
    pub fn add_track(&mut self, id: TrackId) {
        let window = self.config.window;
        self.tracks.entry(id).or_insert_with(|| Track::new(window));
    }

    /// Forgets a track.
    pub fn remove_track(&mut self, id: TrackId) {
        self.tracks.remove(&id);
    }

    /// Says by how many frames a track reorders, where its bitstream states it. Without it the
    /// depth is learnt from the first reordered frames. Never lowers what was seen.
    pub fn set_reorder_depth(&mut self, id: TrackId, depth: usize) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.set_depth(depth);
        }
    }

    /// Starts a new epoch with the same tracks: after a reconnect, a new publisher, a pause.
    pub fn rejoin(&mut self) {
        self.restart();
        self.may_resettle = true;
    }

    fn restart(&mut self) {
        for track in self.tracks.values_mut() {
            track.restart(self.config.window);
        }
        self.settled = None;
        self.first = None;
        self.last = None;
    }

    /// Takes note of a frame of `track` with presentation time `media` in the group numbered `group`,
    /// which arrived at the running time `now`. Frames of one group are given in the order in which they stand in
    /// it; groups may overtake each other. A track that was not added gets [`Event::Stale`].
    pub fn arrived(&mut self, id: TrackId, group: u64, media: Nanos, now: Nanos) -> Event {
        let delay = now.saturating_sub(media);
        let Some(track) = self.tracks.get(&id) else {
            return Event::Stale;
        };
        if self.is_stale(track, delay) {
            let alive = |last: Nanos| now.saturating_sub(last) <= self.config.settle_limit;
            if self.last.is_some_and(alive) {
                return Event::Stale;
            }
            // Nobody else is left in the epoch that this frame does not fit.
            self.jump(id, now);
            let _ = self.take(id, group, media, now);
            return Event::Jumped;
        }
        if self.has_jumped(track, group, media, delay) {
            self.jump(id, now);
            let _ = self.take(id, group, media, now);
            return Event::Jumped;
        }
        self.take(id, group, media, now)
    }

    /// Whether a sample of a track that has not shown up in this epoch fits the one before better.
    fn is_stale(&self, track: &Track, delay: Nanos) -> bool {
        let Some(before) = track.before else {
            return false;
        };
        let others = self.tracks.values().filter_map(|track| track.delays.min());
        let Some(here) = others.min_by_key(|other| other.abs_diff(delay)) else {
            return false;
        };
        let off = here.abs_diff(delay);
        off > self.config.jump.unsigned_abs() && before.abs_diff(delay) < off
    }

    fn has_jumped(&self, track: &Track, group: u64, media: Nanos, delay: Nanos) -> bool {
        let jump = self.config.jump;
        let back = track
            .newest
            .map_or(0, |newest| newest.saturating_sub(media));
        let overtaken = track.group.is_some_and(|newest| group < newest);
        if overtaken {
            // A late group is not a jump, unless it is later than any group can be.
            return back > self.config.window;
        }
        // While unsettled, frames that come earlier than expected are just a backlog that ends.
        let earliest = self.offset.saturating_add(track.lead);
        let ahead = self.settled.is_some() && track.steady && delay < earliest.saturating_sub(jump);
        back > jump || ahead
    }

    /// A new epoch begun by one track; of the others frames of the old one are still on their way.
    fn jump(&mut self, by: TrackId, now: Nanos) {
        let (window, limit) = (self.config.window, self.config.settle_limit);
        for (id, track) in &mut self.tracks {
            let before = track.delays.min().or(track.before);
            let alive = track
                .last
                .is_some_and(|last| now.saturating_sub(last) <= limit);
            track.restart(window);
            track.awaited = alive && *id != by;
            track.before = before.filter(|_| *id != by);
        }
        self.settled = None;
        self.first = None;
        self.last = None;
        self.may_resettle = true;
    }

    fn take(&mut self, id: TrackId, group: u64, media: Nanos, now: Nanos) -> Event {
        self.advance(now);
        let Some(track) = self.tracks.get_mut(&id) else {
            return Event::Stale;
        };
        track.before = None;
        track.awaited = false;
        self.last = Some(now);
        let sample = track.take(group, media, now);
        if track.first.is_some() {
            self.first.get_or_insert(now);
        }
        let (Some(settled), Some(delay)) = (self.settled, sample) else {
            return Event::Ok;
        };
        track.lead = track
            .delays
            .min()
            .map_or(0, |min| min.saturating_sub(self.offset));
        if !track.steady {
            return Event::Ok;
        }
        let late = self.offset.saturating_add(self.config.tolerance);
        if track.too_late(delay, late, now) {
            self.restart();
            let _ = self.take(id, group, media, now);
            return Event::Rejoin;
        }
        let early = self.config.tolerance.max(LATE_FOR_NOTHING);
        if delay > self.offset.saturating_sub(early) {
            track.below = None;
        } else {
            track.below.get_or_insert(now);
        }
        self.catch_up(settled, now)
    }

    /// Whether the broadcast is presented later than its tracks need.
    fn catch_up(&mut self, settled: Settled, now: Nanos) -> Event {
        let config = &self.config;
        let floor = self.offset.saturating_sub(config.resettle);
        let joining =
            config.corrects && self.may_resettle && now - settled.at <= 2 * config.settle_limit;
        let active = || {
            self.tracks
                .values()
                .filter(|track| self.is_active(track, now))
        };
        let still = |track: &Track, hold: Nanos| {
            track
                .steady_at(hold, 2 * config.settle_limit)
                .is_none_or(|at| at <= now)
        };
        let all = |track: &Track| track.delays.recent_max().is_some_and(|max| max < floor);
        let best = self.offset.saturating_sub(LATE_FOR_NOTHING);
        let some = |track: &Track| track.delays.min().is_some_and(|min| min < best);
        let over = |track: &Track| {
            all(track) && still(track, config.hold) || some(track) && still(track, STILL)
        };
        if joining && active().all(over) {
            self.may_resettle = false;
            self.settled = None;
            return Event::Resettle;
        }
        let early = |track: &Track| {
            track
                .below
                .is_some_and(|since| now - since > CATCH_UP_AFTER)
        };
        if active().all(early) {
            self.settled = None;
            return Event::Rejoin;
        }
        Event::Ok
    }

    fn is_active(&self, track: &Track, now: Nanos) -> bool {
        track.steady
            && track
                .last
                .is_some_and(|last| now.saturating_sub(last) <= self.config.window)
    }

    /// Moves the offset towards its target, as fast as it may.
    fn advance(&mut self, now: Nanos) {
        let Some(settled) = self.settled else {
            return;
        };
        let (hold, limit) = (self.config.hold, self.config.settle_limit);
        for track in self.tracks.values_mut().filter(|track| !track.steady) {
            track.steady = track.steady_at(hold, limit).is_some_and(|at| at <= now);
        }
        let elapsed = now.saturating_sub(self.slewed);
        if elapsed <= 0 {
            return;
        }
        let target = self
            .tracks
            .values()
            .filter(|track| self.is_active(track, now))
            .filter_map(|track| track.delays.min())
            .max()
            .unwrap_or(self.offset);
        let late = self.offset.saturating_sub(target);
        let ppm = match self.config.corrects && now - settled.at <= HASTE {
            true => (late / (HASTE_TIME / 1_000_000)).min(MOST_HASTE),
            false => 0,
        };
        let ppm = ppm.max(self.config.slew_ppm).max(1);
        let budget = elapsed.min(LONGEST_SLEW) * ppm / 1_000_000;
        let step = target.saturating_sub(self.offset).clamp(-budget, budget);
        self.offset = self.offset.saturating_add(step);
        self.slewed = if elapsed < LONGEST_SLEW && step.abs() == budget {
            // The part of a nanosecond that was not used is kept for the next time.
            self.slewed + budget * 1_000_000 / ppm
        } else {
            now
        };
    }

    /// Where the epoch stands at `now`; settles it when its time has come.
    pub fn poll(&mut self, now: Nanos) -> Phase {
        if let Some(settled) = self.settled {
            self.advance(now);
            return Phase::Settled { edge: settled.edge };
        }
        let Some(at) = self.settles_at() else {
            return Phase::Unsettled {
                check_at: now.saturating_add(self.config.settle_limit),
            };
        };
        if now < at {
            return Phase::Unsettled { check_at: at };
        }
        let edge = self.settle(now);
        Phase::Settled { edge }
    }

    fn settles_at(&self) -> Option<Nanos> {
        let (hold, limit) = (self.config.hold, self.config.settle_limit);
        let first = self.first?;
        // Nothing to settle on while the only track's reorder depth is being learnt.
        let minima = self.tracks.values().filter_map(|track| track.delays.min());
        let fastest = minima.min()?;
        // Behind another track it is because of its encoder, or of a path that cannot carry it.
        let lags = |track: &Track| {
            let lag = track.delays.min().map(|min| min.saturating_sub(fastest));
            lag.is_some_and(|lag| lag > self.config.tolerance)
        };
        let steady_at = |track: &Track| match lags(track) {
            true => track.caught_up_at(hold, limit),
            false => track.steady_at(hold, limit),
        };
        let quiet = self
            .tracks
            .values()
            .map(|track| match steady_at(track) {
                Some(at) => at,
                None if track.awaited => Nanos::MAX,
                // It may not come at all: sparse, silent, or gone.
                None => first.saturating_add(hold.saturating_mul(2)),
            })
            .max()?;
        Some(quiet.min(first.saturating_add(limit)))
    }

    fn settle(&mut self, now: Nanos) -> Nanos {
        let minima = self.tracks.values().filter_map(|track| track.delays.min());
        self.offset = minima.max().unwrap_or(0);
        self.slewed = now;
        for track in self.tracks.values_mut() {
            track.below = None;
            if let Some(min) = track.delays.min() {
                track.steady = true;
                track.lead = min.saturating_sub(self.offset);
            }
        }
        // What is older than the receiver absorbs would be late already.
        let edge = self
            .newest()
            .unwrap_or(now)
            .min(now)
            .max(now.saturating_sub(self.config.tolerance));
        self.settled = Some(Settled { edge, at: now });
        edge
    }

    /// The largest running time of any frame of the epoch.
    fn newest(&self) -> Option<Nanos> {
        let newest = self
            .tracks
            .values()
            .filter_map(|track| track.newest)
            .max()?;
        Some(newest.saturating_add(self.offset))
    }

    /// The largest media time that was heard in this epoch, of any track.
    pub fn heard_until(&self) -> Option<Nanos> {
        self.tracks.values().filter_map(|track| track.newest).max()
    }

    /// The running time of a media time; `None` while unsettled.
    pub fn to_running(&self, media: Nanos) -> Option<Nanos> {
        self.settled.map(|_| media.saturating_add(self.offset))
    }

    /// The running time of the newest frame, at most `now`; `None` while unsettled.
    pub fn live_edge(&self, now: Nanos) -> Option<Nanos> {
        self.settled.and(self.newest()).map(|edge| edge.min(now))
    }

    /// Running time less media time; `None` while unsettled.
    pub fn offset(&self) -> Option<Nanos> {
        self.settled.map(|_| self.offset)
    }

    /// How much later than the mapping a track's fastest frames arrive: 0 for the track that
    /// sets the pace, negative for those ahead of it.
    pub fn delay(&self, id: TrackId) -> Option<Nanos> {
        self.settled?;
        let min = self.tracks.get(&id)?.delays.min()?;
        Some(min.saturating_sub(self.offset))
    }

    /// How much later than its fastest frames those of a track come, but for a few (95 %).
    pub fn jitter(&self, id: TrackId) -> Option<Nanos> {
        self.tracks.get(&id)?.delays.spread()
    }
}

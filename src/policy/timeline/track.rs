//! What the timeline knows about one track.

use super::window::Window;
use crate::policy::{MILLISECOND, Nanos, SECOND};

/// More frames than any codec reorders by (H.264 and H.265: `max_num_reorder` ≤ 16).
const DEEPEST: usize = 16;

/// A minimum that falls by less is noise.
const FALL: Nanos = 3 * MILLISECOND;

/// By less than this the newest frame of a join may be later than another one: jitter.
const BEHIND: Nanos = 25 * MILLISECOND;

/// So many times as long a track that may be far from the live edge has to hold still.
const LOOKS: Nanos = 3;

/// The longest time for which the next frame of a track is waited for. A track with frames further apart is sparse, and
/// does not hold the broadcast up.
const LONGEST_INTERVAL: Nanos = 100 * MILLISECOND;

/// By how much a frame may miss its pace.
const PACE: Nanos = 5 * MILLISECOND;

/// How long a track may be later than `tolerance` absorbs without getting better.
const RAISE_AFTER: Nanos = SECOND;

/// The same while it does get better: a backlog that drains.
const RAISE_LIMIT: Nanos = 3 * SECOND;

/// How long the samples of a track have been above a bound.
#[derive(Debug, Clone, Copy)]
struct Above {
    since: Nanos,
    improved: Nanos,
    low: Nanos,
}

#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) delays: Window,
    /// The latest media time of this epoch, and the group it was in.
    pub(super) newest: Option<Nanos>,
    pub(super) group: Option<u64>,
    /// Arrival of the first and of the last frame that counted in this epoch.
    pub(super) first: Option<Nanos>,
    pub(super) last: Option<Nanos>,
    /// When the minimum last fell, and to what.
    fell: Option<(Nanos, Nanos)>,
    /// The group that this epoch was joined in, and the newest sample while that is under way.
    joined: Option<(u64, Nanos)>,
    /// Its backlog is over: its minimum takes part in the broadcast's offset. Stays set for the epoch.
    pub(super) steady: bool,
    /// Its delay in the epoch before, while none of its frames were of this one.
    pub(super) before: Option<Nanos>,
    /// It was alive when another track began this epoch, and has to follow.
    pub(super) awaited: bool,
    /// Its minimum less the broadcast's offset, when last known.
    pub(super) lead: Nanos,
    /// The largest media times so far, ascending: what decoding times come from.
    latest: Vec<Nanos>,
    /// By how many frames the track is known to reorder.
    depth: usize,
    above: Option<Above>,
    pub(super) below: Option<Nanos>,
}

impl Track {
    pub(super) fn new(window: Nanos) -> Self {
        Self {
            delays: Window::new(window),
            newest: None,
            group: None,
            first: None,
            last: None,
            fell: None,
            joined: None,
            steady: false,
            before: None,
            awaited: false,
            lead: 0,
            latest: Vec::new(),
            depth: 0,
            above: None,
            below: None,
        }
    }

    /// Forgets the epoch. What the stream is like (its reorder depth) stays.
    pub(super) fn restart(&mut self, window: Nanos) {
        let depth = self.depth;
        *self = Self::new(window);
        self.depth = depth;
    }

    pub(super) fn set_depth(&mut self, depth: usize) {
        let depth = depth.min(DEEPEST);
        if depth > self.depth {
            self.depth = depth;
            self.unsettle();
        }
    }

    /// Samples taken with the wrong reorder depth are worthless.
    fn unsettle(&mut self) {
        self.delays.clear();
        self.fell = None;
        self.joined = None;
        self.first = None;
        self.steady = false;
        self.above = None;
        self.below = None;
    }

    /// Takes a frame of the current continuity in. Gives the sample it makes: arrival less
    /// *decoding* time, because frames that are reordered arrive at the pace of their decoding,
    /// and every one of them has to be there when it is due.
    pub(super) fn take(&mut self, group: u64, media: Nanos, now: Nanos) -> Option<Nanos> {
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        if self.group.is_some_and(|newest| group < newest) {
            // A group that was overtaken: late by nature, it says nothing about the path.
            return None;
        }
        self.group = Some(group);
        self.newest = Some(self.newest.map_or(media, |newest| newest.max(media)));
        let at = self.latest.partition_point(|&other| other <= media);
        let behind = self.latest.len() - at;
        self.latest.insert(at, media);
        if self.latest.len() > DEEPEST + 1 {
            self.latest.remove(0);
        }
        self.set_depth(behind);
        let decoding = *self.latest.iter().rev().nth(self.depth)?;
        let delay = now.saturating_sub(decoding);
        self.delays.push(delay, now);
        if self.first.is_none() {
            self.first = Some(now);
            self.joined = Some((group, delay));
        } else {
            // A later group begins at the live edge.
            self.joined = self.joined.filter(|(joined, _)| *joined == group);
        }
        if let Some((_, newest)) = &mut self.joined {
            *newest = delay;
        }
        match self.fell {
            Some((_, low)) if delay >= low.saturating_sub(FALL) => {}
            _ => self.fell = Some((now, delay)),
        }
        Some(delay)
    }

    /// When its minimum will have held still for `hold`, or `limit` is up.
    ///
    /// Not before the next frame is due: the newest frame of a backlog was there before it was asked for, by anything up to
    /// the time between two frames, and only the first that arrives at the live pace tells by how much.
    pub(super) fn steady_at(&self, hold: Nanos, limit: Nanos) -> Option<Nanos> {
        let first = self.first?;
        let (fell, _) = self.fell?;
        let hold = hold.max(self.interval() + PACE);
        Some(fell.saturating_add(hold).min(first.saturating_add(limit)))
    }

    /// The same for a track that may be far from the live edge: it is looked at for longer, and as long as it falls further
    /// behind only `limit` ends that, or the next group, which begins at the edge. The backlog of a join runs in more slowly than
    /// media goes on where the path cannot carry the stream, and its first frames came soonest.
    pub(super) fn caught_up_at(&self, hold: Nanos, limit: Nanos) -> Option<Nanos> {
        let (_, low) = self.fell?;
        match self.joined {
            Some((_, newest)) if newest.saturating_sub(low) > (hold / 2).max(BEHIND) => {
                Some(self.first?.saturating_add(limit))
            }
            Some(_) => self.steady_at(hold.saturating_mul(LOOKS), limit),
            None => self.steady_at(hold, limit),
        }
    }

    /// The time between two frames, as far as it is known.
    fn interval(&self) -> Nanos {
        let steps = self
            .latest
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]));
        let shortest = steps.filter(|step| *step > 0).min();
        shortest.map_or(LONGEST_INTERVAL, |step| step.min(LONGEST_INTERVAL))
    }

    /// Takes note of a sample against `offset`; says whether the track has been too late for too long.
    pub(super) fn too_late(&mut self, delay: Nanos, bound: Nanos, now: Nanos) -> bool {
        if delay <= bound {
            self.above = None;
            return false;
        }
        let above = self.above.get_or_insert(Above {
            since: now,
            improved: now,
            low: delay,
        });
        if delay < above.low.saturating_sub(FALL) {
            above.low = delay;
            above.improved = now;
        }
        now - above.improved > RAISE_AFTER || now - above.since > RAISE_LIMIT
    }
}

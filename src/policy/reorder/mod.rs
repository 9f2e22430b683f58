//! One ordered sequence of frames out of groups that arrive in any order and at once.
//!
//! Frames of the current group pass as soon as they are there; after its last one the next group goes on.
//! When the next frame is missing, waiting costs nothing until the first frame of a newer group is due:
//! then that group is skipped to, and its first frame is marked as discontinuous (peer-lessons row 7).
//!
//! Group numbers need not follow one another (draft-ietf-moq-transport, "Group IDs": there may be gaps), and no subscription tells whether
//! they do. A group that continues where the last one ended in media time is played without waiting for the numbers in
//! between; and when a wait was in vain and no two numbers ever followed one another, there are no more waits.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::{MILLISECOND, Nanos};

/// How a [`Reorder`] behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Every frame can be decoded by itself (audio): a group may go on after a hole in it.
    pub independent: bool,
    /// Frames at hand are left for a newer group when that one is late by this much already: after an
    /// outage the live edge is worth more than the past.
    pub catch_up: Nanos,
    /// Bounds on what is held.
    pub max_groups: usize,
    pub max_frames: usize,
    pub max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            independent: false,
            catch_up: 500 * MILLISECOND,
            max_groups: 64,
            max_frames: 16_384,
            max_bytes: 64 << 20,
        }
    }
}

/// A frame as it comes in.
#[derive(Debug, Clone)]
pub struct Frame<T> {
    /// Its place in its group, from 0.
    pub index: u64,
    /// Its presentation time.
    pub media: Nanos,
    /// What it counts towards the bound.
    pub bytes: usize,
    /// The frame itself.
    pub item: T,
}

/// What became of a group or a frame that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is held, or has its place.
    Taken,
    /// It came before, on another connection.
    Duplicate,
    /// Playback is past its group, or the group was given up: the rest of it need not be read.
    Late,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll<T> {
    /// The next frame.
    Frame {
        /// Sequence number of its group.
        seq: u64,
        /// Its place in the group.
        index: u64,
        /// Its presentation time.
        media: Nanos,
        /// Something is missing before it.
        discont: bool,
        /// It is the first of its group.
        first_of_group: bool,
        /// The frame itself.
        item: T,
    },
    /// Nothing until more comes in, or until this time.
    Wait {
        /// When to look again if nothing comes in.
        until: Option<Nanos>,
    },
}

/// What was lost on the way, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Groups that started to arrive after playback had passed them.
    pub late_groups: u64,
    /// Frames of groups that playback had passed.
    pub late_frames: u64,
    /// Groups given up, wholly or in part, to stay in time.
    pub skipped_groups: u64,
    /// Sequence numbers passed over of which nothing ever came.
    pub missing_groups: u64,
    /// Groups cut short by the other side.
    pub aborted_groups: u64,
    /// Frames that came twice.
    pub duplicate_frames: u64,
    /// Groups given up, wholly or in part, because too much was held.
    pub overflow_groups: u64,
}

#[derive(Debug)]
struct Group<T> {
    frames: VecDeque<Frame<T>>,
    /// Index that the next frame to come has.
    received: u64,
    bytes: usize,
    finished: bool,
    aborted: bool,
    /// The other side gave the rest of it up: as good as finished, but for what is missing.
    given_up: bool,
    /// Nothing more of it is taken: it has a hole, or it was too much.
    cut: bool,
}

impl<T> Group<T> {
    fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            received: 0,
            bytes: 0,
            finished: false,
            aborted: false,
            given_up: false,
            cut: false,
        }
    }
}

/// See the module. Times are running times; media times go through the caller's mapping.
#[derive(Debug)]
pub struct Reorder<T> {
    config: Config,
    groups: BTreeMap<u64, Group<T>>,
    /// The group playback is at; `None` before the first frame.
    current: Option<u64>,
    /// The index in the current group that comes next without a hole.
    next: u64,
    /// Something is missing before the next frame.
    discont: bool,
    pace: Pace,
    numbers: Numbers,
    frames: usize,
    bytes: usize,
    dropped: Dropped,
}

/// How presentation time advances from frame to frame.
#[derive(Debug, Default)]
struct Pace {
    newest: Option<Nanos>,
    /// The last two steps forward.
    steps: [Option<Nanos>; 2],
}

impl Pace {
    fn note(&mut self, media: Nanos) {
        match self.newest {
            Some(newest) if media <= newest => return,
            Some(newest) => self.steps = [self.steps[1], Some(media.saturating_sub(newest))],
            None => {}
        }
        self.newest = Some(media);
    }

    /// Nothing fits between the last frame and one with this time.
    fn is_followed_by(&self, media: Nanos) -> bool {
        let step = self.steps.iter().flatten().min();
        let (Some(newest), Some(step)) = (self.newest, step) else {
            return false;
        };
        let ahead = media.saturating_sub(newest);
        ahead > 0 && ahead <= step.saturating_add(step / 2)
    }
}

/// What is known of how the publisher numbers its groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Numbers {
    #[default]
    Unknown,
    /// Two followed one another: a number that is missing is a group that is missing.
    Dense,
    /// None did so far, and a number was waited for in vain.
    Sparse,
}

impl<T> Reorder<T> {
    /// Nothing held; the first group with a frame starts playback.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            current: None,
            next: 0,
            discont: true,
            pace: Pace::default(),
            numbers: Numbers::default(),
            frames: 0,
            bytes: 0,
            dropped: Dropped::default(),
        }
    }

    /// Forgets everything but the counters: a new publisher, whose sequence numbers mean something else.
    pub fn reset(&mut self) {
        self.groups.clear();
        self.current = None;
        self.next = 0;
        self.discont = true;
        self.pace = Pace::default();
        self.numbers = Numbers::default();
        self.frames = 0;
        self.bytes = 0;
    }

    /// Gives up everything before group `seq`: playback goes on there.
    pub fn start_at(&mut self, seq: u64) {
        if self.current.is_none_or(|current| current < seq) {
            let keep = self.groups.split_off(&seq);
            let passed = std::mem::replace(&mut self.groups, keep);
            self.discard(passed);
            self.move_to(seq, true);
        }
    }

    /// A group begins to arrive, or arrives again.
    pub fn start_group(&mut self, seq: u64) -> Outcome {
        if self.is_past(seq) {
            // It may be one of those that were not waited for.
            if self.numbers == Numbers::Sparse {
                self.numbers = Numbers::Unknown;
            }
            self.dropped.late_groups += 1;
            return Outcome::Late;
        }
        if let Some(group) = self.groups.get_mut(&seq) {
            if group.finished || group.cut {
                return Outcome::Duplicate;
            }
            group.aborted = false;
            return Outcome::Taken;
        }
        let before = seq.checked_sub(1);
        let follows = |before| self.groups.contains_key(&before);
        if self.current == Some(seq) || before.is_some_and(follows) {
            self.numbers = Numbers::Dense;
        }
        self.groups.insert(seq, Group::new());
        self.shed();
        if self.is_past(seq) {
            Outcome::Late
        } else {
            Outcome::Taken
        }
    }

    /// A frame of group `seq`, which is started by it if it was not.
    pub fn push(&mut self, seq: u64, frame: Frame<T>) -> Outcome {
        if self.is_past(seq) {
            self.dropped.late_frames += 1;
            return Outcome::Late;
        }
        let group = self.groups.entry(seq).or_insert_with(Group::new);
        if frame.index < group.received {
            self.dropped.duplicate_frames += 1;
            return Outcome::Duplicate;
        }
        if group.cut {
            self.dropped.late_frames += 1;
            return Outcome::Late;
        }
        if frame.index > group.received && !self.config.independent {
            group.cut = true;
            self.dropped.late_frames += 1;
            self.shed();
            return Outcome::Late;
        }
        group.received = frame.index.saturating_add(1);
        group.bytes = group.bytes.saturating_add(frame.bytes);
        self.bytes = self.bytes.saturating_add(frame.bytes);
        self.frames += 1;
        group.frames.push_back(frame);
        self.shed();
        if self.is_past(seq) || self.groups.get(&seq).is_some_and(|group| group.cut) {
            Outcome::Late
        } else {
            Outcome::Taken
        }
    }

    /// All frames of a group have been pushed.
    pub fn finish_group(&mut self, seq: u64) {
        if let Some(group) = self.groups.get_mut(&seq) {
            group.finished = true;
        }
    }

    /// No more of a group comes, though it was not finished. What came of it is good. The same group
    /// may be started again, on another connection.
    pub fn abort_group(&mut self, seq: u64) {
        if let Some(group) = self.groups.get_mut(&seq)
            && !group.finished
            && !group.aborted
        {
            group.aborted = true;
            self.dropped.aborted_groups += 1;
        }
    }

    /// The other side gave the rest of a group up because it would come too late. What came of it is good, and nothing of it is
    /// waited for.
    pub fn give_up_group(&mut self, seq: u64) {
        if let Some(group) = self.groups.get_mut(&seq)
            && !group.finished
        {
            group.finished = true;
            group.given_up = true;
            self.dropped.aborted_groups += 1;
        }
    }

    /// The next frame, or what to wait for. `deadline_of` gives the running time by which a frame with
    /// that media time has to be pushed (running time + latency, less the caller's margin),
    /// or `None` while there is no mapping; then nothing is given up but for want of memory.
    pub fn poll(&mut self, now: Nanos, deadline_of: impl Fn(Nanos) -> Option<Nanos>) -> Poll<T> {
        loop {
            let Some(current) = self.current_or_first() else {
                return Poll::Wait { until: None };
            };
            if self.is_over(current) {
                let over = self.groups.remove(&current);
                let Some(next) = current.checked_add(1) else {
                    return Poll::Wait { until: None };
                };
                self.move_to(next, over.is_some_and(|group| group.given_up));
                continue;
            }
            if let Some(next) = self.next_in_line(current) {
                self.move_to(next, false);
                continue;
            }
            let ready = self.has_frame(current);
            let grace = if ready { self.config.catch_up } else { 0 };
            if let Some(newer) = self.due_group(current, now.saturating_sub(grace), &deadline_of) {
                self.skip_to(newer);
                continue;
            }
            if ready && let Some(frame) = self.pop(current) {
                return frame;
            }
            let until = self
                .newer_with_frames(current)
                .next()
                .and_then(|(_, media)| deadline_of(media));
            return Poll::Wait { until };
        }
    }

    /// The group that follows, when there is none of the number that is next, nor will be.
    fn next_in_line(&self, current: u64) -> Option<u64> {
        let (&seq, group) = self.groups.range(current..).next()?;
        let first = group.frames.front().filter(|first| first.index == 0)?;
        let follows = self.numbers == Numbers::Sparse || self.pace.is_followed_by(first.media);
        (seq > current && self.next == 0 && follows).then_some(seq)
    }

    fn current_or_first(&mut self) -> Option<u64> {
        if self.current.is_none() {
            let first = self
                .groups
                .iter()
                .find(|(_, group)| !group.frames.is_empty())
                .map(|(&seq, _)| seq)?;
            let keep = self.groups.split_off(&first);
            let passed = std::mem::replace(&mut self.groups, keep);
            self.discard(passed);
            self.move_to(first, true);
        }
        self.current
    }

    /// Newer groups that have a frame, oldest first, each with the media time of its first frame held.
    fn newer_with_frames(&self, current: u64) -> impl DoubleEndedIterator<Item = (u64, Nanos)> {
        self.groups
            .range(current..)
            .filter(move |(seq, _)| **seq > current)
            .filter_map(|(&seq, group)| Some((seq, group.frames.front()?.media)))
    }

    /// The newest group whose first frame was due by `now`: what is older is late as a whole.
    fn due_group(
        &self,
        current: u64,
        now: Nanos,
        deadline_of: &impl Fn(Nanos) -> Option<Nanos>,
    ) -> Option<u64> {
        self.newer_with_frames(current)
            .rev()
            .find(|(_, media)| deadline_of(*media).is_some_and(|deadline| deadline <= now))
            .map(|(seq, _)| seq)
    }

    fn skip_to(&mut self, seq: u64) {
        let keep = self.groups.split_off(&seq);
        let passed = std::mem::replace(&mut self.groups, keep);
        let from = self.current.unwrap_or(seq);
        let known = passed.len() as u64;
        // An empty group that the other side finished is no loss.
        let lost = passed
            .values()
            .filter(|group| !(group.finished && group.received == 0))
            .count() as u64;
        self.dropped.skipped_groups += lost;
        let missing = seq.saturating_sub(from).saturating_sub(known);
        self.dropped.missing_groups = self.dropped.missing_groups.saturating_add(missing);
        if self.numbers == Numbers::Unknown && missing > 0 && known == 0 {
            self.numbers = Numbers::Sparse;
        }
        self.discard(passed);
        self.move_to(seq, true);
    }

    fn pop(&mut self, current: u64) -> Option<Poll<T>> {
        let group = self.groups.get_mut(&current)?;
        let frame = group.frames.pop_front()?;
        group.bytes = group.bytes.saturating_sub(frame.bytes);
        self.bytes = self.bytes.saturating_sub(frame.bytes);
        self.frames = self.frames.saturating_sub(1);
        self.pace.note(frame.media);
        let discont = std::mem::take(&mut self.discont) || frame.index != self.next;
        self.next = frame.index.saturating_add(1);
        Some(Poll::Frame {
            seq: current,
            index: frame.index,
            media: frame.media,
            discont,
            first_of_group: frame.index == 0,
            item: frame.item,
        })
    }

    fn has_frame(&self, seq: u64) -> bool {
        self.groups
            .get(&seq)
            .is_some_and(|group| !group.frames.is_empty())
    }

    fn is_over(&self, seq: u64) -> bool {
        self.groups
            .get(&seq)
            .is_some_and(|group| group.finished && !group.cut && group.frames.is_empty())
    }

    fn is_past(&self, seq: u64) -> bool {
        self.current.is_some_and(|current| seq < current)
    }

    fn move_to(&mut self, seq: u64, discont: bool) {
        self.current = Some(seq);
        self.next = 0;
        self.discont |= discont;
    }

    fn discard(&mut self, groups: BTreeMap<u64, Group<T>>) {
        for group in groups.into_values() {
            self.frames = self.frames.saturating_sub(group.frames.len());
            self.bytes = self.bytes.saturating_sub(group.bytes);
        }
    }

    fn is_over_bounds(&self) -> bool {
        self.groups.len() > self.config.max_groups
            || self.frames > self.config.max_frames
            || self.bytes > self.config.max_bytes
    }

    /// Gives up the oldest of what is held, until it is within bounds: the live edge wins.
    fn shed(&mut self) {
        while self.is_over_bounds() {
            self.dropped.overflow_groups += 1;
            let mut held = self.groups.keys().copied();
            match (held.next(), held.next()) {
                (Some(oldest), Some(second)) => {
                    if let Some(group) = self.groups.remove(&oldest) {
                        self.discard(BTreeMap::from([(oldest, group)]));
                    }
                    self.move_to(second, true);
                }
                (Some(only), None) => self.shorten(only),
                _ => return,
            }
        }
    }

    /// A single group that is too much loses its newest frames: what stays can be decoded. One of
    /// independent frames loses its oldest.
    fn shorten(&mut self, seq: u64) {
        let Some(group) = self.groups.get_mut(&seq) else {
            return;
        };
        let frame = if self.config.independent {
            group.frames.pop_front()
        } else {
            group.cut = true;
            group.frames.pop_back()
        };
        let Some(frame) = frame else {
            // Bounds of zero: not even an empty group fits.
            self.groups.remove(&seq);
            return;
        };
        group.bytes = group.bytes.saturating_sub(frame.bytes);
        self.bytes = self.bytes.saturating_sub(frame.bytes);
        self.frames = self.frames.saturating_sub(1);
    }

    /// The group that playback is at, and the index of the frame in it that is next.
    pub fn position(&self) -> Option<(u64, u64)> {
        self.current.map(|current| (current, self.next))
    }

    /// Something is missing and nothing is at hand to go on with: only a newer group helps.
    pub fn is_broken(&self) -> bool {
        let Some(current) = self.current else {
            return false;
        };
        let cut = |group: &Group<T>| group.cut;
        self.frames == 0 && (self.discont || self.groups.get(&current).is_some_and(cut))
    }

    /// What is held: groups, frames, bytes.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.groups.len(), self.frames, self.bytes)
    }

    /// What was lost so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

//! The queue between the player, which must never wait, and the streaming thread of a pad, which may.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::policy::Nanos;

/// An access unit or packet, ready to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Presentation time as running time, ns. Before the segment's start for frames that only catch up.
    pub pts: Nanos,
    pub dts: Option<Nanos>,
    pub duration: Option<Nanos>,
    /// Media time as it was on the wire, µs.
    pub media_us: u64,
    /// Decoding can start here.
    pub key: bool,
    /// Something before this frame is missing, or this is the first.
    pub discont: bool,
    /// The mapping from media time changed.
    pub resync: bool,
    pub payload: Bytes,
}

/// How much media time may be caught up with: what is further ahead of the first frame waits for its segment.
pub const CATCH_UP: Nanos = 10 * crate::policy::SECOND;

/// What the streaming thread does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<C> {
    /// What follows is coded like this.
    Config(C),
    /// Frames follow that are decoded and not presented, from this running time on, before it is known which running time is
    /// theirs: a [`Item::Segment`] follows that says so.
    CatchUp {
        at: Nanos,
        shift: Nanos,
    },
    /// Presentation starts at this running time. What is pushed has its running time plus `shift` as timestamp, so that those
    /// go on from frames that were pushed before.
    Segment {
        start: Nanos,
        shift: Nanos,
    },
    Frame(Frame),
    /// Nothing is there for this span of running time.
    Gap {
        start: Nanos,
        duration: Nanos,
    },
    Eos,
}

/// What a [`TrackQueue::pop`] found.
#[derive(Debug, PartialEq)]
pub enum Popped<C> {
    Item(Item<C>),
    /// The waiting thread was asked to come back.
    Flushing,
}

/// Whether the streaming thread has come to an end, and what is to follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    None,
    /// The end was popped: the streaming thread has told it downstream and takes nothing more.
    Told,
    /// As before, and somebody was asked to let it go on.
    Asked,
}

struct State<C> {
    items: VecDeque<Item<C>>,
    end: End,
    bytes: usize,
    max_span: Nanos,
    /// Start of the newest segment that was pushed.
    segment_start: Nanos,
    /// Running time up to which frames were pushed.
    until: Option<Nanos>,
    flushing: bool,
    closed: bool,
    /// Frames dropped here since the last one that was popped, so that it gets DISCONT.
    gap: bool,
    dropped_frames: u64,
    dropped_groups: u64,
}

/// Bounded in bytes and in time; when full it loses its oldest whole group, up to the next key frame. Gaps that follow each
/// other are one, so that a silent track fills nothing.
pub struct TrackQueue<C> {
    state: Mutex<State<C>>,
    filled: Condvar,
    max_bytes: usize,
}

impl<C> TrackQueue<C> {
    pub fn new(max_span: Nanos, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                end: End::None,
                bytes: 0,
                max_span,
                segment_start: Nanos::MIN,
                until: None,
                flushing: false,
                closed: false,
                gap: false,
                dropped_frames: 0,
                dropped_groups: 0,
            }),
            filled: Condvar::new(),
            max_bytes,
        })
    }

    /// How much media time may wait here.
    pub fn set_max_span(&self, max_span: Nanos) {
        self.state.lock().max_span = max_span;
    }

    /// Appends, never waits. True for the first frame after an end that was told: [`Self::resume`] has to follow.
    pub fn push(&self, item: Item<C>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        let resumes = state.end == End::Told && matches!(item, Item::Frame(_));
        if resumes {
            state.end = End::Asked;
        }
        match &item {
            Item::Frame(frame) => {
                state.bytes += frame.payload.len();
                let end = frame.pts.saturating_add(frame.duration.unwrap_or(0));
                if end > state.segment_start {
                    state.until = Some(state.until.map_or(end, |until| until.max(end)));
                }
            }
            Item::CatchUp { at, .. } => state.segment_start = at.saturating_add(CATCH_UP),
            Item::Segment { start, .. } => state.segment_start = *start,
            _ => {}
        }
        state.append(item);
        while state.bytes > self.max_bytes || state.span() > state.max_span {
            if !state.drop_oldest_group() {
                break;
            }
        }
        drop(state);
        self.filled.notify_one();
        resumes
    }

    /// Running time at which the last frame before an end is over, when an end is the last that was pushed or popped.
    pub fn ended(&self) -> Option<Nanos> {
        let state = self.state.lock();
        let ended = state.end != End::None || matches!(state.items.back(), Some(Item::Eos));
        state.until.filter(|_| ended)
    }

    /// What was pushed after an end may be popped from now on. The caller makes the streaming thread run again.
    pub fn resume(&self) {
        self.state.lock().end = End::None;
    }

    /// The next item, waiting for it. An end that something follows already is none.
    pub fn pop(&self) -> Popped<C> {
        let mut state = self.state.lock();
        loop {
            if state.flushing {
                return Popped::Flushing;
            }
            if let Some(mut item) = state.items.pop_front() {
                match &mut item {
                    Item::Frame(frame) => {
                        state.bytes -= frame.payload.len();
                        frame.discont |= std::mem::take(&mut state.gap);
                    }
                    Item::Eos if state.has_frames() => continue,
                    Item::Eos => state.end = End::Told,
                    _ => {}
                }
                return Popped::Item(item);
            }
            self.filled.wait(&mut state);
        }
    }

    /// Makes `pop` return [`Popped::Flushing`] until it is called with `false`.
    pub fn set_flushing(&self, flushing: bool) {
        self.state.lock().flushing = flushing;
        self.filled.notify_all();
    }

    /// Throws away what waits, except the newest configuration and the end.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        let config = state
            .items
            .iter()
            .rposition(|item| matches!(item, Item::Config(_)))
            .and_then(|at| state.items.remove(at));
        let eos = state.items.iter().any(|item| matches!(item, Item::Eos));
        state.items.clear();
        state.items.extend(config);
        state.items.extend(eos.then_some(Item::Eos));
        state.bytes = 0;
        state.gap = true;
    }

    /// Takes nothing more; what waits is still popped.
    pub fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Media time and bytes that wait here.
    pub fn level(&self) -> (Nanos, usize) {
        let state = self.state.lock();
        (state.span(), state.bytes)
    }

    /// Frames and groups lost because the streaming thread did not keep up.
    pub fn dropped(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.dropped_frames, state.dropped_groups)
    }
}

impl<C> State<C> {
    fn append(&mut self, item: Item<C>) {
        if let Item::Gap { start, duration } = &item
            && let Some(Item::Gap {
                start: first,
                duration: whole,
            }) = self.items.back_mut()
        {
            let end = start.saturating_add(*duration);
            let end = end.max(first.saturating_add(*whole));
            *first = *start.min(first);
            *whole = end.saturating_sub(*first);
            return;
        }
        self.items.push_back(item);
    }

    fn has_frames(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Frame(_)))
    }

    /// Only frames that will be presented count: those before the segment's start pass at once.
    fn span(&self) -> Nanos {
        let pts = |item: &Item<C>| match item {
            Item::Frame(frame) => Some(frame.pts),
            _ => None,
        };
        let Some(oldest) = self.items.iter().find_map(pts) else {
            return 0;
        };
        let newest = self.items.iter().rev().find_map(pts).unwrap_or(oldest);
        (newest - oldest.max(self.segment_start)).max(0)
    }

    /// Drops frames from the oldest up to the next key frame; false when there is no later key frame to go on with.
    fn drop_oldest_group(&mut self) -> bool {
        let is_frame = |item: &Item<C>| matches!(item, Item::Frame(_));
        let is_key = |item: &Item<C>| matches!(item, Item::Frame(frame) if frame.key);
        let Some(first) = self.items.iter().position(is_frame) else {
            return false;
        };
        let Some(next) = self
            .items
            .iter()
            .skip(first + 1)
            .position(is_key)
            .map(|n| n + first + 1)
        else {
            return false;
        };
        let mut kept = Vec::new();
        for item in self.items.drain(first..next) {
            match item {
                Item::Frame(frame) => {
                    self.bytes -= frame.payload.len();
                    self.dropped_frames += 1;
                }
                Item::Gap { .. } => {}
                other => kept.push(other),
            }
        }
        for item in kept.into_iter().rev() {
            self.items.insert(first, item);
        }
        self.dropped_groups += 1;
        self.gap = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn frame(pts_ms: i64, key: bool) -> Item<()> {
        Item::Frame(Frame {
            pts: pts_ms * MS,
            dts: None,
            duration: None,
            media_us: 0,
            key,
            discont: false,
            resync: false,
            payload: Bytes::from_static(&[0; 10]),
        })
    }

    fn popped_pts(queue: &TrackQueue<()>) -> (i64, bool) {
        match queue.pop() {
            Popped::Item(Item::Frame(frame)) => (frame.pts / MS, frame.discont),
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    #[test]
    fn a_full_queue_loses_its_oldest_group_and_marks_the_next_key_frame() {
        let queue = TrackQueue::new(100 * MS, 1 << 20);
        for pts in 0..11 {
            queue.push(frame(pts * 10, pts % 5 == 0));
        }
        queue.push(frame(110, false));
        assert_eq!(queue.dropped(), (5, 1));
        assert_eq!(popped_pts(&queue), (50, true));
        assert_eq!(popped_pts(&queue), (60, false));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = TrackQueue::new(i64::MAX, 35);
        for pts in 0..4 {
            queue.push(frame(pts, true));
        }
        assert_eq!(queue.dropped(), (1, 1));
        assert_eq!(queue.level().1, 30);
    }

    #[test]
    fn gaps_of_a_silent_track_that_nobody_takes_are_one() {
        let queue = TrackQueue::new(100 * MS, 1 << 20);
        let gap = |start: i64, duration: i64| Item::Gap {
            start: start * MS,
            duration: duration * MS,
        };
        queue.push(frame(0, true));
        for n in 0..1000 {
            queue.push(gap(10 + 20 * n, 20));
        }
        queue.push(frame(20_010, false));
        queue.push(gap(20_020, 20));
        assert_eq!(popped_pts(&queue), (0, false));
        assert_eq!(queue.pop(), Popped::Item(gap(10, 20_000)));
        assert_eq!(popped_pts(&queue), (20_010, false));
        assert_eq!(queue.pop(), Popped::Item(gap(20_020, 20)));
        // A mapping that moves back begins earlier.
        queue.push(gap(30_000, 20));
        queue.push(gap(29_000, 20));
        assert_eq!(queue.pop(), Popped::Item(gap(29_000, 1020)));
    }

    #[test]
    fn frames_that_only_catch_up_do_not_fill_the_queue() {
        let queue = TrackQueue::new(100 * MS, 1 << 20);
        queue.push(Item::Segment {
            start: 2000 * MS,
            shift: 0,
        });
        for pts in (0..2000).step_by(20) {
            queue.push(frame(pts, pts % 1000 == 0));
        }
        assert_eq!(queue.dropped(), (0, 0));
    }

    #[test]
    fn flushing_wakes_the_waiting_thread() {
        let queue = TrackQueue::<()>::new(MS, 10);
        let waiter = std::thread::spawn({
            let queue = queue.clone();
            move || queue.pop()
        });
        queue.set_flushing(true);
        assert_eq!(waiter.join().expect("the waiter returns"), Popped::Flushing);
    }

    #[test]
    fn what_follows_an_end_that_was_told_asks_once_to_be_let_on() {
        let queue = TrackQueue::new(1000 * MS, 1 << 20);
        assert!(!queue.push(Item::Eos));
        assert_eq!(queue.pop(), Popped::Item(Item::Eos));
        assert!(!queue.push(Item::Config(())));
        assert!(queue.push(frame(0, true)));
        assert!(!queue.push(frame(10, false)));
        queue.resume();
        assert_eq!(queue.pop(), Popped::Item(Item::Config(())));
        assert_eq!(popped_pts(&queue), (0, false));
    }

    #[test]
    fn an_end_that_is_overtaken_by_a_new_beginning_is_not_told() {
        let queue = TrackQueue::new(1000 * MS, 1 << 20);
        queue.push(frame(0, true));
        queue.push(Item::Eos);
        assert!(!queue.push(frame(10, true)));
        assert_eq!(popped_pts(&queue), (0, false));
        assert_eq!(popped_pts(&queue), (10, false));
    }

    #[test]
    fn clearing_keeps_the_newest_configuration() {
        let queue = TrackQueue::new(MS, 100);
        queue.push(Item::Config(1));
        queue.push(Item::Config(2));
        queue.push(Item::Segment { start: 0, shift: 0 });
        queue.clear();
        assert_eq!(queue.pop(), Popped::Item(Item::Config(2)));
    }
}

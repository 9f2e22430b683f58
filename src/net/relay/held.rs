//! What each session makes the relay hold, and the bound on what all hold together.
//!
//! The cache's capacity is a target that `moq_net` returns to by evicting finished groups; the newest group of each live
//! track and what is still coming in are exempt, so it is no bound. This is one: above a mark, a session that holds more
//! than its share is not read from any more, so that QUIC's flow control holds its publisher, and if that does not help
//! soon the session that holds most is closed. Who holds less than its share notices nothing.
//!
//! What a session holds is estimated from the streams that it sends: the library tells only what all hold together. An
//! estimate decides who has to wait, never how much is held.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use moq_net::{cache, stats::Report};
use parking_lot::Mutex;

use super::{
    config::Cache,
    parked::Parked,
    stats::{Counter, Moved},
};

/// What an object takes in memory beside its payload: its place in the group, and up to three allocations. `moq_net` does not
/// count it, and objects of a few bytes would take a hundred times what it counts.
const PER_FRAME: u64 = 256;

/// About what `moq_net` counts for a group beside its payload.
const PER_GROUP: u64 = 512;

/// Weights are multiples of this.
const UNIT: u64 = 1024;

/// Sizes of ended streams that are remembered of one session.
const REMEMBERED: usize = 2048;

/// How many of them may contain the newest group of one track.
const PER_TRACK: usize = 16;
const AT_LEAST: usize = 64;

/// The mark on what all sessions together hold.
#[derive(Debug)]
pub(super) struct Gate {
    pool: cache::Pool,
    /// Bytes from which on sessions above their share wait.
    mark: u64,
    /// Bytes that are never to be held.
    ceiling: u64,
    reserve: u64,
    /// Bytes that any session may hold even then.
    share: AtomicU64,
    capacity: u64,
    /// What a byte that `moq_net` counts takes in memory, in 1/[`UNIT`], for what came in lately.
    weight: AtomicU64,
    /// A leaf.
    lately: Mutex<Received>,
    /// Streams that were ended because the peer did not take what was sent.
    pub stalled: Counter,
}

impl Gate {
    pub fn new(pool: cache::Pool, cache: &Cache) -> Arc<Self> {
        Arc::new(Self {
            pool,
            mark: cache.bytes.saturating_add(cache.reserve()),
            ceiling: cache.ceiling(),
            reserve: cache.reserve(),
            share: AtomicU64::new(cache.reserve()),
            capacity: cache.bytes,
            weight: AtomicU64::new(UNIT),
            lately: Mutex::default(),
            stalled: Counter::default(),
        })
    }

    /// Bytes that the relay holds for all sessions.
    pub fn used(&self) -> u64 {
        weigh(self.pool.used(), self.weight.load(Ordering::Relaxed))
    }

    /// Takes account of what all sessions received since the last time, of which `kept` is how many tenths of a percent
    /// of what came in before still count.
    pub fn weigh(&self, received: Received, kept: u64) {
        let weight = {
            let mut lately = self.lately.lock();
            lately.frames = lately.frames * kept / 1000 + received.frames;
            lately.counted = lately.counted * kept / 1000 + received.counted;
            lately.weight()
        };
        self.weight.store(weight, Ordering::Relaxed);
        // The cache evicts by what it counts.
        let capacity = u128::from(self.capacity) * u128::from(UNIT) / u128::from(weight);
        self.pool
            .resize(u64::try_from(capacity).unwrap_or(u64::MAX));
    }

    pub fn is_over(&self) -> bool {
        self.used() > self.mark
    }

    pub fn is_full(&self) -> bool {
        self.used() > self.ceiling
    }

    /// Whether it is worth knowing who holds what.
    pub fn is_near(&self) -> bool {
        self.used() > self.mark / 2
    }

    /// Splits the reserve among this many publishers.
    pub fn split(&self, publishers: u64) {
        self.share
            .store(self.reserve / publishers.max(1), Ordering::Relaxed);
    }

    pub fn share(&self) -> u64 {
        self.share.load(Ordering::Relaxed)
    }
}

/// What came in, as far as it matters to memory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub frames: u64,
    /// Bytes as `moq_net` counts them, about.
    pub counted: u64,
}

impl Received {
    fn of(moved: &Moved) -> Self {
        Self {
            frames: moved.frames_received,
            counted: moved.bytes_received + moved.groups_received * PER_GROUP,
        }
    }

    fn weight(&self) -> u64 {
        UNIT + self.frames.saturating_mul(PER_FRAME * UNIT) / self.counted.max(PER_GROUP)
    }
}

fn weigh(bytes: u64, weight: u64) -> u64 {
    let weighed = u128::from(bytes) * u128::from(weight) / u128::from(UNIT);
    u64::try_from(weighed).unwrap_or(u64::MAX)
}

/// The account of one session.
#[derive(Debug)]
pub(super) struct Held {
    gate: Arc<Gate>,
    /// Bytes read from streams that have not ended.
    open: AtomicU64,
    /// The newest groups of its tracks at most, as of the last [`Held::count`].
    newest: AtomicU64,
    /// Bytes of streams that ended since then.
    ended: AtomicU64,
    /// As of [`Gate`], for all that this session sent.
    weight: AtomicU64,
    /// A leaf, as are `parked`, `sizes` and `waiting`.
    received: Mutex<Received>,
    parked: Mutex<Parked>,
    sizes: Mutex<VecDeque<u64>>,
    waiting: Mutex<Vec<Waker>>,
}

impl Held {
    pub fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            gate,
            open: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            weight: AtomicU64::new(UNIT),
            received: Mutex::default(),
            parked: Mutex::default(),
            sizes: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    /// At most what the cache's eviction cannot take: what is coming in and the newest group of each track.
    pub fn bytes(&self) -> u64 {
        let bytes = [&self.open, &self.newest, &self.ended]
            .iter()
            .fold(0_u64, |sum, part| {
                sum.saturating_add(part.load(Ordering::Relaxed))
            });
        weigh(bytes, self.weight.load(Ordering::Relaxed))
    }

    /// What the session sent lately, as far as it is remembered, whether or not it was evicted since.
    pub fn sent_lately(&self) -> u64 {
        let ended: u64 = self.sizes.lock().iter().sum();
        ended.saturating_add(self.open.load(Ordering::Relaxed))
    }

    /// Takes note of the tracks that were left since the last time.
    pub fn note_parked(&self, now: Instant, report: &Report) {
        self.parked.lock().note(now, report);
    }

    /// How many tracks of the session have a newest group here: those that are read, and at most those that were.
    pub fn tracks(&self, now: Instant, moved: &Moved) -> u64 {
        moved.tracks + self.parked.lock().tracks(now)
    }

    /// Brings the estimate up to date, and returns what was received since the last time. `tracks` is [`Held::tracks`].
    pub fn count(&self, moved: &Moved, tracks: u64) -> Received {
        let now = Received::of(moved);
        self.weight.store(now.weight(), Ordering::Relaxed);
        self.count_newest(tracks);
        let before = std::mem::replace(&mut *self.received.lock(), now);
        Received {
            frames: now.frames.saturating_sub(before.frames),
            counted: now.counted.saturating_sub(before.counted),
        }
    }

    /// For a session of which the newest groups of so many tracks are kept.
    fn count_newest(&self, tracks: u64) {
        self.ended.store(0, Ordering::Relaxed);
        if !self.gate.is_near() {
            self.newest.store(0, Ordering::Relaxed);
            return;
        }
        let tracks = usize::try_from(tracks).unwrap_or(usize::MAX);
        let looked_at = tracks.saturating_mul(PER_TRACK).max(AT_LEAST);
        let mut sizes: Vec<u64> = {
            let sizes = self.sizes.lock();
            sizes.iter().rev().take(looked_at).copied().collect()
        };
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        self.newest
            .store(sizes.iter().take(tracks).sum(), Ordering::Relaxed);
    }

    /// Ready while this session may be read from; otherwise the task is woken by [`Held::wake`].
    pub fn poll_may_read(&self, cx: &Context<'_>) -> Poll<()> {
        if self.may_read() {
            return Poll::Ready(());
        }
        self.waiting.lock().push(cx.waker().clone());
        // Between the first look and the entry it may have been woken for the last time.
        if self.may_read() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn may_read(&self) -> bool {
        !self.gate.is_over() || self.bytes() <= self.gate.share()
    }

    /// Has those that wait look again.
    pub fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for waker in waiting {
            waker.wake();
        }
    }

    pub fn stream_stalled(&self) {
        self.gate.stalled.add_one();
    }

    pub fn received(&self, bytes: u64) {
        self.open.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A stream that brought so much ended; if it was cut, nothing of it is kept.
    pub fn stream_ended(&self, bytes: u64, cut: bool) {
        self.open.fetch_sub(bytes, Ordering::Relaxed);
        if cut || bytes == 0 {
            return;
        }
        self.ended.fetch_add(bytes, Ordering::Relaxed);
        let mut sizes = self.sizes.lock();
        if sizes.len() == REMEMBERED {
            sizes.pop_front();
        }
        sizes.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A gate that is near its mark, which is nothing: whatever is held is too much.
    fn gate() -> Arc<Gate> {
        let pool = cache::Pool::new(cache::Config::default());
        let cache = Cache {
            bytes: 0,
            age: Duration::from_secs(10),
        };
        let mut gate = Arc::into_inner(Gate::new(pool, &cache)).unwrap();
        gate.mark = 0;
        Arc::new(gate)
    }

    #[test]
    fn the_mark_leaves_room_for_the_largest_groups_above_the_cache() {
        let cache = |bytes| Cache {
            bytes,
            age: Duration::from_secs(10),
        };
        assert_eq!(cache(1024 * MIB).ceiling(), 2048 * MIB);
        assert_eq!(cache(MIB).ceiling(), 65 * MIB);
        assert_eq!(cache(u64::MAX).ceiling(), u64::MAX);
    }

    #[test]
    fn what_comes_in_counts_until_its_stream_is_cut() {
        let held = Held::new(gate());
        held.received(5);
        held.received(7);
        assert_eq!(held.bytes(), 12);
        held.stream_ended(5, false);
        assert_eq!(held.bytes(), 12, "ended, and perhaps the newest group");
        held.stream_ended(7, true);
        assert_eq!(held.bytes(), 5);
    }

    #[test]
    fn who_is_far_from_the_mark_owes_nothing_for_ended_streams() {
        let held = Held::new(gate());
        held.received(5);
        held.stream_ended(5, false);
        held.count_newest(1);
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn small_objects_count_with_what_they_take_beside_their_payload() {
        let gate = gate();
        let held = Held::new(gate.clone());
        held.received(1000);
        let moved = |frames_received, bytes_received| Moved {
            frames_received,
            bytes_received,
            groups_received: 1,
            ..Moved::default()
        };
        held.count(&moved(1, 1 << 20), 0);
        assert_eq!(held.bytes(), 1000, "one large object");
        let received = held.count(&moved(1001, (1 << 20) + 1000), 0);
        assert_eq!((received.frames, received.counted), (1000, 1000));

        gate.weigh(received, 1000);
        let weight = gate.weight.load(Ordering::Relaxed);
        assert_eq!(weight / UNIT, 257, "a byte and 256 for each");
        gate.weigh(Received::default(), 0);
        assert_eq!(gate.weight.load(Ordering::Relaxed), UNIT, "forgotten");
    }

    #[test]
    fn nobody_waits_below_the_mark() {
        let held = Held::new(gate());
        held.received(1 << 40);
        let cx = Context::from_waker(Waker::noop());
        assert!(held.poll_may_read(&cx).is_ready());
    }
}

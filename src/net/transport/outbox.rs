//! Groups that the path cannot carry in time are reset while they are written: [`policy::outbox`](crate::policy::outbox) decides.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use moq_net::track;
use parking_lot::Mutex;

use crate::policy::{
    MILLISECOND, Nanos,
    outbox::{Outbox as Streams, Traffic},
};

/// How often it is looked at what was sent: it takes the lock under which the connection sends.
const LOOK: Nanos = 20 * MILLISECOND;

/// A session lets go of a group as soon as it was given up, and who follows the group hears of it as soon as a thread is free.
const HEARD_OF: Duration = Duration::from_millis(500);

/// For how long what the tracks of a connection carry is of use, and when a group was given up for it. All sessions of the
/// connection go by it, for all tracks: which stream is which track's is not told.
#[derive(Clone, Default)]
pub struct Deadlines(Arc<Tracks>);

#[derive(Default)]
struct Tracks {
    /// A leaf.
    deadlines: Mutex<Vec<Weak<Track>>>,
    /// A leaf.
    given_up: Mutex<Option<Instant>>,
}

struct Track {
    max_age: AtomicI64,
    demand: track::Demand,
}

impl Deadlines {
    /// Adds a track, until the result is dropped.
    pub fn track(&self, demand: track::Demand) -> Deadline {
        let track = Arc::new(Track {
            max_age: AtomicI64::new(0),
            demand,
        });
        let mut all = self.0.deadlines.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&track));
        Deadline(track)
    }

    /// Whether a group was given up a moment ago.
    pub fn gave_up(&self) -> bool {
        let last = *self.0.given_up.lock();
        last.is_some_and(|last| last.elapsed() < HEARD_OF)
    }

    /// Of the most patient subscriber; `None` when no track has one.
    fn patience(&self) -> Option<Nanos> {
        let all = self.0.deadlines.lock();
        let tracks = all.iter().filter_map(Weak::upgrade);
        let used = tracks.filter(|track| track.demand.is_used());
        let most = used.map(|track| track.max_age.load(Ordering::Relaxed));
        most.max().filter(|most| *most > 0)
    }
}

/// One track of [`Deadlines`].
pub struct Deadline(Arc<Track>);

impl Deadline {
    /// Of the track's most patient subscriber; `None` while nobody subscribes.
    pub fn set(&self, max_age: Option<Nanos>) {
        self.0
            .max_age
            .store(max_age.unwrap_or(0), Ordering::Relaxed);
    }
}

/// The outgoing streams of one session.
pub(super) struct Outbox {
    deadlines: Deadlines,
    quic: quinn::Connection,
    epoch: Instant,
    /// Under it the connection is asked for its statistics.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    streams: Streams,
    opened: u64,
    looked: Option<Nanos>,
    patience: Option<Nanos>,
}

impl Outbox {
    pub fn new(quic: quinn::Connection, deadlines: Deadlines) -> Arc<Self> {
        Arc::new(Self {
            deadlines,
            quic,
            epoch: Instant::now(),
            state: Mutex::default(),
        })
    }

    /// A stream begins.
    pub fn open(self: &Arc<Self>) -> Stream {
        let mut state = self.state.lock();
        let id = state.opened;
        state.opened += 1;
        state.streams.open(id);
        drop(state);
        Stream {
            outbox: self.clone(),
            id,
        }
    }

    fn traffic(&self) -> Traffic {
        let stats = self.quic.stats();
        Traffic {
            bytes: stats.udp_tx.bytes,
            packets: stats.udp_tx.datagrams,
            lost: stats.path.lost_bytes,
            lost_packets: stats.path.lost_packets,
            heard: stats.udp_rx.datagrams,
            rtt: nanos(stats.path.rtt),
        }
    }
}

/// One stream of an [`Outbox`], until it is dropped: all of it was acknowledged, or it was reset.
pub(super) struct Stream {
    outbox: Arc<Outbox>,
    id: u64,
}

impl Stream {
    /// QUIC took so many bytes.
    pub fn write(&self, bytes: usize) {
        let outbox = &self.outbox;
        let now = nanos(outbox.epoch.elapsed());
        let mut state = outbox.state.lock();
        state.streams.write(self.id, now, bytes as u64);
        if state.looked.is_none_or(|at| now - at >= LOOK) {
            state.looked = Some(now);
            state.streams.look(now, outbox.traffic());
            state.patience = outbox.deadlines.patience();
        }
    }

    pub fn prioritize(&self, priority: u8) {
        let mut state = self.outbox.state.lock();
        state.streams.prioritize(self.id, priority.into());
    }

    pub fn finish(&self) {
        self.outbox.state.lock().streams.finish(self.id);
    }

    /// Whether it has to be given up; then that is remembered.
    pub fn is_hopeless(&self) -> bool {
        let state = self.outbox.state.lock();
        let hopeless = state
            .patience
            .is_some_and(|patience| state.streams.is_hopeless(self.id, patience));
        drop(state);
        if hopeless {
            *self.outbox.deadlines.0.given_up.lock() = Some(Instant::now());
        }
        hopeless
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.outbox.state.lock().streams.close(self.id);
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

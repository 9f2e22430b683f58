//! Subscribers that only look at the clock: each takes every object of both tracks and notes when.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moq_net::{group, track};
use tokio::task::JoinSet;

use super::{
    dial::{Peer, Role, dial},
    publisher::{BROADCAST, MAX_AGE, Mark, TRACKS},
};
use crate::rig::{Result, relays::Route};

/// An object that takes longer is late.
pub const LATE: Duration = Duration::from_millis(100);

/// How long one subscriber has to get its first object.
const JOINING: Duration = Duration::from_secs(20);

/// Sessions that are opened at the same time.
const AT_ONCE: usize = 8;

/// An object in a subscriber's hands.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub mark: Mark,
    /// ns since the run's origin.
    pub at: u64,
}

type Seen = Arc<Mutex<Vec<Arrival>>>;

/// One that subscribed.
pub struct Subscriber {
    _peer: Peer,
    seen: Seen,
    readers: JoinSet<()>,
}

impl Subscriber {
    /// Subscribes; `origin` is the zero of all times.
    async fn join(route: &Route, origin: Instant) -> Result<Self> {
        let peer = dial(route, Role::Subscriber).await?;
        let broadcast = peer.origin.consume().routed_broadcast(BROADCAST).await?;
        let seen = Seen::default();
        let mut readers = JoinSet::new();
        for (_, name, priority) in TRACKS {
            let subscription = track::Subscription::default()
                .with_priority(priority)
                .with_max_age(MAX_AGE);
            let track = broadcast.track(name)?.subscribe(subscription).await?;
            readers.spawn(read(track, origin, seen.clone()));
        }
        Ok(Self {
            _peer: peer,
            seen,
            readers,
        })
    }

    /// What came so far.
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A track that it reads no longer.
    pub fn lost(&mut self) -> Option<()> {
        self.readers.try_join_next().map(|_| ())
    }
}

/// Reads groups side by side, as they come.
async fn read(mut track: track::Subscriber, origin: Instant, seen: Seen) {
    let mut groups = JoinSet::new();
    loop {
        tokio::select! {
            group = track.recv_group() => match group {
                Ok(Some(group)) => {
                    groups.spawn(read_group(group, origin, seen.clone()));
                }
                Ok(None) | Err(_) => return,
            },
            Some(_) = groups.join_next(), if !groups.is_empty() => {}
        }
    }
}

async fn read_group(mut group: group::Consumer, origin: Instant, seen: Seen) {
    while let Ok(Some(frame)) = group.read_frame().await {
        let at = origin.elapsed().as_nanos() as u64;
        if let Some(mark) = Mark::read(&frame.payload) {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arrival { mark, at });
        }
    }
}

/// Opens the sessions of all subscribers, a few at a time.
pub async fn gather(route: Arc<Route>, count: usize, origin: Instant) -> Result<Vec<Subscriber>> {
    let mut joining = JoinSet::new();
    let mut audience = Vec::with_capacity(count);
    let mut left = count;
    while audience.len() < count {
        while left > 0 && joining.len() < AT_ONCE {
            left -= 1;
            let route = route.clone();
            joining.spawn(async move {
                match tokio::time::timeout(JOINING, Subscriber::join(&route, origin)).await {
                    Ok(joined) => joined,
                    Err(_) => Err("it took too long".into()),
                }
            });
        }
        let joined = joining.join_next().await.ok_or("nobody joins any more")??;
        audience.push(joined.map_err(|err| format!("a subscriber cannot join: {err}"))?);
    }
    Ok(audience)
}

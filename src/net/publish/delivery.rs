//! Follows what becomes of the groups of a track.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moq_net::{group, track};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{
    net::{
        session::Path,
        transport::{Deadline, Deadlines},
    },
    policy::{
        Nanos,
        backlog::{Amount, Backlog, Cause, End, Notice, Pending, Terms},
    },
    runtime,
};

/// What became of the groups of a track, and what still waits for the network. Outlives the writer.
#[derive(Clone)]
pub struct Delivery(Arc<Shared>);

struct Shared {
    /// A leaf.
    backlog: Mutex<Backlog>,
    /// Time 0 of the backlog.
    epoch: Instant,
}

impl Delivery {
    fn new() -> Self {
        Self(Arc::new(Shared {
            backlog: Mutex::default(),
            epoch: Instant::now(),
        }))
    }

    fn now(&self) -> Nanos {
        nanos(self.0.epoch.elapsed())
    }

    /// What was lost since the last call.
    pub fn take_losses(&self) -> [(Cause, Amount); 2] {
        self.0.backlog.lock().take_losses()
    }

    /// What waits for the network.
    pub fn pending(&self) -> Pending {
        self.0.backlog.lock().pending(self.now())
    }

    /// Whether all that was written is delivered or lost; `None` while no session has taken the newest group.
    pub(super) fn is_delivered(&self) -> Option<bool> {
        self.0.backlog.lock().is_delivered()
    }

    /// Whether somebody subscribed when the newest frame was written.
    pub fn is_wanted(&self) -> bool {
        self.0.backlog.lock().is_wanted()
    }

    /// Whether the network does not keep up with this track.
    pub fn is_congested(&self) -> bool {
        self.0.backlog.lock().is_congested()
    }

    /// What is worth telling of congestion. To be called with each frame.
    pub fn check(&self) -> Option<Notice> {
        self.0.backlog.lock().check(self.now())
    }
}

/// For how long a round trip is taken to be as it was: to ask for it takes the lock under which the connection sends.
const RTT_AGE: Duration = Duration::from_millis(100);

/// The writer's end of a [`Delivery`]. Following ends with it.
pub(super) struct Following {
    delivery: Delivery,
    path: Path,
    /// Of a track whose groups are given up while they are written.
    deadline: Option<Deadline>,
    rtt: Option<Duration>,
    /// When it was asked for.
    rtt_at: Option<Instant>,
    groups: JoinSet<()>,
}

impl Following {
    /// `timely`: see [`super::TrackOptions`].
    pub fn new(path: Path, timely: bool, demand: track::Demand) -> Self {
        let deadlines = path.deadlines().filter(|_| timely);
        Self {
            delivery: Delivery::new(),
            path,
            deadline: deadlines.map(|all| all.track(demand)),
            rtt: None,
            rtt_at: None,
            groups: JoinSet::new(),
        }
    }

    pub fn delivery(&self) -> Delivery {
        self.delivery.clone()
    }

    /// A group begins.
    pub fn open(&mut self, track: &track::Producer, group: &group::Producer) {
        while self.groups.try_join_next().is_some() {}
        let terms = self.terms(track);
        let mut backlog = self.delivery.0.backlog.lock();
        backlog.set_terms(terms);
        backlog.open(group.sequence);
        drop(backlog);
        let follow = follow(self.delivery.clone(), group.clone(), self.path.deadlines());
        self.groups.spawn_on(follow, runtime::handle());
    }

    /// A frame was written to the group that is open; `timestamp` in µs.
    pub fn write(&mut self, track: &track::Producer, timestamp: u64, bytes: u64) {
        let terms = self.terms(track);
        let media = Nanos::try_from(timestamp)
            .unwrap_or(Nanos::MAX)
            .saturating_mul(1000);
        let mut backlog = self.delivery.0.backlog.lock();
        backlog.set_terms(terms);
        backlog.write(media, bytes);
    }

    fn terms(&mut self, track: &track::Producer) -> Terms {
        if self.rtt.is_none() || self.rtt_at.is_none_or(|at| at.elapsed() >= RTT_AGE) {
            self.rtt = self.path.rtt();
            self.rtt_at = Some(Instant::now());
        }
        let max_age = track.subscription().map(|wanted| nanos(wanted.max_age));
        if let Some(deadline) = &self.deadline {
            deadline.set(max_age);
        }
        Terms {
            max_age,
            rtt: self.rtt.map(nanos),
        }
    }

    /// Whether the session gave up the group that is open.
    pub fn gave_up(&self) -> bool {
        self.delivery.0.backlog.lock().gave_up()
    }

    /// The group that is open is whole.
    pub fn finish(&self) {
        let now = self.delivery.now();
        self.delivery.0.backlog.lock().finish(now);
    }
}

/// Follows one group to its end.
///
/// A session holds a reader of the group from its first frame until the peer has acknowledged all of it, or the group is
/// given up.
async fn follow(delivery: Delivery, group: group::Producer, deadlines: Option<Deadlines>) {
    let sequence = group.sequence;
    loop {
        // Both fail when the group leaves the cache.
        let left = match group.used().await {
            Ok(()) => {
                let now = delivery.now();
                delivery.0.backlog.lock().take(sequence, now);
                group.unused().await
            }
            Err(err) => Err(err),
        };
        let end = match left {
            Ok(()) if deadlines.as_ref().is_some_and(Deadlines::gave_up) => End::GivenUp,
            Ok(()) => End::Released,
            Err(moq_net::Error::Evicted) => End::Evicted,
            Err(_) => End::Expired,
        };
        let now = delivery.now();
        if delivery.0.backlog.lock().end(sequence, end, now) {
            return;
        }
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

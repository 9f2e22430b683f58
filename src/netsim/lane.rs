//! One direction of a proxy: a path in real time.
//!
//! Readers offer packets, one sender task takes what is due. The lock is held for decisions only, never for I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::alarm;
use super::change::PathChange;
use super::client::{Client, Outlet};
use super::packet::Packet;
use super::path::Path;
use super::settings::PathSettings;
use super::stats::{DirectionStats, Traffic};
use super::stream::StreamFate;

/// A datagram of a client, in either direction.
pub(super) type ClientPacket = Packet<Arc<Client>>;

/// Packets sent in one go, so that what comes behind them is not late for long.
const BATCH: usize = 256;
/// A sender that has just sent lets packets gather for this long: at high rates they go out in bulk.
const GATHER: Duration = Duration::from_micros(200);
/// What waits for longer is looked at again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Lane {
    epoch: Instant,
    path: Mutex<Path<Arc<Client>>>,
    /// Told when something is due earlier than before.
    earlier: Arc<Notify>,
}

impl Lane {
    pub(super) fn new(path: Path<Arc<Client>>, epoch: Instant) -> Self {
        Self {
            epoch,
            path: Mutex::new(path),
            earlier: Arc::new(Notify::new()),
        }
    }

    /// Time of the path.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A time of the path in real time.
    pub(super) fn at(&self, time: Duration) -> Instant {
        let now = Instant::now();
        now + time.saturating_sub(now - self.epoch).min(LONGEST_WAIT)
    }

    /// Sends packets into the path, in their order; `packets` is empty afterwards.
    pub(super) fn offer(&self, packets: &mut Vec<ClientPacket>) {
        self.with(|path, now| {
            for packet in packets.drain(..) {
                // What is lost is counted by the path.
                let _ = path.send(now, packet);
            }
        });
    }

    pub(super) fn set(&self, settings: PathSettings) {
        self.with(|path, now| path.set(now, settings));
    }

    pub(super) fn update(&self, change: &PathChange) {
        self.with(|path, now| {
            let mut settings = path.settings(now).clone();
            change.apply(&mut settings);
            path.set(now, settings);
        });
    }

    pub(super) fn cut(&self, length: Duration) {
        self.with(|path, now| path.cut(now, length));
    }

    pub(super) fn settings(&self) -> PathSettings {
        self.with(|path, now| path.settings(now).clone())
    }

    pub(super) fn stats(&self) -> DirectionStats {
        self.with(|path, now| path.stats(now))
    }

    pub(super) fn send_stream(&self, len: usize) -> StreamFate {
        self.with(|path, now| path.send_stream(now, len))
    }

    /// Gives the path and its time, and wakes the sender where something is due earlier afterwards.
    fn with<T>(&self, act: impl FnOnce(&mut Path<Arc<Client>>, Duration) -> T) -> T {
        let mut path = self.path.lock();
        let before = path.next_at();
        // Read under the lock: the path's time must not fall.
        let result = act(&mut path, self.epoch.elapsed());
        let after = path.next_at();
        drop(path);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
        result
    }

    /// Sends what is due, for ever. The one sender of the lane: two of them would change the order.
    pub(super) async fn run_sender(&self, outlet: Outlet) {
        let mut due = Vec::with_capacity(BATCH);
        let mut scratch = Vec::new();
        let mut gathered = self.epoch;
        let mut armed = None;
        loop {
            let next = self.take_due(&mut due);
            if due.is_empty() {
                match next {
                    None => self.earlier.notified().await,
                    Some(at) => self.wait(at.max(gathered), &mut armed).await,
                }
                continue;
            }
            self.send(&outlet, &mut due, &mut scratch).await;
            gathered = Instant::now() + GATHER;
        }
    }

    /// Waits until `at`, or until something is due earlier. `armed` is the last alarm that was set.
    async fn wait(&self, at: Instant, armed: &mut Option<Instant>) {
        let is_set = armed.is_some_and(|armed| armed > Instant::now() && armed <= at);
        if !is_set && !alarm::ring(at, self.earlier.clone()) {
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = self.earlier.notified() => {}
            }
            return;
        }
        if !is_set {
            *armed = Some(at);
        }
        self.earlier.notified().await;
    }

    async fn send(&self, outlet: &Outlet, due: &mut Vec<ClientPacket>, scratch: &mut Vec<u8>) {
        // Clients have no order among themselves, and what is next to each other goes out at once.
        due.sort_by_key(|packet| Arc::as_ptr(&packet.to).addr());
        let mut forwarded = Traffic::default();
        for packet in due.iter() {
            forwarded.add(packet.payload.len());
        }
        let mut refused = 0;
        for packets in due.chunk_by(|a, b| Arc::ptr_eq(&a.to, &b.to)) {
            let failed = outlet.send(packets, scratch).await;
            refused += failed.packets;
            forwarded.packets -= failed.packets;
            forwarded.bytes -= failed.bytes;
        }
        due.clear();
        let mut path = self.path.lock();
        let stats = path.stats_mut();
        stats.forwarded.packets += forwarded.packets;
        stats.forwarded.bytes += forwarded.bytes;
        stats.lost.socket += refused;
    }

    /// Moves packets that are due to `due`, at most a batch. If there are none, returns when to look again; `None` if
    /// nothing is under way.
    fn take_due(&self, due: &mut Vec<ClientPacket>) -> Option<Instant> {
        let mut path = self.path.lock();
        path.next_at()?;
        let now = self.epoch.elapsed();
        while due.len() < BATCH
            && let Some((_, packet)) = path.pop(now)
        {
            due.push(packet);
        }
        let next = path.next_at()?;
        drop(path);
        Some(self.at(next))
    }
}

//! One direction of a proxy: the path that decides and the delay line that keeps what it let through.
//!
//! Readers offer packets, one sender task takes what is due. The lock is held for decisions only, never for I/O.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::line::{DelayLine, LineLimits};
use super::path::{Path, PathSettings, Verdict};
use super::stats::{DirectionStats, Traffic};

/// Packets handled in one go, so that no socket starves the others.
pub(super) const BATCH: usize = 64;

/// A datagram and whom it is for.
#[derive(Debug)]
pub(super) struct Packet<T> {
    pub(super) payload: Box<[u8]>,
    pub(super) to: T,
}

/// Where packets go that have come through.
pub(super) trait Outlet<T> {
    fn send(&self, packet: &Packet<T>) -> impl Future<Output = io::Result<()>> + Send;
}

#[derive(Debug)]
pub(super) struct Lane<T> {
    epoch: Instant,
    state: Mutex<State<T>>,
    /// Told when the head of the line changed to something earlier.
    earlier: Notify,
}

#[derive(Debug)]
struct State<T> {
    path: Path,
    line: DelayLine<Packet<T>>,
    /// All but `queued`, which the line knows.
    stats: DirectionStats,
}

impl<T> Lane<T> {
    pub(super) fn new(path: Path, epoch: Instant, limits: LineLimits) -> Self {
        Self {
            epoch,
            state: Mutex::new(State {
                path,
                line: DelayLine::new(limits),
                stats: DirectionStats::default(),
            }),
            earlier: Notify::new(),
        }
    }

    /// Sends packets into the path, in their order; `packets` is empty afterwards.
    pub(super) fn offer(&self, packets: &mut Vec<Packet<T>>) {
        let mut state = self.state.lock();
        let State { path, line, stats } = &mut *state;
        let before = line.next_at();
        // Read under the lock: the path's time must not fall.
        let now = self.epoch.elapsed();
        for packet in packets.drain(..) {
            let len = packet.payload.len();
            stats.offered.add(len);
            match path.send(now, len) {
                Verdict::Lost(reason) => stats.lost.add(reason),
                Verdict::Deliver { at } => {
                    if line.push(at, len, packet).is_err() {
                        stats.lost.overflow += 1;
                    }
                }
            }
        }
        let after = line.next_at();
        drop(state);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
    }

    pub(super) fn set(&self, settings: PathSettings) {
        self.state.lock().path.set(settings);
    }

    pub(super) fn cut(&self, length: Duration) {
        let mut state = self.state.lock();
        state.path.cut(self.epoch.elapsed(), length);
    }

    pub(super) fn stats(&self) -> DirectionStats {
        let state = self.state.lock();
        DirectionStats {
            queued: Traffic {
                packets: state.line.len() as u64,
                bytes: state.line.bytes() as u64,
            },
            ..state.stats
        }
    }

    /// Sends what is due, for ever. The one sender of the lane: two of them would change the order.
    ///
    /// Tokio's timer has a grain of 1 ms and never fires early, so a packet leaves on time or up to about 1 ms late.
    pub(super) async fn run_sender(&self, outlet: impl Outlet<T>) {
        let mut due = Vec::with_capacity(BATCH);
        loop {
            match self.take_due(&mut due) {
                None => self.earlier.notified().await,
                Some(at) if due.is_empty() => {
                    tokio::select! {
                        () = sleep_until(at) => (),
                        () = self.earlier.notified() => (),
                    }
                }
                Some(_) => {}
            }
            if due.is_empty() {
                continue;
            }
            let (mut forwarded, mut failed) = (Traffic::default(), 0);
            for packet in due.drain(..) {
                match outlet.send(&packet).await {
                    Ok(()) => forwarded.add(packet.payload.len()),
                    Err(error) => {
                        failed += 1;
                        tracing::debug!(%error, "a datagram could not be sent");
                    }
                }
            }
            let stats = &mut self.state.lock().stats;
            stats.forwarded.packets += forwarded.packets;
            stats.forwarded.bytes += forwarded.bytes;
            stats.lost.socket += failed;
        }
    }

    /// Moves packets that are due to `due`, at most a batch. Returns the time of the first of them or of the next one
    /// to come, `None` if the line is empty.
    fn take_due(&self, due: &mut Vec<Packet<T>>) -> Option<Instant> {
        let mut state = self.state.lock();
        let next = state.line.next_at()?;
        let now = self.epoch.elapsed();
        while due.len() < BATCH
            && let Some(packet) = state.line.pop_due(now)
        {
            due.push(packet);
        }
        // A delay without end is one of a day: the sender looks again then.
        let next = next.min(now.saturating_add(Duration::from_secs(86_400)));
        Some(self.epoch + next)
    }
}

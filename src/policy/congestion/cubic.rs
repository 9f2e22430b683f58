//! The window of CUBIC (RFC 9438), for the time in which others fill the queue.
//!
//! With constants of its own: it gives way a little less and comes back faster than RFC 9438 has it, which makes up for
//! the round trips that are spent on finding out whether the others are still there, and for starting from a short
//! queue. docs/congestion-control.md has the shares that result.

use crate::policy::{Nanos, SECOND};

/// What is left of the window after a loss; 0.7 in RFC 9438 section 4.6.
const BETA: f64 = 0.8;
/// Packets a second cubed; 0.4 in RFC 9438 section 5.
const C: f64 = 2.0;

#[derive(Debug, Clone)]
pub(super) struct Cubic {
    /// Bytes.
    window: f64,
    /// The window before the last reduction, bytes.
    max: f64,
    /// The window right after it, bytes.
    start: f64,
    since: Nanos,
}

impl Cubic {
    /// Grows from `window` on, as if it had been reached without loss.
    pub(super) fn new(now: Nanos, window: u64) -> Self {
        let window = window as f64;
        Self {
            window,
            max: window,
            start: window,
            since: now,
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    /// `bytes` were delivered while the window was in full use.
    pub(super) fn on_acked(&mut self, now: Nanos, bytes: u64, rtt: Nanos, mtu: u64) {
        let mtu = mtu.max(1) as f64;
        let seconds = |nanos: Nanos| nanos.max(0) as f64 / SECOND as f64;
        let rtt = seconds(rtt).max(0.0005);
        let elapsed = seconds(now.saturating_sub(self.since));
        let k = ((self.max - self.start).max(0.0) / mtu / C).cbrt();
        let target = (C * (elapsed + rtt - k).powi(3)) * mtu + self.max;
        // Section 4.3: at least what Reno would have.
        let reno = self.start + 3.0 * (1.0 - BETA) / (1.0 + BETA) * (elapsed / rtt) * mtu;
        // Section 4.2: never more than half as much again in a round trip.
        let goal = target.max(reno).clamp(self.window, self.window * 1.5);
        let share = (bytes as f64 / self.window.max(1.0)).min(1.0);
        self.window += (goal - self.window) * share;
    }

    /// A loss that the queue explains, at most once in a round trip.
    pub(super) fn on_loss(&mut self, now: Nanos, floor: u64) {
        // Section 4.7: gives way faster when the last peak was not reached.
        self.max = if self.window < self.max {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(floor as f64);
        self.start = self.window;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::MILLISECOND;

    const MTU: u64 = 1200;
    const RTT: Nanos = 100 * MILLISECOND;

    #[test]
    fn the_window_comes_back_to_its_last_peak_after_k_seconds() {
        let mut cubic = Cubic::new(0, 100 * MTU);
        cubic.on_loss(0, 2 * MTU);
        assert_eq!(cubic.window(), 80 * MTU);
        // K = cbrt(20 / 2) = 2.15 s
        let mut now = 0;
        while now < 215 * SECOND / 100 {
            now += RTT;
            cubic.on_acked(now, cubic.window(), RTT, MTU);
        }
        let packets = cubic.window() / MTU;
        assert!((97..=102).contains(&packets), "{packets}");
    }

    #[test]
    fn growth_in_a_round_trip_is_bounded() {
        let mut cubic = Cubic::new(0, 10 * MTU);
        cubic.on_acked(1000 * SECOND, u64::MAX, RTT, MTU);
        assert_eq!(cubic.window(), 15 * MTU);
    }
}

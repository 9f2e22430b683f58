//! Notices that a peer has fallen silent long before the idle timeout does: its process was killed, or the path changed.
//!
//! What was sent and asks for an acknowledgement (RFC 9000 section 13.2) gets one within a round trip and 25 ms. A publisher
//! that is being listened to sends all the time, so that nothing else needs to be sent to find out.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::live::Live;

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What a peer may need besides three round trips: its delay of acknowledgements, and a busy machine.
const GRACE: Duration = Duration::from_millis(250);

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Something should have been heard by now.
    Nothing,
    /// After a silence.
    Again,
}

/// Counters of a connection, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counters {
    received: u64,
    /// Frames that ask for an acknowledgement.
    asked: u64,
}

/// Says who is silent from counters alone.
#[derive(Debug, Default)]
struct Silence {
    last: Counters,
    /// When it was seen first that something was sent after the last packet came.
    unanswered: Option<Instant>,
    silent: bool,
}

impl Silence {
    fn look(&mut self, counters: Counters, rtt: Duration, now: Instant) -> Option<Heard> {
        if counters.received != self.last.received {
            self.last = counters;
            self.unanswered = None;
            return std::mem::take(&mut self.silent).then_some(Heard::Again);
        }
        if counters.asked == self.last.asked {
            return None;
        }
        let since = *self.unanswered.get_or_insert(now);
        let silent = now - since >= 3 * rtt + GRACE;
        (silent && !std::mem::replace(&mut self.silent, silent)).then_some(Heard::Nothing)
    }
}

/// Watches one session.
pub struct Watchdog {
    quic: quinn::Connection,
    silence: Silence,
    interval: tokio::time::Interval,
}

impl Watchdog {
    pub fn new(live: &Live) -> Self {
        let mut interval = interval(LOOK);
        // After a stall of this process there is more to hear first.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            quic: live.transport.quic().clone(),
            silence: Silence::default(),
            interval,
        }
    }

    /// Waits for the next change. Cancel safe.
    pub async fn changed(&mut self) -> Heard {
        loop {
            self.interval.tick().await;
            let stats = self.quic.stats();
            let counters = Counters {
                received: stats.udp_rx.datagrams,
                asked: stats.frame_tx.stream + stats.frame_tx.ping,
            };
            let heard = self.silence.look(counters, stats.path.rtt, Instant::now());
            if let Some(heard) = heard {
                return heard;
            }
        }
    }

    pub fn is_silent(&self) -> bool {
        self.silence.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    #[test]
    fn silence_is_noticed_once_and_only_when_an_answer_is_due() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let counters = |received, asked| Counters { received, asked };
        let mut silence = Silence::default();
        assert_eq!(silence.look(counters(1, 1), RTT, at(0)), None);
        // Nothing was asked.
        assert_eq!(silence.look(counters(1, 1), RTT, at(5000)), None);
        assert_eq!(silence.look(counters(1, 2), RTT, at(6000)), None);
        assert_eq!(silence.look(counters(1, 3), RTT, at(6309)), None);
        assert_eq!(
            silence.look(counters(1, 3), RTT, at(6310)),
            Some(Heard::Nothing)
        );
        assert_eq!(silence.look(counters(1, 4), RTT, at(6400)), None);
        assert_eq!(
            silence.look(counters(2, 4), RTT, at(6500)),
            Some(Heard::Again)
        );
        assert_eq!(silence.look(counters(2, 4), RTT, at(9000)), None);
    }
}

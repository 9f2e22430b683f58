//! Notices that a peer has fallen silent long before the idle timeout does: its process was killed, or the path changed.
//!
//! What was sent and asks for an acknowledgement (RFC 9000 section 13.2) gets one within a round trip and 25 ms. A publisher
//! that is being listened to sends all the time, so that nothing else needs to be sent to find out.
//!
//! A subscriber sends next to nothing that is answered. Media that stops coming may be the end of a scene, or a NAT that
//! gave this client another port: then the peer goes on sending to the old one until it gets a packet from the new one
//! (RFC 9000 section 9.3). So a subscriber asks, once, halfway to what counts as silence: an idle publisher costs it one
//! packet, and a NAT less than silence would.
//!
//! That something is heard again does not mean that media flows again. For a subscriber it does. What a publisher has sent in
//! vain waits for its next probe timeout, which has doubled all the while (RFC 9002 section 6.2.1); and a packet of the peer
//! that acknowledges at last what arrived before the outage is a sample of the round trip of the length of the outage, which
//! makes that wait even longer. It flows again when packets are found lost, which is when they are sent again, or when
//! acknowledgements keep coming.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Role, live::Live};
use crate::net::transport::endpoint;

/// How often the counters are looked at: the watchdog is late by twice this at most.
const LOOK: Duration = Duration::from_millis(25);
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

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// The peer should be asked for a sign of life.
    Ask,
    Tell(Heard),
}

/// Counters of a connection, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counters {
    received: u64,
    /// Frames that ask for an acknowledgement.
    asked: u64,
    /// Frames of streams that came.
    media: u64,
    /// Smoothed: it changes with every acknowledgement of something that was not acknowledged before (RFC 9002 section 5.1),
    /// of which there is no counter.
    rtt: Duration,
    /// Packets found lost.
    lost: u64,
}

/// Says who is silent from counters alone.
#[derive(Debug)]
struct Silence {
    role: Role,
    last: Counters,
    /// When it was seen that the last packet had come.
    heard: Option<Instant>,
    /// Media came since this was last asked: more is due.
    due: bool,
    /// It was asked for a sign of life and has not answered.
    asking: bool,
    /// When it was seen first that something was sent after the last packet came.
    unanswered: Option<Instant>,
    silent: bool,
    /// How often something was acknowledged since it is silent.
    acknowledged: u32,
}

impl Silence {
    fn new(role: Role) -> Self {
        Self {
            role,
            last: Counters::default(),
            heard: None,
            due: false,
            asking: false,
            unanswered: None,
            silent: false,
            acknowledged: 0,
        }
    }

    fn look(&mut self, counters: Counters, now: Instant) -> Option<Word> {
        if counters.received != self.last.received {
            let flows = self.flows(counters);
            self.due |= counters.media != self.last.media;
            self.last = counters;
            self.heard = Some(now);
            self.asking = false;
            self.unanswered = None;
            return flows.then(|| {
                self.silent = false;
                Word::Tell(Heard::Again)
            });
        }
        let limit = 3 * counters.rtt + GRACE;
        if self.asks(now, limit / 2) {
            self.due = false;
            self.asking = true;
            self.unanswered = Some(now);
            return Some(Word::Ask);
        }
        if counters.asked == self.last.asked && !self.asking {
            return None;
        }
        let since = *self.unanswered.get_or_insert(now);
        // Half of the time was over when it was asked.
        let limit = if self.asking { limit / 2 } else { limit };
        let silent = now - since >= limit;
        if !silent || std::mem::replace(&mut self.silent, true) {
            return None;
        }
        self.acknowledged = 0;
        Some(Word::Tell(Heard::Nothing))
    }

    /// Whether media that is due has not come for this long.
    fn asks(&self, now: Instant, limit: Duration) -> bool {
        self.role == Role::Subscriber
            && self.due
            && self.heard.is_some_and(|heard| now - heard >= limit)
    }

    /// Whether what was received ends a silence.
    fn flows(&mut self, counters: Counters) -> bool {
        self.acknowledged += u32::from(counters.rtt != self.last.rtt);
        self.silent
            && match self.role {
                Role::Publisher => counters.lost != self.last.lost || self.acknowledged > 1,
                Role::Subscriber => true,
            }
    }
}

/// Watches one session.
pub struct Watchdog {
    quic: quinn::Connection,
    silence: Silence,
    /// How often it was asked for a sign of life.
    asks: u32,
    interval: tokio::time::Interval,
}

impl Watchdog {
    pub fn new(live: &Live, role: Role) -> Self {
        let mut interval = interval(LOOK);
        // After a stall of this process there is more to hear first.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            quic: live.transport.quic().clone(),
            silence: Silence::new(role),
            asks: 0,
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
                asked: stats.frame_tx.stream + stats.frame_tx.ping + stats.frame_tx.max_data,
                media: stats.frame_rx.stream,
                rtt: stats.path.rtt,
                lost: stats.path.lost_packets,
            };
            match self.silence.look(counters, Instant::now()) {
                Some(Word::Ask) => {
                    self.asks = self.asks.saturating_add(1);
                    endpoint::ask(&self.quic, self.asks);
                }
                Some(Word::Tell(heard)) => return heard,
                None => {}
            }
        }
    }

    pub fn is_silent(&self) -> bool {
        self.silence.silent
    }

    /// Since something was sent that is not answered.
    pub fn silent_for(&self) -> Duration {
        self.silence
            .unanswered
            .map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(received: u64, asked: u64, rtt_ms: u64) -> Counters {
        Counters {
            received,
            asked,
            media: 0,
            rtt: Duration::from_millis(rtt_ms),
            lost: 0,
        }
    }

    #[test]
    fn silence_is_noticed_once_and_only_when_an_answer_is_due() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for role in [Role::Publisher, Role::Subscriber] {
            let mut silence = Silence::new(role);
            assert_eq!(silence.look(counters(1, 1, 20), at(0)), None);
            // Nothing was asked.
            assert_eq!(silence.look(counters(1, 1, 20), at(5000)), None);
            assert_eq!(silence.look(counters(1, 2, 20), at(6000)), None);
            assert_eq!(silence.look(counters(1, 3, 20), at(6309)), None);
            let heard = silence.look(counters(1, 3, 20), at(6310));
            assert_eq!(heard, Some(Word::Tell(Heard::Nothing)));
            assert_eq!(silence.look(counters(1, 4, 20), at(6400)), None);
            let again = Counters {
                lost: 1,
                ..counters(2, 4, 21)
            };
            assert_eq!(
                silence.look(again, at(6500)),
                Some(Word::Tell(Heard::Again))
            );
            assert_eq!(silence.look(again, at(9000)), None);
        }
    }

    #[test]
    fn a_subscriber_asks_once_when_media_stops_and_the_whole_takes_no_longer_than_a_silence() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let media = |received, media| Counters {
            media,
            ..counters(received, 1, 20)
        };
        let mut silence = Silence::new(Role::Subscriber);
        assert_eq!(silence.look(media(1, 1), at(0)), None);
        assert_eq!(silence.look(media(1, 1), at(154)), None);
        assert_eq!(silence.look(media(1, 1), at(155)), Some(Word::Ask));
        // It answers: no media, so that no more is due, and nothing is asked again.
        assert_eq!(silence.look(media(2, 1), at(200)), None);
        assert_eq!(silence.look(media(2, 1), at(5000)), None);
        // It does not answer, not even after a stall of this process.
        assert_eq!(silence.look(media(3, 2), at(6000)), None);
        assert_eq!(silence.look(media(3, 2), at(7000)), Some(Word::Ask));
        assert_eq!(silence.look(media(3, 2), at(7154)), None);
        let heard = silence.look(media(3, 2), at(7155));
        assert_eq!(heard, Some(Word::Tell(Heard::Nothing)));
        let heard = silence.look(media(4, 3), at(7300));
        assert_eq!(heard, Some(Word::Tell(Heard::Again)));

        let mut publisher = Silence::new(Role::Publisher);
        assert_eq!(publisher.look(media(1, 1), at(0)), None);
        assert_eq!(publisher.look(media(1, 1), at(5000)), None);
    }

    #[test]
    fn a_publisher_is_heard_again_when_acknowledgements_keep_coming_and_a_subscriber_at_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let silent = |role| {
            let mut silence = Silence::new(role);
            silence.look(counters(1, 1, 20), at(0));
            silence.look(counters(1, 2, 20), at(100));
            let heard = silence.look(counters(1, 2, 20), at(500));
            assert_eq!(heard, Some(Word::Tell(Heard::Nothing)));
            silence
        };
        let mut subscriber = silent(Role::Subscriber);
        let heard = subscriber.look(counters(2, 2, 20), at(3000));
        assert_eq!(heard, Some(Word::Tell(Heard::Again)));
        let mut publisher = silent(Role::Publisher);
        // A keep-alive of the peer, then its word about what came before the outage.
        assert_eq!(publisher.look(counters(2, 2, 20), at(3000)), None);
        assert_eq!(publisher.look(counters(3, 2, 400), at(3100)), None);
        assert!(publisher.silent);
        let heard = publisher.look(counters(4, 3, 300), at(3200));
        assert_eq!(heard, Some(Word::Tell(Heard::Again)));
        assert!(!publisher.silent);
    }
}

//! What a session has handed to QUIC and QUIC has not sent yet, and which group therefore cannot arrive in time.
//!
//! QUIC takes what is written at once, up to megabytes, and says of a stream only when all of it was acknowledged. What it says
//! of the whole connection is how many bytes it has sent, and it sends streams strictly by priority. So what was sent since
//! the last look is counted to the streams in that order: what is left of each is what waits, and when the oldest of that
//! was written says how far behind a stream is.
//!
//! A group that is still being written is hopeless when it is too far behind and does not catch up, although the peer hears
//! us. In an outage nobody knows what the path will take, and what piles up may get through in one go when it is over: until
//! the peer has been heard again for a while nothing is given up.

use std::collections::VecDeque;

use super::{MILLISECOND, Nanos, SECOND};

/// Bytes of a packet that are no stream's, at the least: header and tag (RFC 9000 section 17.3, RFC 9001 section 5.3), without a
/// connection id and what acknowledgements take. What is counted as sent too much belongs to nobody; what is counted too little
/// would pile up, and a long group look further behind the longer it is.
const OVERHEAD: u64 = 20;
/// For so long, or two round trips, a group must have failed to catch up.
const TREND: Nanos = 250 * MILLISECOND;
/// The peer acknowledges within 25 ms and a round trip (RFC 9000 section 18.2) what it gets.
const SILENCE: Nanos = 100 * MILLISECOND;
/// Who needs longer to catch up is not waited for.
const CATCHES_UP: Nanos = 2 * SECOND;
/// Nobody is as impatient as this: a key frame may take it.
const LEAST_LIMIT: Nanos = 100 * MILLISECOND;
/// What was written within this time waits as one.
const GRAIN: Nanos = 5 * MILLISECOND;

/// What a connection has sent and heard since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// All bytes of all packets sent.
    pub bytes: u64,
    pub packets: u64,
    /// Bytes of packets that were lost: what they carried is sent again.
    pub lost: u64,
    pub lost_packets: u64,
    /// Packets that came from the peer.
    pub heard: u64,
    pub rtt: Nanos,
}

impl Traffic {
    /// Bytes of streams that were sent, each once, as well as can be told.
    fn payload(&self) -> i64 {
        let once = self.bytes.saturating_sub(self.lost);
        let packets = self.packets.saturating_sub(self.lost_packets);
        let payload = once.saturating_sub(packets.saturating_mul(OVERHEAD));
        i64::try_from(payload).unwrap_or(i64::MAX)
    }
}

/// Bytes that were written at a time.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    at: Nanos,
    bytes: u64,
}

/// One look at a stream.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Nanos,
    waiting: u64,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    priority: i32,
    waiting: VecDeque<Chunk>,
    /// What was written first, the key frame, has gone. Until then nothing is decided: the next one would take as long, and no
    /// picture would ever come.
    begun: bool,
    /// Written to its end: how long it may take then is not decided here.
    finished: bool,
    /// Newest last, over [`TREND`] and a little; none while the peer is silent.
    looks: VecDeque<Look>,
}

impl Stream {
    /// Takes what was sent from what waits; what is left is other streams'.
    fn send(&mut self, mut bytes: u64) -> u64 {
        while let Some(chunk) = self.waiting.front_mut() {
            if chunk.bytes > bytes {
                chunk.bytes -= bytes;
                return 0;
            }
            bytes -= chunk.bytes;
            self.waiting.pop_front();
            self.begun = true;
        }
        bytes
    }

    /// How long ago the oldest of what waits was written.
    fn behind(&self, now: Nanos) -> Nanos {
        let oldest = self.waiting.front();
        oldest.map_or(0, |chunk| now.saturating_sub(chunk.at))
    }

    fn look(&mut self, now: Nanos, trend: Nanos) {
        let waiting = self.waiting.iter().map(|chunk| chunk.bytes).sum();
        self.looks.push_back(Look { at: now, waiting });
        // One that is as old as the trend is kept, to compare with.
        while self.looks.len() > 1 && now.saturating_sub(self.looks[1].at) >= trend {
            self.looks.pop_front();
        }
    }

    fn is_hopeless(&self, limit: Nanos, trend: Nanos) -> bool {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else {
            return false;
        };
        let span = last.at.saturating_sub(first.at);
        let late = self.begun && !self.finished && self.behind(last.at) > limit;
        late && span >= trend && !catches_up(first.waiting, last.waiting, span)
    }
}

/// Whether what waits, or how late it is, will have gone in time when it goes on as it went for `span`. A key frame is not behind
/// more and more because it takes its time: its oldest byte is written with its last.
pub fn catches_up(before: u64, now: u64, span: Nanos) -> bool {
    let gone = u128::from(before.saturating_sub(now));
    u128::from(now) * span.unsigned_abs() as u128 <= gone * CATCHES_UP.unsigned_abs() as u128
}

/// The outgoing streams of a session. See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    streams: Vec<Stream>,
    /// Of the last look.
    traffic: Traffic,
    /// When the peer was heard last.
    heard: Nanos,
    /// Bytes that were counted as sent and lost since: what is sent next is them.
    owed: u64,
}

impl Outbox {
    /// A stream begins.
    pub fn open(&mut self, id: u64) {
        self.streams.push(Stream {
            id,
            priority: 0,
            waiting: VecDeque::new(),
            begun: false,
            finished: false,
            looks: VecDeque::new(),
        });
    }

    /// Higher goes first.
    pub fn prioritize(&mut self, id: u64, priority: i32) {
        if let Some(stream) = self.stream(id) {
            stream.priority = priority;
        }
    }

    /// QUIC took so much of a stream.
    pub fn write(&mut self, id: u64, now: Nanos, bytes: u64) {
        let Some(stream) = self.stream(id) else {
            return;
        };
        match stream.waiting.back_mut() {
            Some(last) if now.saturating_sub(last.at) < GRAIN => last.bytes += bytes,
            _ => stream.waiting.push_back(Chunk { at: now, bytes }),
        }
    }

    /// A stream was written to its end.
    pub fn finish(&mut self, id: u64) {
        if let Some(stream) = self.stream(id) {
            stream.finished = true;
        }
    }

    /// All of a stream was acknowledged, or it was reset.
    pub fn close(&mut self, id: u64) {
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else {
            return;
        };
        if !self.streams.swap_remove(at).waiting.is_empty() {
            // What was lost of it is not sent again.
            self.owed = 0;
        }
    }

    /// Looks at what was sent since the last time.
    pub fn look(&mut self, now: Nanos, traffic: Traffic) {
        let sent = traffic.payload().saturating_sub(self.traffic.payload());
        let heard = traffic.heard != self.traffic.heard;
        self.traffic = traffic;
        self.count(sent);
        let trend = self.trend();
        if heard {
            self.heard = now;
        }
        let silent = now.saturating_sub(self.heard) > SILENCE.saturating_add(traffic.rtt);
        for stream in &mut self.streams {
            if silent {
                stream.looks.clear();
            } else {
                stream.look(now, trend);
            }
        }
    }

    fn count(&mut self, sent: i64) {
        let Ok(sent) = u64::try_from(sent) else {
            self.owed = self.owed.saturating_add(sent.unsigned_abs());
            return;
        };
        let again = sent.min(self.owed);
        self.owed -= again;
        let mut sent = sent - again;
        self.streams
            .sort_unstable_by_key(|stream| std::cmp::Reverse(stream.priority));
        for stream in &mut self.streams {
            sent = stream.send(sent);
        }
        // What is left belongs to nobody: estimates were wrong by that.
        if self.streams.iter().all(|stream| stream.waiting.is_empty()) {
            self.owed = 0;
        }
    }

    /// Whether a group that is being written cannot arrive in time any more. `patience`: the subscribers' largest max-age; half
    /// of it more is allowed, because a picture that comes a little late is better than none until the next key frame.
    pub fn is_hopeless(&self, id: u64, patience: Nanos) -> bool {
        let limit = patience.saturating_add(patience / 2).max(LEAST_LIMIT);
        let stream = self.streams.iter().find(|stream| stream.id == id);
        stream.is_some_and(|stream| stream.is_hopeless(limit, self.trend()))
    }

    fn trend(&self) -> Nanos {
        TREND.max(self.traffic.rtt.saturating_mul(2))
    }

    fn stream(&mut self, id: u64) -> Option<&mut Stream> {
        // The newest is asked for most.
        self.streams.iter_mut().rev().find(|stream| stream.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: u64 = 1;
    const SOUND: u64 = 2;
    const FRAME: Nanos = 16 * MILLISECOND;
    const PATIENCE: Nanos = 200 * MILLISECOND;
    const MTU: u64 = 1200;
    /// In truth: a connection id of 8 bytes, and a header of the frame.
    const TAKEN: u64 = 34;

    /// A path that takes so much, and a stream of pictures with a key frame of 100 ms at 4 Mbit/s, and sound before it.
    struct Rig {
        outbox: Outbox,
        now: Nanos,
        traffic: Traffic,
        /// What waits in truth, by priority: sound, pictures.
        queues: [u64; 2],
        capacity: f64,
        /// Of the pictures, after the key frame.
        rate: f64,
        silent: bool,
    }

    /// bit/s to bytes in a frame's time.
    fn per_frame(rate: f64) -> u64 {
        (rate / 8.0 * FRAME as f64 / SECOND as f64) as u64
    }

    impl Rig {
        fn new(mbits: f64) -> Self {
            let mut outbox = Outbox::default();
            outbox.open(PICTURE);
            outbox.open(SOUND);
            outbox.prioritize(PICTURE, 10);
            outbox.prioritize(SOUND, 20);
            let mut rig = Self {
                outbox,
                now: SECOND,
                traffic: Traffic {
                    bytes: 1_000_000,
                    rtt: 40 * MILLISECOND,
                    ..Traffic::default()
                },
                queues: [0, 0],
                capacity: mbits * 1e6,
                rate: 3.6e6,
                silent: false,
            };
            rig.outbox.look(rig.now, rig.traffic);
            rig.write(PICTURE, 50_000);
            rig
        }

        fn write(&mut self, id: u64, bytes: u64) {
            self.outbox.write(id, self.now, bytes);
            self.queues[usize::from(id == PICTURE)] += bytes;
        }

        /// A frame's time passes.
        fn step(&mut self) {
            self.now += FRAME;
            self.write(SOUND, per_frame(100e3));
            self.write(PICTURE, per_frame(self.rate));
            let mut room = per_frame(self.capacity);
            for queue in &mut self.queues {
                let payload = (*queue).min(room * (MTU - TAKEN) / MTU);
                *queue -= payload;
                let packets = payload.div_ceil(MTU - TAKEN);
                let bytes = payload + packets * TAKEN;
                self.traffic.bytes += bytes;
                self.traffic.packets += packets;
                room = room.saturating_sub(bytes);
            }
            if !self.silent {
                self.traffic.heard += 1;
            }
            self.outbox.look(self.now, self.traffic);
        }

        /// When the pictures are hopeless, if they become so within this time.
        fn hopeless_within(&mut self, time: Nanos) -> Option<Nanos> {
            let since = self.now;
            while self.now - since < time {
                self.step();
                if self.outbox.is_hopeless(PICTURE, PATIENCE) {
                    return Some(self.now - since);
                }
                assert!(!self.outbox.is_hopeless(SOUND, PATIENCE));
            }
            None
        }

        fn behind(&self) -> Nanos {
            let find = |stream: &&Stream| stream.id == PICTURE;
            let stream = self.outbox.streams.iter().find(find).unwrap();
            stream.behind(self.now)
        }
    }

    #[test]
    fn a_path_that_carries_the_stream_gives_nothing_up() {
        // The key frame alone takes 80 ms.
        let mut rig = Rig::new(5.0);
        assert_eq!(rig.hopeless_within(20 * SECOND), None);
        assert!(rig.behind() <= FRAME, "{}", rig.behind());
    }

    #[test]
    fn a_group_of_ten_minutes_does_not_drift() {
        for rate in [30e3, 3.6e6] {
            let mut rig = Rig::new(20.0);
            rig.rate = rate;
            assert_eq!(rig.hopeless_within(600 * SECOND), None, "{rate}");
            assert!(rig.behind() <= 2 * FRAME, "{rate}: {}", rig.behind());
        }
    }

    #[test]
    fn a_key_frame_that_takes_three_seconds_arrives() {
        let mut rig = Rig::new(1.0);
        rig.rate = 100e3;
        rig.write(PICTURE, 250_000);
        assert_eq!(rig.hopeless_within(20 * SECOND), None);
        assert!(rig.behind() <= 2 * FRAME, "{}", rig.behind());
        // And one behind which the rest of the group cannot catch up.
        let mut rig = Rig::new(1.0);
        rig.write(PICTURE, 250_000);
        let at = rig.hopeless_within(20 * SECOND).unwrap();
        assert!(at > 2 * SECOND, "{at}");
        let stream = rig.outbox.streams.iter().find(|it| it.id == PICTURE);
        assert!(stream.unwrap().begun);
    }

    #[test]
    fn what_is_too_far_behind_and_falls_further_is_hopeless() {
        let mut rig = Rig::new(3.0);
        let at = rig.hopeless_within(5 * SECOND).unwrap();
        let behind = rig.behind();
        assert!(
            (300 * MILLISECOND..330 * MILLISECOND).contains(&behind),
            "{behind}"
        );
        // 133 ms for the key frame, then 19 % of the time that passes.
        assert!(
            at > 700 * MILLISECOND && at < 1000 * MILLISECOND,
            "{at} {behind}"
        );
    }

    #[test]
    fn what_is_behind_and_catches_up_is_waited_for() {
        let mut rig = Rig::new(5.0);
        rig.write(PICTURE, 200_000);
        assert_eq!(rig.hopeless_within(10 * SECOND), None);
        assert!(rig.behind() <= FRAME);
    }

    #[test]
    fn nothing_is_given_up_in_an_outage_nor_when_it_is_over() {
        let mut rig = Rig::new(20.0);
        assert_eq!(rig.hopeless_within(SECOND), None);
        (rig.capacity, rig.silent) = (0.0, true);
        assert_eq!(rig.hopeless_within(2 * SECOND), None);
        assert!(rig.behind() > 1900 * MILLISECOND);
        // What is sent first was lost on the way, and is sent again.
        (rig.capacity, rig.silent) = (20e6, false);
        assert_eq!(rig.hopeless_within(5 * SECOND), None);
        assert!(rig.behind() <= FRAME);
    }

    #[test]
    fn an_outage_that_ends_in_a_narrow_path_is_told_from_one_that_does_not() {
        let mut rig = Rig::new(20.0);
        (rig.capacity, rig.silent) = (0.0, true);
        assert_eq!(rig.hopeless_within(SECOND), None);
        (rig.capacity, rig.silent) = (2e6, false);
        let at = rig.hopeless_within(SECOND).unwrap();
        assert!(at >= TREND, "{at}");
    }

    #[test]
    fn lost_packets_count_once() {
        let mut rig = Rig::new(20.0);
        rig.hopeless_within(SECOND / 2);
        // One packet of six goes astray, and goes again.
        for _ in 0..2000 {
            rig.step();
            rig.traffic.lost += MTU;
            rig.traffic.lost_packets += 1;
            rig.traffic.bytes += MTU;
            rig.traffic.packets += 1;
        }
        assert!(rig.behind() <= 2 * FRAME, "{}", rig.behind());
    }

    #[test]
    fn what_was_lost_of_a_stream_that_is_reset_is_nobody_s_debt() {
        let mut rig = Rig::new(0.0);
        rig.step();
        rig.traffic.lost += 10_000;
        rig.traffic.bytes += 5_000;
        rig.outbox.look(rig.now, rig.traffic);
        rig.outbox.close(PICTURE);
        assert_eq!(rig.outbox.owed, 0);
        rig.outbox.open(3);
        rig.outbox.write(3, rig.now, 1_000);
        rig.traffic.bytes += 2_000;
        rig.outbox.look(rig.now, rig.traffic);
        let stream = rig.outbox.streams.iter().find(|it| it.id == 3).unwrap();
        assert!(stream.waiting.is_empty());
    }

    #[test]
    fn a_group_that_is_whole_is_not_decided_on_here() {
        let mut rig = Rig::new(0.5);
        rig.outbox.finish(PICTURE);
        assert_eq!(rig.hopeless_within(3 * SECOND), None);
    }

    #[test]
    fn who_waits_for_ever_is_sent_everything() {
        let mut rig = Rig::new(1.0);
        for _ in 0..500 {
            rig.step();
        }
        assert!(!rig.outbox.is_hopeless(PICTURE, Nanos::MAX));
        assert!(rig.outbox.is_hopeless(PICTURE, 0));
    }
}

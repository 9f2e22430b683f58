//! What of a published track still waits for the network, and what of it is lost.
//!
//! The protocol library sends and gives up groups by itself; what can be seen of it is that a session *takes* a group (it
//! reads from it), that it *lets go* of it (all of it was acknowledged, or it was given up), and that a group leaves the
//! cache. Which of the two ends it was is what the library's own rule says: a group that is not delivered is given up when
//! the group after it began longer ago, in media time, than the subscriber's max-age. So a group that was let go of when
//! that was over counts as lost, unless it was let go of sooner than an acknowledgement can come back: what was only in
//! flight then arrives.

use std::collections::VecDeque;

use super::{MILLISECOND, Nanos};

/// An acknowledgement may be held back by 25 ms (RFC 9000 §18.2, `max_ack_delay`), and threads take their time.
const ACKNOWLEDGED: Nanos = 50 * MILLISECOND;
/// A group that waits this long, beside the round trips, waits because of the network.
const BEHIND: Nanos = 250 * MILLISECOND;
/// For so long a group that was given up on its way stands for congestion.
const PRESSES: Nanos = 1_000 * MILLISECOND;
/// How often congestion that lasts is told of again.
const REPEAT: Nanos = 500 * MILLISECOND;

/// Why a group was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was not delivered while it was young enough for its subscriber, or for the cache.
    Expired,
    /// It left a full cache before it was delivered.
    Evicted,
}

/// How a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The session let go of it.
    Released,
    /// The session gave it up while it was being written: it could not arrive in time ([`super::outbox`]).
    GivenUp,
    /// It left the cache because nobody read from it for long.
    Expired,
    /// It left the cache because that is full.
    Evicted,
}

/// Groups that were lost, whole or in part, and all that was written to them: how much of it arrived is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    pub groups: u64,
    pub frames: u64,
    /// Containers included.
    pub bytes: u64,
}

impl Amount {
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.groups += other.groups;
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

/// What is worth telling of the congestion of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    Began,
    /// It lasts; said every half second.
    GoesOn,
    Over,
}

/// What has been written and is neither delivered nor lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Groups that a session has taken and not let go of, with the one that is being written.
    pub groups: u64,
    /// All that was written to them, also what was sent of it.
    pub bytes: u64,
    /// How long the oldest of them that is whole has waited.
    pub behind: Nanos,
}

/// The subscriber's terms and the path, as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Of all subscribers the most patient one's, no more than the track's own; `None` when nobody subscribes.
    pub max_age: Option<Nanos>,
    /// The round trip, if there is a session.
    pub rtt: Option<Nanos>,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    sequence: u64,
    amount: Amount,
    /// Media time (ns) at which the next group begins, once it does.
    reach: Option<Nanos>,
    /// Since when it is whole and taken; while it is not taken, since when it is whole.
    waits: Option<Nanos>,
    taken: bool,
    ended: bool,
    given_up: bool,
}

/// The groups of one track that are under way. See the module.
#[derive(Debug, Default)]
pub struct Backlog {
    groups: VecDeque<Group>,
    /// Media time of the newest frame.
    edge: Nanos,
    max_age: Option<Nanos>,
    /// The shortest round trip since somebody subscribed: a queue in the network makes it longer.
    rtt: Nanos,
    /// Not taken away yet.
    expired: Amount,
    evicted: Amount,
    /// The group that ended last was lost.
    losing: bool,
    /// When one was given up last.
    gave_up: Option<Nanos>,
    /// When congestion was told of last, while it lasts.
    told: Option<Nanos>,
}

impl Backlog {
    /// What holds from now on.
    pub fn set_terms(&mut self, terms: Terms) {
        if self.max_age.is_none() {
            self.rtt = 0;
        }
        self.max_age = terms.max_age;
        if terms.max_age.is_none() {
            // Nobody is left for whom the network would have to keep up.
            self.losing = false;
            self.gave_up = None;
        }
        if let Some(rtt) = terms.rtt {
            self.rtt = match self.rtt {
                0 => rtt,
                least => least.min(rtt),
            };
        }
    }

    /// A group begins. The one before must be finished.
    pub fn open(&mut self, sequence: u64) {
        self.groups.retain(|group| !group.ended);
        self.groups.push_back(Group {
            sequence,
            amount: Amount {
                groups: 1,
                ..Amount::default()
            },
            reach: None,
            waits: None,
            taken: false,
            ended: false,
            given_up: false,
        });
    }

    /// A frame went into the newest group.
    pub fn write(&mut self, media: Nanos, bytes: u64) {
        let mut newest = self.groups.iter_mut().rev();
        if let Some(group) = newest.next() {
            let first = group.amount.frames == 0;
            group.amount.frames += 1;
            group.amount.bytes += bytes;
            if first && let Some(before) = newest.next() {
                before.reach = Some(media);
            }
        }
        self.edge = media;
    }

    /// The newest group is whole.
    pub fn finish(&mut self, now: Nanos) {
        if let Some(group) = self.groups.back_mut() {
            group.waits.get_or_insert(now);
        }
    }

    /// A session reads from a group.
    pub fn take(&mut self, sequence: u64, now: Nanos) {
        if let Some(group) = self.groups.iter_mut().find(|g| g.sequence == sequence) {
            group.taken = true;
            // Whoever joins may want a group that was whole before.
            if let Some(since) = &mut group.waits {
                *since = now;
            }
        }
    }

    /// A session let go of a group, or it left the cache. False when the group goes on: who read it left before it was whole.
    pub fn end(&mut self, sequence: u64, end: End, now: Nanos) -> bool {
        let Some(at) = self.groups.iter().position(|g| g.sequence == sequence) else {
            return true;
        };
        let group = self.groups[at];
        // Only what is being written is given up so; at the same time others may be let go of that were delivered.
        let end = match end {
            End::GivenUp if group.waits.is_some() => End::Released,
            end => end,
        };
        if group.waits.is_none() && end == End::Released {
            self.groups[at].taken = false;
            return false;
        }
        // The newest stays until there is a newer one: frames are counted to it.
        self.groups[at].ended = true;
        self.groups[at].given_up = end == End::GivenUp;
        if at + 1 < self.groups.len() {
            self.groups.remove(at);
        }
        // Nobody asked for it: who joins late begins at a later one.
        if !group.taken {
            return true;
        }
        let cause = self.loss(&group, end, now);
        if end == End::GivenUp {
            self.gave_up = cause.map(|_| now);
        } else {
            self.losing = cause.is_some();
        }
        match cause {
            Some(Cause::Expired) => self.expired += group.amount,
            Some(Cause::Evicted) => self.evicted += group.amount,
            None => {}
        }
        true
    }

    fn loss(&self, group: &Group, end: End, now: Nanos) -> Option<Cause> {
        // Who leaves lets go of what was under way.
        let max_age = self.max_age?;
        match end {
            End::Released => {}
            End::Expired | End::GivenUp => return Some(Cause::Expired),
            End::Evicted => return Some(Cause::Evicted),
        }
        let stale = group
            .reach
            .is_some_and(|reach| self.edge.saturating_sub(reach) >= max_age);
        let waited = now.saturating_sub(group.waits?);
        (stale && waited > self.rtt * 3 / 2 + ACKNOWLEDGED).then_some(Cause::Expired)
    }

    /// Whether the newest group was given up: what is still written to it goes nowhere.
    pub fn gave_up(&self) -> bool {
        self.groups.back().is_some_and(|newest| newest.given_up)
    }

    /// What waits now.
    pub fn pending(&self, now: Nanos) -> Pending {
        let mut pending = Pending::default();
        for group in self.groups.iter().filter(|g| g.taken && !g.ended) {
            pending.groups += 1;
            pending.bytes += group.amount.bytes;
            if let Some(since) = group.waits {
                pending.behind = pending.behind.max(now.saturating_sub(since));
            }
        }
        pending
    }

    /// Whether nothing waits; `None` while no session has taken the newest group, which may come yet.
    pub fn is_delivered(&self) -> Option<bool> {
        let mut waiting = self.groups.iter().filter(|g| g.taken && !g.ended);
        match self.groups.back() {
            Some(newest) if !newest.taken && !newest.ended => None,
            _ => Some(waiting.next().is_none()),
        }
    }

    /// What was lost since the last call.
    pub fn take_losses(&mut self) -> [(Cause, Amount); 2] {
        [
            (Cause::Expired, std::mem::take(&mut self.expired)),
            (Cause::Evicted, std::mem::take(&mut self.evicted)),
        ]
    }

    /// Whether somebody subscribes.
    pub fn is_wanted(&self) -> bool {
        self.max_age.is_some()
    }

    /// Whether the network does not keep up: from a loss, or a group that waits long, until one is delivered in time.
    pub fn is_congested(&self) -> bool {
        self.told.is_some()
    }

    /// To be called now and then; what has to be told of.
    pub fn check(&mut self, now: Nanos) -> Option<Notice> {
        // When the next group ends may be long from now.
        let lately = |at: Nanos| now.saturating_sub(at) < PRESSES;
        let pressed = self.losing
            || self.gave_up.is_some_and(lately)
            || self.pending(now).behind > self.rtt * 2 + BEHIND;
        match (self.told, pressed) {
            (None, true) => {
                self.told = Some(now);
                Some(Notice::Began)
            }
            (Some(told), true) if now.saturating_sub(told) >= REPEAT => {
                self.told = Some(now);
                Some(Notice::GoesOn)
            }
            (Some(_), false) => {
                self.told = None;
                Some(Notice::Over)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SECOND;

    const FRAME: Nanos = 100 * MILLISECOND;
    const PER_GROUP: u64 = 10;

    /// A track of one group a second, ten frames of 1000 bytes in each.
    struct Track {
        backlog: Backlog,
        written: u64,
    }

    impl Track {
        fn new(max_age: Nanos, rtt: Nanos) -> Self {
            let mut backlog = Backlog::default();
            backlog.set_terms(Terms {
                max_age: Some(max_age),
                rtt: Some(rtt),
            });
            Self {
                backlog,
                written: 0,
            }
        }

        fn now(&self) -> Nanos {
            i64::try_from(self.written).unwrap() * FRAME
        }

        /// Writes frames, each group taken as soon as it is there; the notices that came.
        fn write(&mut self, frames: u64) -> Vec<Notice> {
            let mut notices = Vec::new();
            for _ in 0..frames {
                let now = self.now();
                if self.written.is_multiple_of(PER_GROUP) {
                    self.backlog.finish(now);
                    self.backlog.open(self.written / PER_GROUP);
                    self.backlog.take(self.written / PER_GROUP, now);
                }
                self.backlog.write(now, 1000);
                self.written += 1;
                notices.extend(self.backlog.check(now));
            }
            notices
        }

        fn end(&mut self, sequence: u64, end: End, late: Nanos) {
            let now = self.now() + late;
            self.backlog.end(sequence, end, now);
        }

        fn lost(&mut self) -> (Amount, Amount) {
            let [(_, expired), (_, evicted)] = self.backlog.take_losses();
            (expired, evicted)
        }
    }

    const ONE: Amount = Amount {
        groups: 1,
        frames: PER_GROUP,
        bytes: 10_000,
    };
    const NONE: Amount = Amount {
        groups: 0,
        frames: 0,
        bytes: 0,
    };

    #[test]
    fn a_path_that_keeps_up_is_not_worth_a_word() {
        let mut track = Track::new(200 * MILLISECOND, 40 * MILLISECOND);
        for group in 0..20 {
            assert_eq!(track.write(PER_GROUP - (group > 0) as u64), []);
            assert_eq!(track.write(1), []);
            track.end(group, End::Released, -30 * MILLISECOND);
        }
        assert_eq!(track.lost(), (NONE, NONE));
        assert!(!track.backlog.is_congested());
    }

    #[test]
    fn a_group_let_go_of_after_max_age_is_lost_and_congestion_lasts_until_one_is_delivered() {
        let mut track = Track::new(200 * MILLISECOND, 20 * MILLISECOND);
        assert_eq!(track.write(PER_GROUP + 3), []);
        track.end(0, End::Released, 0);
        assert_eq!(track.lost(), (ONE, NONE));
        assert_eq!(track.lost(), (NONE, NONE), "told once");
        let notices = track.write(PER_GROUP);
        assert_eq!(notices, [Notice::Began, Notice::GoesOn]);
        // The next one is acknowledged within a round trip.
        track.backlog.end(1, End::Released, 20 * FRAME + FRAME / 5);
        assert_eq!(track.write(1).first(), Some(&Notice::Over));
        let notices = track.write(3 * PER_GROUP);
        assert_eq!(notices[..2], [Notice::Began, Notice::GoesOn], "it waits");
    }

    #[test]
    fn a_group_that_was_given_up_while_it_was_written_is_lost_and_the_next_one_is_not_concerned() {
        let mut track = Track::new(200 * MILLISECOND, 20 * MILLISECOND);
        assert_eq!(track.write(5), []);
        track.end(0, End::GivenUp, 4 * FRAME);
        assert!(track.backlog.gave_up());
        let (expired, _) = track.lost();
        assert_eq!((expired.groups, expired.frames), (1, 5));
        track.written = PER_GROUP;
        assert_eq!(track.write(1), [Notice::Began]);
        assert!(!track.backlog.gave_up());
        assert_eq!(track.lost(), (NONE, NONE));
        // The next one may go on for long; it says nothing.
        assert_eq!(track.backlog.check(15 * FRAME), Some(Notice::GoesOn));
        assert_eq!(track.backlog.check(9 * FRAME + PRESSES), Some(Notice::Over));
    }

    #[test]
    fn a_whole_group_that_is_delivered_while_another_is_given_up_is_no_loss() {
        let mut track = Track::new(200 * MILLISECOND, 20 * MILLISECOND);
        track.write(PER_GROUP + 1);
        track.end(0, End::GivenUp, -90 * MILLISECOND);
        assert_eq!(track.lost(), (NONE, NONE));
        assert!(!track.backlog.gave_up());
    }

    #[test]
    fn what_a_round_trip_holds_back_is_not_lost() {
        // Of the fifth part of a second that max-age leaves, the round trip takes more.
        let mut track = Track::new(200 * MILLISECOND, 300 * MILLISECOND);
        track.write(PER_GROUP + 4);
        track.end(0, End::Released, 0);
        assert_eq!(track.lost(), (NONE, NONE));
    }

    #[test]
    fn congestion_is_over_when_nobody_subscribes_any_more() {
        let mut backlog = Backlog {
            losing: true,
            told: Some(0),
            ..Backlog::default()
        };
        backlog.set_terms(Terms {
            max_age: None,
            rtt: None,
        });
        assert_eq!(backlog.check(SECOND), Some(Notice::Over));
        assert_eq!(backlog.check(2 * SECOND), None);
    }

    #[test]
    fn the_shortest_round_trip_counts_because_congestion_makes_it_longer() {
        let mut track = Track::new(200 * MILLISECOND, 20 * MILLISECOND);
        track.backlog.set_terms(Terms {
            max_age: Some(200 * MILLISECOND),
            rtt: Some(SECOND),
        });
        track.write(PER_GROUP + 3);
        track.end(0, End::Released, 0);
        assert_eq!(track.lost(), (ONE, NONE));
    }

    #[test]
    fn a_group_that_leaves_the_cache_while_it_is_read_is_lost() {
        let mut track = Track::new(10 * SECOND, 20 * MILLISECOND);
        track.write(3 * PER_GROUP);
        assert!(track.backlog.is_congested(), "two groups wait");
        track.end(0, End::Evicted, 0);
        assert_eq!(track.lost(), (NONE, ONE));
    }

    #[test]
    fn what_nobody_took_or_wants_any_more_is_no_loss() {
        let mut track = Track::new(200 * MILLISECOND, 20 * MILLISECOND);
        track.backlog.open(0);
        track.backlog.write(0, 1000);
        track.backlog.finish(FRAME);
        track.backlog.open(1);
        track.backlog.write(FRAME, 1000);
        track.backlog.end(0, End::Evicted, 5 * SECOND);
        assert_eq!(track.lost(), (NONE, NONE), "not taken");
        track.backlog.take(1, SECOND);
        track.backlog.finish(SECOND);
        track.backlog.open(2);
        track.backlog.write(SECOND, 1000);
        track.backlog.set_terms(Terms::default());
        track.backlog.write(9 * SECOND, 1000);
        track.backlog.end(1, End::Released, 9 * SECOND);
        assert_eq!(track.lost(), (NONE, NONE), "nobody subscribes");
        assert_eq!(track.backlog.check(9 * SECOND), None);
    }

    #[test]
    fn a_group_that_is_not_whole_can_be_taken_again() {
        let mut track = Track::new(SECOND, 20 * MILLISECOND);
        track.write(5);
        assert!(!track.backlog.end(0, End::Released, track.now()));
        assert_eq!(track.backlog.pending(track.now()).groups, 0);
        track.backlog.take(0, track.now());
        assert_eq!(track.backlog.pending(track.now()).bytes, 5_000);
    }

    #[test]
    fn a_group_that_was_whole_before_somebody_joined_waits_since_then() {
        let mut track = Track::new(SECOND, 20 * MILLISECOND);
        track.write(PER_GROUP + 8);
        track.backlog.take(0, track.now());
        assert_eq!(track.backlog.pending(track.now()).behind, 0);
        assert_eq!(track.backlog.check(track.now()), Some(Notice::Over));
    }

    #[test]
    fn what_waits_is_known_in_groups_bytes_and_time() {
        let mut track = Track::new(SECOND, 20 * MILLISECOND);
        track.write(2 * PER_GROUP + 5);
        let pending = track.backlog.pending(25 * FRAME);
        assert_eq!(
            pending,
            Pending {
                groups: 3,
                bytes: 25_000,
                behind: 15 * FRAME,
            }
        );
        track.end(0, End::Released, 0);
        track.end(1, End::Released, 0);
        assert_eq!(track.backlog.pending(25 * FRAME).behind, 0);
    }

    #[test]
    fn a_track_is_delivered_when_its_newest_group_was_taken_and_let_go_of() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.is_delivered(), Some(true), "nothing written");
        backlog.open(0);
        backlog.write(0, 1000);
        backlog.finish(0);
        assert_eq!(backlog.is_delivered(), None, "nobody has taken it yet");
        backlog.take(0, 0);
        assert_eq!(backlog.is_delivered(), Some(false));
        backlog.end(0, End::Released, FRAME);
        assert_eq!(backlog.is_delivered(), Some(true));
    }
}

//! Two publishers of one name. The origin hands on the newest announcement, and MoQ has no word by which a relay could tell the
//! other publisher; so it is told here, to whoever runs the relay.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// One publisher has two sessions for a moment when it reconnects, and for longer when the old one was lost without a word:
/// then nothing is heard on that any more. It counts from the newer session on, and is longer than [`ALIVE`]: by then a session
/// that was lost before is not alive.
const PATIENCE: Duration = Duration::from_secs(4);
/// A session is alive if it was heard within this time: clients send keep-alives more often.
const ALIVE: Duration = Duration::from_secs(3);

/// A session that announces a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub session: u64,
    /// Bytes on the wire so far.
    pub received: u64,
}

/// Names with more than one publisher.
#[derive(Debug, Default)]
pub(super) struct Rivals(HashMap<String, Contest>);

#[derive(Debug, Default)]
struct Contest {
    /// By session.
    heard: HashMap<u64, Heard>,
    told: bool,
}

#[derive(Debug)]
struct Heard {
    /// By the first look that found it beside another.
    first_seen: Instant,
    received: u64,
    /// When `received` changed last.
    at: Instant,
}

/// A name that live sessions share, the two newest of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shared {
    pub name: String,
    pub sessions: [u64; 2],
}

impl Rivals {
    /// Takes who announces what now, and gives the names to tell, each once for as long as it has several publishers.
    pub fn look(&mut self, now: Instant, mut claims: HashMap<String, Vec<Claim>>) -> Vec<Shared> {
        claims.retain(|_, claims| claims.len() > 1);
        self.0.retain(|name, _| claims.contains_key(name));
        let mut told = Vec::new();
        for (name, claims) in claims {
            let contest = self.0.entry(name.clone()).or_default();
            if let Some(sessions) = contest.look(now, &claims) {
                told.push(Shared { name, sessions });
            }
        }
        told
    }
}

impl Contest {
    fn look(&mut self, now: Instant, claims: &[Claim]) -> Option<[u64; 2]> {
        self.heard
            .retain(|id, _| claims.iter().any(|claim| claim.session == *id));
        for claim in claims {
            let heard = self.heard.entry(claim.session).or_insert(Heard {
                first_seen: now,
                received: claim.received,
                at: now,
            });
            if heard.received != claim.received {
                heard.received = claim.received;
                heard.at = now;
            }
        }
        let is_alive = |(_, heard): &(&u64, &Heard)| now < heard.at + ALIVE;
        let alive = self.heard.iter().filter(is_alive);
        let mut alive: Vec<(u64, Instant)> =
            alive.map(|(id, heard)| (*id, heard.first_seen)).collect();
        alive.sort_unstable();
        let &[.., (old, seen), (new, seen_too)] = &alive[..] else {
            return None;
        };
        let due = now >= seen.max(seen_too) + PATIENCE && !self.told;
        self.told |= due;
        due.then_some([old, new])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which a name is told whose two publishers received so many bytes at each second.
    fn told(received: impl Fn(u64) -> [u64; 2]) -> Vec<u64> {
        let mut rivals = Rivals::default();
        let start = Instant::now();
        let look = |second: &u64| {
            let [first, second_] = received(*second);
            let claim = |session, received| Claim { session, received };
            let claims = vec![claim(7, first), claim(9, second_)];
            let now = start + Duration::from_secs(*second);
            let told = rivals.look(now, HashMap::from([("a".to_owned(), claims)]));
            for shared in &told {
                assert_eq!((shared.name.as_str(), shared.sessions), ("a", [7, 9]));
            }
            !told.is_empty()
        };
        (0..20).filter(look).collect()
    }

    #[test]
    fn two_publishers_that_are_heard_are_told_once() {
        assert_eq!(told(|second| [second, second]), [4]);
    }

    #[test]
    fn a_session_that_was_lost_is_no_rival_of_its_successor() {
        assert_eq!(told(|second| [5, second]), Vec::<u64>::new());
    }

    /// A publisher whose path is bad: each session is lost without a word, and its successor is there a moment later.
    #[test]
    fn a_publisher_that_reconnects_again_and_again_is_no_rival_of_itself() {
        let mut rivals = Rivals::default();
        let start = Instant::now();
        // A session from every third second on is heard for three seconds, and leaves when it was idle for ten.
        for second in 0..60_u64 {
            let claim = |session: u64| {
                let (begin, end) = (3 * session, 3 * session + 3);
                let received = second.min(end);
                (begin..end + 10)
                    .contains(&second)
                    .then_some(Claim { session, received })
            };
            let claims: Vec<Claim> = (0..20).filter_map(claim).collect();
            let now = start + Duration::from_secs(second);
            let told = rivals.look(now, HashMap::from([("a".to_owned(), claims)]));
            assert_eq!(told, [], "after {second} s");
        }
    }

    #[test]
    fn who_comes_alone_again_and_gets_a_rival_again_is_told_again() {
        let mut rivals = Rivals::default();
        let start = Instant::now();
        let mut told = 0;
        for second in 0..20 {
            let claim = |session| Claim {
                session,
                received: second,
            };
            let both = second != 10;
            let claims = [claim(1), claim(2)]
                .into_iter()
                .filter(|it| both || it.session == 1);
            let claims = HashMap::from([("a".to_owned(), claims.collect())]);
            told += rivals
                .look(start + Duration::from_secs(second), claims)
                .len();
        }
        assert_eq!(told, 2);
    }
}

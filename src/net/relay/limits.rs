//! Holds what sessions use against their limits, again and again.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use moq_net::stats::{Registry, Report};

use super::{
    access::network_of,
    held::{Held, Received},
    rivals::{Claim, Rivals},
    shared::Shared,
    stats::Moved,
};

/// How often the use of each session is held against its limits.
const CHECK: Duration = Duration::from_millis(100);

/// How often the counters of names that are gone are folded into totals: every so many checks.
const PRUNE_EVERY: u64 = 10;

/// How long too much may be held, by sessions that are not read from, before one is closed: eviction may be enough.
const GRACE: Duration = Duration::from_millis(200);

/// After a session was closed, how long its memory takes to be given back.
const SPARED: Duration = Duration::from_millis(300);

/// How many names are looked at for two publishers of one.
const MAX_NAMES: usize = 10_000;

/// A session that is up, as the limits see it.
pub(super) struct Live {
    pub id: u64,
    pub peer: IpAddr,
    pub moq: moq_net::Session,
    pub registry: Registry,
    pub held: Arc<Held>,
}

/// Runs until the relay stops.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(CHECK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut report = Report::default();
    let mut overload = Overload::default();
    let mut rivals = Rivals::default();
    let mut turn = 0_u64;
    while shared
        .stopping
        .run_until_cancelled(ticks.tick())
        .await
        .is_some()
    {
        let mut live = shared.live();
        turn += 1;
        if turn.is_multiple_of(PRUNE_EVERY) || shared.gate.is_near() {
            let mut claims = HashMap::new();
            shared.note_names(prune(&live, &mut report, &mut claims));
            for contest in rivals.look(Instant::now(), claims) {
                shared.tell_contested(contest.name, contest.sessions);
            }
        }
        hold_counts(&shared, &mut live);
        hold_ceiling(&shared, &live, &mut overload);
    }
}

/// Closes the sessions that announce or subscribe to more than they may, and counts what the others hold.
fn hold_counts(shared: &Shared, live: &mut Vec<Live>) {
    let limits = &shared.limits;
    let mut publishers = 0;
    let mut received = Received::default();
    let now = Instant::now();
    live.retain(|session| {
        let moved = Moved::of(&session.registry);
        if moved.broadcasts > limits.broadcasts_per_session
            || moved.subscriptions > limits.tracks_per_session
        {
            tracing::warn!(
                id = session.id,
                broadcasts = moved.broadcasts,
                tracks = moved.subscriptions,
                "session over its limits closed"
            );
            shared.close_for_limit(session.id, &session.moq, "too many broadcasts or tracks");
            return false;
        }
        let tracks = session.held.tracks(now, &moved);
        let more = session.held.count(&moved, tracks);
        received.frames += more.frames;
        received.counted += more.counted;
        publishers += u64::from(tracks > 0);
        true
    });
    shared.gate.split(publishers);
    shared.gate.weigh(received, kept(shared.cache_age));
}

/// How much of what came in before a check is still there after it, in tenths of a percent, if it stays for `age`.
fn kept(age: Duration) -> u64 {
    let lost = CHECK.as_millis() * 1000 / age.as_millis().max(1);
    1000_u64.saturating_sub(u64::try_from(lost).unwrap_or(u64::MAX).max(1))
}

/// Closes the session that holds most if all together hold too much for too long.
fn hold_ceiling(shared: &Shared, live: &[Live], overload: &mut Overload) {
    let holders: Vec<_> = live
        .iter()
        .map(|session| Holder {
            id: session.id,
            network: network_of(session.peer),
            bytes: session.held.bytes(),
            sent_lately: session.held.sent_lately(),
        })
        .collect();
    let level = if shared.gate.is_full() {
        Level::Full
    } else if shared.gate.is_over() {
        Level::Over
    } else {
        Level::Fine
    };
    let victim = overload.victim(Instant::now(), level, shared.gate.share(), &holders);
    for session in live {
        if victim == Some(session.id) {
            tracing::warn!(
                id = session.id,
                holds = session.held.bytes(),
                all = shared.gate.used(),
                "session that holds most closed"
            );
            shared.close_for_limit(session.id, &session.moq, "too much data held");
        }
        session.held.wake();
    }
}

/// Folds the counters of names that no session uses any more into totals, and returns how many names are left.
/// `moq_net` keeps each until it is asked for a report, so a peer with ever new names would cost ever more memory and
/// time. The report also tells which tracks were left, and who announces what, which goes to `claims`. `report` is scratch space.
fn prune(live: &[Live], report: &mut Report, claims: &mut HashMap<String, Vec<Claim>>) -> usize {
    let now = Instant::now();
    live.iter()
        .map(|session| {
            session.registry.report(report);
            session.held.note_parked(now, report);
            claim(session, report, claims);
            report.traffic.len()
        })
        .sum()
}

fn claim(session: &Live, report: &Report, claims: &mut HashMap<String, Vec<Claim>>) {
    let announced = report.traffic.iter().filter(|entry| {
        let traffic = &entry.subscriber;
        traffic.announces_started > traffic.announces_ended
    });
    let mut names = announced.map(|entry| entry.path.to_string()).peekable();
    if names.peek().is_none() {
        return;
    }
    let claim = Claim {
        session: session.id,
        received: session.moq.stats().bytes_received.unwrap_or(0),
    };
    for name in names {
        // Among so many nobody reads a warning, and this must not cost more than they do.
        if claims.len() < MAX_NAMES || claims.contains_key(&name) {
            claims.entry(name).or_default().push(claim);
        }
    }
}

/// What one session holds.
#[derive(Debug, Clone, Copy)]
struct Holder {
    id: u64,
    network: IpAddr,
    bytes: u64,
    sent_lately: u64,
}

/// How much all hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Fine,
    /// Above the mark.
    Over,
    /// Above the ceiling.
    Full,
}

/// Decides who is closed when too much is held.
#[derive(Debug, Default)]
struct Overload {
    since: Option<Instant>,
    spared_until: Option<Instant>,
}

impl Overload {
    /// The session to close, if any: of the network that holds most, the one that holds most. Nobody is closed for
    /// less than its share, and who opens many small sessions is taken for one. Above the ceiling the estimates are wrong
    /// if they blame nobody: then it is who sent most lately.
    fn victim(
        &mut self,
        now: Instant,
        level: Level,
        share: u64,
        holders: &[Holder],
    ) -> Option<u64> {
        if level == Level::Fine {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now < since + GRACE || self.spared_until.is_some_and(|until| now < until) {
            return None;
        }
        let mut networks: HashMap<IpAddr, u64> = HashMap::new();
        for holder in holders {
            let sum = networks.entry(holder.network).or_default();
            *sum = sum.saturating_add(holder.bytes);
        }
        let victim = holders
            .iter()
            .filter(|holder| holder.bytes > share)
            .max_by_key(|holder| (networks.get(&holder.network), holder.bytes, holder.id))
            .or_else(|| {
                holders
                    .iter()
                    .filter(|_| level == Level::Full)
                    .max_by_key(|holder| (holder.sent_lately, holder.id))
            })?;
        self.spared_until = Some(now + SPARED);
        Some(victim.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(id: u64, network: u8, bytes: u64) -> Holder {
        Holder {
            id,
            network: [192, 0, 2, network].into(),
            bytes,
            sent_lately: 100 - bytes,
        }
    }

    #[test]
    fn who_holds_most_is_closed_when_eviction_did_not_help() {
        let mut overload = Overload::default();
        let start = Instant::now();
        let holders = [holder(1, 1, 50), holder(2, 2, 90)];
        assert_eq!(overload.victim(start, Level::Over, 10, &holders), None);
        assert_eq!(
            overload.victim(start + GRACE, Level::Fine, 10, &holders),
            None
        );
        assert_eq!(
            overload.victim(start + GRACE, Level::Over, 10, &holders),
            None,
            "the time begins anew"
        );
        let late = start + GRACE * 2;
        assert_eq!(overload.victim(late, Level::Over, 10, &holders), Some(2));
        assert_eq!(
            overload.victim(late + SPARED / 2, Level::Over, 10, &holders[..1]),
            None,
            "what it held is being given back"
        );
        assert_eq!(
            overload.victim(late + SPARED, Level::Over, 10, &holders[..1]),
            Some(1)
        );
    }

    #[test]
    fn nobody_is_closed_for_its_share() {
        let mut overload = Overload::default();
        let start = Instant::now();
        let holders = [holder(1, 1, 10), holder(2, 2, 3)];
        overload.victim(start, Level::Over, 10, &holders);
        assert_eq!(
            overload.victim(start + GRACE, Level::Over, 10, &holders),
            None
        );
        assert_eq!(
            overload.victim(start + GRACE, Level::Full, 10, &holders),
            Some(2),
            "somebody has to go, and it sent most"
        );
    }

    #[test]
    fn what_came_in_counts_for_about_as_long_as_it_is_kept() {
        assert_eq!(kept(Duration::from_secs(10)), 990);
        assert_eq!(kept(Duration::from_millis(100)), 0);
        assert_eq!(kept(Duration::ZERO), 0);
        assert_eq!(kept(Duration::MAX), 999);
    }

    #[test]
    fn many_sessions_of_one_network_count_together() {
        let mut overload = Overload::default();
        let start = Instant::now();
        let mut holders: Vec<_> = (0..20).map(|id| holder(id, 1, 11)).collect();
        holders.push(holder(20, 2, 100));
        overload.victim(start, Level::Over, 10, &holders);
        assert_eq!(
            overload.victim(start + GRACE, Level::Over, 10, &holders),
            Some(19)
        );
    }
}

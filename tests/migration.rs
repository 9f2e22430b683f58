//! The client's address changes under way: QUIC's connection migration (RFC 9000 section 9), as a NAT or another network
//! makes it necessary.

mod common;

use std::time::Duration;

use common::{
    Seen,
    paths::{
        Feed, FeedOptions, View, ViewOptions, assert_decodable, delay, path_delays, path_to, relay,
        spread,
    },
};
use gst::prelude::*;
use gstmoq::{net::relay::Relay, netsim::Proxy};

/// One way.
const PATH_MS: u64 = 20;

/// The silence watchdog, 3 × RTT + 250 ms, and one round trip.
const BOUND: Duration = Duration::from_millis(3 * 2 * PATH_MS + 250 + 2 * PATH_MS);

/// Between two frames of video, and what threads of a busy machine are late by.
const SLACK: Duration = Duration::from_millis(34 + 100);

/// A publisher, a relay and a player; the path is before one of them.
struct Rig {
    feed: Feed,
    view: View,
    proxy: Proxy,
    _relay: Relay,
}

/// Whose address changes.
#[derive(Clone, Copy, PartialEq)]
enum Moved {
    Publisher,
    Player,
}

impl Rig {
    fn new(moved: Moved, transport: &str) -> Self {
        let relay = relay();
        let (proxy, url) = path_to(relay.bound()[0], delay(PATH_MS));
        let direct = relay.url();
        let (to, from) = match moved {
            Moved::Publisher => (&url, &direct),
            Moved::Player => (&direct, &url),
        };
        let feed = FeedOptions::to(&format!("url={to} transport={transport}")).start();
        feed.video.wait_after_key(10);
        let view = ViewOptions::to(&format!("url={from} transport={transport}")).play();
        Self {
            feed,
            view,
            proxy,
            _relay: relay,
        }
    }

    /// Sessions after the first, of whoever moves.
    fn reconnects(&self, moved: Moved) -> u64 {
        let element = match moved {
            Moved::Publisher => self.feed.pipeline.by_name("sink"),
            Moved::Player => self.view.pipeline.by_name("src"),
        };
        let stats: gst::Structure = element.property("stats");
        let transport: gst::Structure = stats.get("transport").expect("it is connected");
        transport.get("reconnects").expect("a counter")
    }

    /// The longest time without a frame since `from`.
    fn stall(&self, from: i64) -> Duration {
        let arrivals = |seen: &[Seen]| -> Vec<i64> {
            seen.iter().map(|seen| self.view.arrived(seen)).collect()
        };
        let mut all = arrivals(&self.view.video.all());
        all.sort_unstable();
        let gaps = all.windows(2).filter(|pair| pair[1] >= from);
        let longest = gaps.map(|pair| pair[1] - pair[0]).max().expect("frames");
        Duration::from_nanos(longest as u64)
    }
}

/// Plays through a change of the client's address: the session stays, nothing that comes is broken, the latency is that
/// of before, and the longest wait for a frame is within the bound.
fn plays_on(moved: Moved, transport: &str, change: impl Fn(&Rig), bound: Duration) {
    let rig = Rig::new(moved, transport);
    let before = rig.view.video.wait_count(60);
    let before = spread(path_delays(&rig.view, &rig.feed.video.all(), &before)).0;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let seen = rig.view.video.len();
        let at = rig.view.now();
        change(&rig);
        rig.view
            .video
            .wait("two seconds more", |got| got.len() >= seen + 60);
        waits.push(rig.stall(at));
    }
    let got = rig.view.video.all();
    let sent = rig.feed.video.all();
    assert_decodable(&sent, &got);
    let after = spread(path_delays(&rig.view, &sent, &got[got.len() - 30..])).0;
    let reconnects = rig.reconnects(moved);
    eprintln!(
        "waits {waits:?}, delay {before:.1} ms, then {after:.1} ms, {reconnects} more sessions"
    );
    rig.view.assert_undisturbed();
    assert_eq!(reconnects, 0, "the session moves");
    // The median: a busy machine hesitates for longer than all of this.
    waits.sort_unstable();
    let wait = waits[waits.len() / 2];
    assert!(wait <= bound, "{wait:?} without a frame");
    // What came late may not have moved the mapping: a tenth, as of an outage (T5).
    let tenth = (f64::from(rig.view.latency_ms) + before) / 10.0;
    assert!(
        (after - before).abs() <= tenth,
        "{before} ms, then {after} ms"
    );
}

fn rebind(rig: &Rig) {
    let count = rig.proxy.rebind().expect("a port");
    assert!(count > 0, "nobody to rebind");
}

/// The relay hears from the new port with the next frame.
const UNNOTICED: Duration = Duration::from_millis(100);

#[test]
fn a_publisher_that_gets_another_port_is_not_missed_over_webtransport() {
    plays_on(Moved::Publisher, "webtransport", rebind, UNNOTICED + SLACK);
}

#[test]
fn a_publisher_that_gets_another_port_is_not_missed_over_quic() {
    plays_on(Moved::Publisher, "quic", rebind, UNNOTICED + SLACK);
}

#[test]
fn a_player_that_gets_another_port_asks_before_the_watchdog_over_webtransport() {
    plays_on(Moved::Player, "webtransport", rebind, BOUND + SLACK);
}

#[test]
fn a_player_that_gets_another_port_asks_before_the_watchdog_over_quic() {
    plays_on(Moved::Player, "quic", rebind, BOUND + SLACK);
}

/// For so long nothing gets through, so that no acknowledgement of what came is left to tell of the new port; shorter
/// than the player takes to ask.
const GAP: Duration = Duration::from_millis(100);

fn hand_over(rig: &Rig) {
    rig.proxy.cut(GAP);
    rebind(rig);
}

#[test]
fn a_player_that_hears_nothing_for_another_port_asks_over_webtransport() {
    plays_on(Moved::Player, "webtransport", hand_over, BOUND + SLACK);
}

#[test]
fn a_player_that_hears_nothing_for_another_port_asks_over_quic() {
    plays_on(Moved::Player, "quic", hand_over, BOUND + SLACK);
}

/// The first answer to the new port validates it, with no more than three times what it got (RFC 9000 section 8.1): the
/// media comes a round trip after.
const VALIDATED: Duration = Duration::from_millis(2 * PATH_MS);

/// Another network, with the gap that comes with it. Linux has all of 127.0.0.0/8.
///
/// An acknowledgement from the new address that gets through before the gap makes the relay use up what it may send there
/// before it is validated, and nothing of that arrives: the player is heard again when it has taken another port.
#[cfg(target_os = "linux")]
mod another_address {
    use std::{
        net::IpAddr,
        sync::atomic::{AtomicU8, Ordering},
    };

    use super::*;

    fn address() -> IpAddr {
        static NEXT: AtomicU8 = AtomicU8::new(2);
        [127, 0, 0, NEXT.fetch_add(1, Ordering::Relaxed)].into()
    }

    fn change_networks(rig: &Rig) {
        rig.proxy.cut(GAP);
        let count = rig.proxy.rebind_to(address());
        assert!(count.expect("an address") > 0, "nobody to move");
    }

    /// What is on its way to the address of before still arrives.
    fn switch_interfaces(rig: &Rig) {
        let count = rig.proxy.hand_over_to(address(), 5 * GAP);
        assert!(count.expect("an address") > 0, "nobody to move");
    }

    #[test]
    fn a_player_that_switches_interfaces_misses_no_more_than_a_round_trip_over_webtransport() {
        let bound = VALIDATED + SLACK;
        plays_on(Moved::Player, "webtransport", switch_interfaces, bound);
    }

    #[test]
    fn a_player_that_switches_interfaces_misses_no_more_than_a_round_trip_over_quic() {
        let bound = VALIDATED + SLACK;
        plays_on(Moved::Player, "quic", switch_interfaces, bound);
    }

    #[test]
    fn a_publisher_that_switches_interfaces_is_not_missed() {
        let bound = UNNOTICED + SLACK;
        plays_on(Moved::Publisher, "webtransport", switch_interfaces, bound);
    }

    #[test]
    fn a_player_that_changes_networks_plays_on() {
        plays_on(
            Moved::Player,
            "webtransport",
            change_networks,
            BOUND + SLACK,
        );
    }

    #[test]
    fn a_publisher_that_changes_networks_goes_on() {
        plays_on(
            Moved::Publisher,
            "webtransport",
            change_networks,
            BOUND + SLACK,
        );
    }
}

#[test]
fn a_player_whose_port_leads_nowhere_takes_another() {
    let strand = |rig: &Rig| rig.proxy.strand();
    plays_on(
        Moved::Player,
        "webtransport",
        strand,
        BOUND + VALIDATED + SLACK,
    );
}

#[test]
fn a_publisher_whose_port_leads_nowhere_takes_another() {
    let strand = |rig: &Rig| rig.proxy.strand();
    plays_on(
        Moved::Publisher,
        "webtransport",
        strand,
        BOUND + VALIDATED + SLACK,
    );
}

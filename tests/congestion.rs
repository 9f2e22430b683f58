//! What docs/congestion-control.md promises of each congestion controller, in virtual time.
//!
//! With MOQ_WRITE_DOCS=1 the tables of that page are written instead of compared.

mod congestion_support;

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

use congestion_support::{
    apps::Media,
    report::{Report, goodput, recovery, report},
    world::World,
};
use gstmoq::{
    net::config::CongestionControl,
    netsim::{Bursts, Outage, PathSettings, Probability, QueueLimit, Rate},
};

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(20);

const ALL: [CongestionControl; 4] = [
    CongestionControl::Cubic,
    CongestionControl::NewReno,
    CongestionControl::Bbr,
    CongestionControl::Live,
];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// 20 ms each way, 20 Mbit/s, a queue of 200 ms.
fn path() -> PathSettings {
    PathSettings {
        delay: DELAY,
        rate: Some(Rate::mbit(20)),
        queue: QueueLimit::Time(ms(200)),
        ..PathSettings::default()
    }
}

fn with_loss(percent: f64) -> PathSettings {
    PathSettings {
        loss: Probability::percent(percent),
        ..path()
    }
}

fn with_bursts(path: PathSettings) -> PathSettings {
    PathSettings {
        bursts: Some(Bursts::Runs {
            length: 5,
            start: Probability::percent(1.0),
        }),
        ..path
    }
}

fn narrow(mbit: u32, queue: Duration) -> PathSettings {
    PathSettings {
        rate: Some(Rate::mbit(mbit)),
        queue: QueueLimit::Time(queue),
        ..path()
    }
}

fn with_outage(length: Duration) -> PathSettings {
    PathSettings {
        outages: vec![Outage { at: OUTAGE, length }],
        ..path()
    }
}

/// The way back: the same, without a bottleneck.
fn back(there: &PathSettings) -> PathSettings {
    PathSettings {
        rate: None,
        ..there.clone()
    }
}

const MEDIA_SECONDS: u32 = 30;
const OUTAGE: Duration = ms(10_100);

/// 4 Mbit/s of video with sound for 30 s.
fn media(control: CongestionControl, there: &PathSettings) -> World {
    let mut world = World::new(there.clone(), back(there), 7);
    world.media(control, Media::default(), MEDIA_SECONDS * SECOND);
    world.run((MEDIA_SECONDS + 2) * SECOND);
    world
}

fn media_report(control: CongestionControl, there: &PathSettings) -> Report {
    let world = media(control, there);
    report(&world.flows[0], there.delay, SECOND, MEDIA_SECONDS * SECOND)
}

fn bulk_report(control: CongestionControl, there: &PathSettings) -> Report {
    let mut world = World::new(there.clone(), back(there), 7);
    world.bulk(control, Duration::ZERO, Duration::MAX);
    world.run(40 * SECOND);
    report(&world.flows[0], there.delay, 5 * SECOND, 40 * SECOND)
}

/// The share of what two flows carry in 55 s, the other a CUBIC flow that begins 3 s later, or earlier.
fn share(control: CongestionControl, queue: Duration, first: bool) -> f64 {
    let there = narrow(20, queue);
    let mut world = World::new(there.clone(), back(&there), 7);
    let (ours, theirs) = if first {
        (Duration::ZERO, 3 * SECOND)
    } else {
        (3 * SECOND, Duration::ZERO)
    };
    world.bulk(control, ours, Duration::MAX);
    world.bulk(CongestionControl::Cubic, theirs, Duration::MAX);
    world.run(60 * SECOND);
    let rate = |flow: usize| goodput(&world.flows[flow], 5 * SECOND, 60 * SECOND);
    rate(0) / (rate(0) + rate(1))
}

fn outage_recovery(control: CongestionControl, length: Duration) -> f64 {
    let world = media(control, &with_outage(length));
    recovery(&world.flows[0], DELAY, OUTAGE + length)
}

#[test]
fn random_loss_of_8_percent_costs_live_no_frame() {
    for percent in [1.0, 3.0, 5.0, 8.0] {
        let live = media_report(CongestionControl::Live, &with_loss(percent));
        assert!(live.delivered > 0.99, "{percent} %: {live:?}");
        assert!(live.p99 < 160.0, "{percent} %: {live:?}");
        let bulk = bulk_report(CongestionControl::Live, &with_loss(percent));
        assert!(bulk.goodput > 17.5, "{percent} %: {bulk:?}");
    }
}

#[test]
fn losses_in_bursts_and_jitter_cost_live_no_frame() {
    let jitter = PathSettings {
        jitter: ms(30),
        ..path()
    };
    for there in [with_bursts(path()), jitter.clone(), with_bursts(jitter)] {
        let live = media_report(CongestionControl::Live, &there);
        assert!(live.delivered > 0.99, "{there:?}: {live:?}");
        assert!(live.p99 < 250.0, "{there:?}: {live:?}");
    }
}

/// Joins over a path with jitter and losses in bursts, of which each is another chance.
#[test]
fn however_the_dice_fall_jitter_and_bursts_cost_live_next_to_no_frame() {
    let jitter = PathSettings {
        jitter: ms(30),
        ..path()
    };
    let there = with_bursts(jitter);
    let seen = (1..=40).map(|seed| {
        let mut world = World::new(there.clone(), back(&there), seed);
        world.media(CongestionControl::Live, Media::default(), 6 * SECOND);
        world.run(8 * SECOND);
        let seen = report(&world.flows[0], there.delay, ms(200), 6 * SECOND);
        (seen.delivered, seen.p99)
    });
    let (delivered, mut tails): (Vec<f64>, Vec<f64>) = seen.unzip();
    let mean = delivered.iter().sum::<f64>() / delivered.len() as f64;
    tails.sort_by(f64::total_cmp);
    assert!(mean > 0.998, "{mean}");
    assert!(tails[tails.len() / 2] < 220.0, "{tails:?}");
    assert!(tails[tails.len() * 9 / 10] < 350.0, "{tails:?}");
}

#[test]
fn alone_live_fills_the_path_with_a_queue_of_25_ms() {
    for (mbit, queue) in [(20, 200), (20, 500), (100, 200)] {
        let live = bulk_report(CongestionControl::Live, &narrow(mbit, ms(queue)));
        assert!(live.goodput > 0.94 * f64::from(mbit), "{mbit}: {live:?}");
        assert!(live.queue_p95 < 27.0, "{mbit}: {live:?}");
    }
}

#[test]
fn sound_passes_in_time_where_video_does_not_fit() {
    let live = media_report(CongestionControl::Live, &narrow(3, ms(500)));
    assert!(live.goodput > 0.93 * 3.0, "{live:?}");
    assert!(live.audio_delivered > 0.999, "{live:?}");
    assert!(live.audio_p95 < 50.0, "{live:?}");
}

#[test]
fn a_path_that_becomes_narrow_is_not_taken_for_a_crowded_one() {
    let there = path();
    let mut world = World::new(there.clone(), back(&there), 7);
    world.change(10 * SECOND, narrow(3, ms(500)));
    world.media(
        CongestionControl::Live,
        Media::default(),
        MEDIA_SECONDS * SECOND,
    );
    world.run((MEDIA_SECONDS + 2) * SECOND);
    let after = report(&world.flows[0], DELAY, 12 * SECOND, MEDIA_SECONDS * SECOND);
    assert!(after.audio_p95 < 60.0, "{after:?}");
    assert!(after.goodput > 0.9 * 3.0, "{after:?}");
}

#[test]
fn beside_a_cubic_flow_live_has_40_percent() {
    for queue in [40, 100, 200] {
        for first in [true, false] {
            // A queue of twice what we want may be too short to be seen as that of others.
            let most = if queue > 40 { 0.75 } else { 1.0 };
            let share = share(CongestionControl::Live, ms(queue), first);
            assert!(
                (0.4..most).contains(&share),
                "{queue} ms, first: {first}: {share}"
            );
        }
    }
}

#[test]
fn when_the_cubic_flow_has_gone_the_queue_is_short_again() {
    let there = path();
    let mut world = World::new(there.clone(), back(&there), 7);
    world.bulk(CongestionControl::Live, Duration::ZERO, Duration::MAX);
    world.bulk(CongestionControl::Cubic, 3 * SECOND, 13 * SECOND);
    world.run(70 * SECOND);
    let after = report(&world.flows[0], DELAY, 45 * SECOND, 70 * SECOND);
    assert!(after.queue_p95 < 30.0, "{after:?}");
    assert!(after.goodput > 18.0, "{after:?}");
}

#[test]
fn after_an_outage_live_is_back_within_a_fifth_of_a_second() {
    for length in [500, 2000, 5000] {
        let back = outage_recovery(CongestionControl::Live, ms(length));
        assert!(back < 200.0, "{length} ms: {back}");
    }
}

#[test]
fn live_sends_at_the_rate_of_the_application() {
    let live = media_report(CongestionControl::Live, &path());
    let cubic = media_report(CongestionControl::Cubic, &path());
    assert!(live.delivered > 0.999, "{live:?}");
    assert!((live.p50 - cubic.p50).abs() < 1.0, "{live:?} {cubic:?}");
    assert!(live.p99 < cubic.p99 + 2.0, "{live:?} {cubic:?}");
    assert!(live.overflowed == 0.0, "{live:?}");
}

/// Name, path.
fn scenarios() -> Vec<(&'static str, PathSettings)> {
    let jitter = PathSettings {
        jitter: ms(30),
        ..path()
    };
    vec![
        ("no loss", path()),
        ("1 % loss", with_loss(1.0)),
        ("3 % loss", with_loss(3.0)),
        ("5 % loss", with_loss(5.0)),
        ("8 % loss", with_loss(8.0)),
        ("bursts of 5 at 1 %", with_bursts(path())),
        ("jitter 30 ms", jitter.clone()),
        ("jitter 30 ms, bursts", with_bursts(jitter)),
        ("3 Mbit/s, queue 500 ms", narrow(3, ms(500))),
        (
            "3 Mbit/s, queue 500 ms, 3 % loss",
            PathSettings {
                loss: Probability::percent(3.0),
                ..narrow(3, ms(500))
            },
        ),
        ("5 Mbit/s, queue 10 ms", narrow(5, ms(10))),
        ("outage of 2 s", with_outage(2 * SECOND)),
    ]
}

fn media_table() -> String {
    let mut text = String::from(
        "\n| Path | Controller | video delivered % | p50 ms | p95 ms | p99 ms | sound p95 ms | queue p95 ms | overflow % |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, there) in scenarios() {
        for control in ALL {
            let r = media_report(control, &there);
            let _ = writeln!(
                text,
                "| {name} | {control:?} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} |",
                r.delivered * 100.0,
                r.p50,
                r.p95,
                r.p99,
                r.audio_p95,
                r.queue_p95,
                r.overflowed * 100.0
            );
        }
    }
    text
}

fn other_tables() -> String {
    let mut text = String::from(
        "\n| Controller | back after 0.5 s, ms | after 2 s | after 5 s | alone, Mbit/s | its queue p95 ms | at 5 % loss, Mbit/s | \
         alone, queue 5 ms: overflow % |\n|---|---|---|---|---|---|---|---|\n",
    );
    for control in ALL {
        let [half, two, five] = [500, 2000, 5000].map(|l| outage_recovery(control, ms(l)));
        let alone = bulk_report(control, &path());
        let lossy = bulk_report(control, &with_loss(5.0));
        let short = bulk_report(control, &narrow(20, ms(5)));
        let _ = writeln!(
            text,
            "| {control:?} | {half:.0} | {two:.0} | {five:.0} | {:.1} | {:.0} | {:.1} | {:.1} |",
            alone.goodput,
            alone.queue_p95,
            lossy.goodput,
            short.overflowed * 100.0
        );
    }
    text.push_str(
        "\n| Share beside CUBIC, queue | Cubic | NewReno | Bbr | Live |\n|---|---|---|---|---|\n",
    );
    for queue in [10, 20, 40, 100, 200, 500] {
        let _ = write!(text, "| {queue} ms |");
        for control in ALL {
            let [first, second] = [true, false].map(|f| share(control, ms(queue), f) * 100.0);
            let _ = write!(text, " {first:.0} / {second:.0} |");
        }
        text.push('\n');
    }
    text
}

const BEGIN: &str =
    "<!-- Written by tests/congestion.rs: MOQ_WRITE_DOCS=1 cargo test --test congestion -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_page_has_the_tables() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/congestion-control.md");
    let text = fs::read_to_string(&page).expect("the page");
    let (head, rest) = text.split_once(BEGIN).expect("the place of the tables");
    let (tables, tail) = rest.split_once(END).expect("the end of the tables");
    // BBR draws random numbers of its own, so that figures are written and not compared.
    if std::env::var_os("MOQ_WRITE_DOCS").is_some() {
        let tables = media_table() + &other_tables() + "\n";
        fs::write(&page, format!("{head}{BEGIN}{tables}{END}{tail}")).expect("to write the page");
        return;
    }
    for (name, _) in scenarios() {
        assert!(tables.contains(&format!("| {name} | Live |")), "{name}");
    }
}

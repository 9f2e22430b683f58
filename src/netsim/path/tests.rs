use super::super::loss::{Bursts, Probability};
use super::super::packet::Ecn;
use super::super::schedule::{Schedule, Step};
use super::super::settings::{Aqm, CoDelSettings, JitterShape, Outage, QueueLimit, Rate};
use super::*;

mod properties;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Deliver { at: Duration },
    Lost(LossReason),
}

fn packet(len: usize) -> Packet<()> {
    Packet {
        payload: vec![0; len].into(),
        ecn: Ecn::None,
        to: (),
    }
}

/// Sends a packet and looks ahead to its arrival.
fn send(path: &mut Path<()>, now: Duration, len: usize) -> Verdict {
    match path.send(now, packet(len)) {
        Err(reason) => Verdict::Lost(reason),
        Ok(()) => deliver(path.pop(Duration::MAX).expect("it is under way").0),
    }
}

/// Everything that arrives until `end`, each packet at its time: the path is asked only when it says so.
fn drain(path: &mut Path<()>, end: Duration) -> Vec<(Duration, Packet<()>)> {
    let mut arrived = Vec::new();
    while let Some(next) = path.next_at().filter(|next| *next <= end) {
        while let Some((at, packet)) = path.pop(next) {
            assert_eq!(at, next, "the path says when to ask");
            arrived.push((at, packet));
        }
        assert!(path.next_at().is_none_or(|after| after > next));
    }
    arrived
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn deliver(at: Duration) -> Verdict {
    Verdict::Deliver { at }
}

fn arrivals(path: &mut Path<()>, count: u64, gap: Duration, len: usize) -> Vec<Option<Duration>> {
    (0..count)
        .map(|n| match send(path, gap * n as u32, len) {
            Verdict::Deliver { at } => Some(at),
            Verdict::Lost(_) => None,
        })
        .collect()
}

#[test]
fn a_perfect_path_delivers_at_once() {
    let mut path = Path::new(PathSettings::default(), 0);
    assert_eq!(send(&mut path, ms(5), 1200), deliver(ms(5)));
}

#[test]
fn a_delay_is_exact() {
    let mut path = Path::new(
        PathSettings {
            delay: ms(20),
            ..Default::default()
        },
        0,
    );
    for n in 0..100 {
        assert_eq!(
            send(&mut path, us(n * 7), 1200),
            deliver(us(n * 7) + ms(20))
        );
    }
}

#[test]
fn jitter_spreads_the_delay_and_keeps_the_order() {
    let settings = PathSettings {
        delay: ms(20),
        jitter: ms(10),
        ..Default::default()
    };
    let at = arrivals(&mut Path::new(settings, 1), 1000, ms(20), 100);
    let delays: Vec<_> = at
        .iter()
        .zip(0..)
        .map(|(at, n)| at.unwrap() - ms(20) * n)
        .collect();
    assert!(delays.iter().all(|delay| (ms(20)..=ms(30)).contains(delay)));
    let mean = delays.iter().sum::<Duration>() / 1000;
    assert!(mean.abs_diff(ms(25)) < us(400), "{mean:?}");
}

#[test]
fn packets_overtake_each_other_only_where_order_is_free() {
    let settings = |order| PathSettings {
        jitter: ms(10),
        order,
        ..Default::default()
    };
    let kept = arrivals(&mut Path::new(settings(Order::Kept), 1), 1000, us(100), 100);
    assert!(kept.is_sorted());
    let free = arrivals(&mut Path::new(settings(Order::Free), 1), 1000, us(100), 100);
    assert!(!free.is_sorted());
}

#[test]
fn order_is_kept_when_the_delay_is_lowered_under_way() {
    let mut path = Path::new(
        PathSettings {
            delay: ms(100),
            ..Default::default()
        },
        0,
    );
    assert_eq!(send(&mut path, ms(0), 1), deliver(ms(100)));
    path.set(ms(5), PathSettings::default());
    assert_eq!(send(&mut path, ms(10), 1), deliver(ms(100)));
    assert_eq!(send(&mut path, ms(110), 1), deliver(ms(110)));
}

#[test]
fn random_loss_has_the_rate_that_was_asked_for() {
    for (seed, percent) in [(1, 1.0), (2, 3.0), (3, 10.0), (4, 50.0)] {
        let settings = PathSettings {
            loss: Probability::percent(percent),
            ..Default::default()
        };
        let n = 100_000;
        let at = arrivals(&mut Path::new(settings, seed), n, us(1), 100);
        let lost = at.iter().filter(|at| at.is_none()).count() as f64;
        let (n, p) = (n as f64, percent / 100.0);
        let deviation = (n * p * (1.0 - p)).sqrt();
        assert!(
            (lost - n * p).abs() < 4.0 * deviation,
            "{lost} of {n} at {percent} %"
        );
    }
}

#[test]
fn certain_loss_loses_all_and_zero_loss_nothing() {
    let path = |loss| {
        Path::new(
            PathSettings {
                loss,
                ..Default::default()
            },
            9,
        )
    };
    let all = arrivals(&mut path(Probability::ONE), 10_000, us(1), 1);
    assert!(all.iter().all(Option::is_none));
    let none = arrivals(&mut path(Probability::ZERO), 10_000, us(1), 1);
    assert!(none.iter().all(Option::is_some));
}

#[test]
fn the_same_seed_repeats_every_decision_and_another_seed_does_not() {
    let settings = PathSettings {
        delay: ms(5),
        jitter: ms(5),
        loss: Probability::percent(5.0),
        bursts: Some(Bursts::Runs {
            length: 3,
            start: Probability::percent(1.0),
        }),
        rate: Some(Rate::mbit(10)),
        ..Default::default()
    };
    let run = |seed| arrivals(&mut Path::new(settings.clone(), seed), 5000, us(500), 1000);
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn which_packets_chance_takes_depends_on_their_number_alone() {
    let plain = PathSettings {
        loss: Probability::percent(5.0),
        ..Default::default()
    };
    let busy = PathSettings {
        delay: ms(30),
        jitter: ms(10),
        bursts: Some(Bursts::Runs {
            length: 4,
            start: Probability::percent(2.0),
        }),
        ..plain.clone()
    };
    let random = |settings, gap: Duration, len| {
        let mut path = Path::new(settings, 11);
        (0..5000u32)
            .filter(|&n| send(&mut path, gap * n, len) == Verdict::Lost(LossReason::Random))
            .collect::<Vec<_>>()
    };
    assert_eq!(random(plain, us(10), 50), random(busy, ms(3), 1400));
}

#[test]
fn a_seed_means_the_same_in_every_version() {
    let settings = PathSettings {
        loss: Probability::percent(10.0),
        ..Default::default()
    };
    let mut path = Path::new(settings, 7);
    let lost: Vec<_> = (0..60u64)
        .filter(|&n| send(&mut path, ms(n), 1) != deliver(ms(n)))
        .collect();
    assert_eq!(lost, FIRST_LOSSES_OF_SEED_7);
}

const FIRST_LOSSES_OF_SEED_7: [u64; 6] = [3, 12, 25, 41, 53, 56];

#[test]
fn a_rate_spaces_packets_by_their_transmission_time() {
    let mut path = Path::new(
        PathSettings {
            delay: ms(10),
            rate: Some(Rate::mbit(10)),
            ..Default::default()
        },
        0,
    );
    // 1250 bytes take 1 ms at 10 Mbit/s.
    assert_eq!(send(&mut path, ms(0), 1250), deliver(ms(11)));
    assert_eq!(send(&mut path, ms(0), 1250), deliver(ms(12)));
    assert_eq!(send(&mut path, us(500), 1250), deliver(ms(13)));
    assert_eq!(
        send(&mut path, ms(50), 1250),
        deliver(ms(61)),
        "an idle link starts afresh"
    );
}

#[test]
fn a_rate_is_exact_over_any_number_of_packets() {
    let mut path = Path::new(
        PathSettings {
            rate: Rate::new(7_000_003),
            queue: QueueLimit::Time(Duration::MAX),
            ..Default::default()
        },
        0,
    );
    let mut last = Verdict::Lost(LossReason::Queue);
    for _ in 0..100_000 {
        last = send(&mut path, ms(0), 1201);
    }
    let nanos = 100_000u128 * 1201 * 8 * 1_000_000_000 / 7_000_003;
    assert_eq!(last, deliver(Duration::from_nanos(nanos as u64)));
}

#[test]
fn an_overloaded_link_delivers_its_rate() {
    let settings = PathSettings {
        rate: Some(Rate::mbit(20)),
        ..Default::default()
    };
    // 1200 bytes each 240 µs are 40 Mbit/s, for 10 s.
    let at = arrivals(&mut Path::new(settings, 0), 41_667, us(240), 1200);
    let bits = at.iter().flatten().filter(|at| **at <= ms(10_000)).count() * 1200 * 8;
    let mbit = bits as f64 / 10.0 / 1e6;
    assert!((19.9..=20.0).contains(&mbit), "{mbit} Mbit/s");
}

#[test]
fn a_queue_bounded_in_time_drops_what_would_wait_longer() {
    let mut path = Path::new(
        PathSettings {
            rate: Some(Rate::mbit(10)),
            queue: QueueLimit::Time(ms(3)),
            ..Default::default()
        },
        0,
    );
    // Waits of 0, 1, 2 and 3 ms.
    for n in 1..=4 {
        assert_eq!(send(&mut path, ms(0), 1250), deliver(ms(n)));
    }
    assert_eq!(
        send(&mut path, ms(0), 1250),
        Verdict::Lost(LossReason::Queue)
    );
    assert_eq!(send(&mut path, ms(1), 1250), deliver(ms(5)), "room again");
}

#[test]
fn a_queue_bounded_in_bytes_counts_what_has_not_left_yet() {
    let mut path = Path::new(
        PathSettings {
            rate: Some(Rate::mbit(10)),
            queue: QueueLimit::Bytes(2500),
            ..Default::default()
        },
        0,
    );
    assert_eq!(
        send(&mut path, ms(0), 9000),
        deliver(us(7200)),
        "an idle link takes any packet"
    );
    assert_eq!(send(&mut path, ms(0), 1), Verdict::Lost(LossReason::Queue));
    // 1250 bytes of the first are left at 6.2 ms.
    assert_eq!(send(&mut path, us(6200), 1250), deliver(us(8200)));
    assert_eq!(
        send(&mut path, us(6200), 1),
        Verdict::Lost(LossReason::Queue)
    );
}

#[test]
fn outages_lose_what_is_sent_in_them_and_nothing_else() {
    let settings = PathSettings {
        delay: ms(20),
        outages: vec![
            Outage {
                at: ms(10),
                length: ms(5),
            },
            Outage {
                at: ms(100),
                length: ms(1),
            },
        ],
        ..Default::default()
    };
    let mut path = Path::new(settings, 0);
    let lost: Vec<_> = (0..200u64)
        .filter(|&n| send(&mut path, ms(n), 1) != deliver(ms(n + 20)))
        .collect();
    assert_eq!(lost, [10, 11, 12, 13, 14, 100]);
}

#[test]
fn a_cut_begins_at_once_and_can_be_mended_early() {
    let mut path = Path::new(PathSettings::default(), 0);
    path.cut(ms(10), ms(5));
    assert_eq!(
        send(&mut path, ms(14), 1),
        Verdict::Lost(LossReason::Outage)
    );
    assert_eq!(send(&mut path, ms(15), 1), deliver(ms(15)));
    path.cut(ms(20), Duration::MAX);
    assert_eq!(
        send(&mut path, ms(1_000_000), 1),
        Verdict::Lost(LossReason::Outage)
    );
    path.cut(ms(1_000_001), Duration::ZERO);
    assert_eq!(send(&mut path, ms(1_000_001), 1), deliver(ms(1_000_001)));
}

#[test]
fn shapes_of_jitter_have_the_mean_and_the_bounds_of_their_distributions() {
    for (shape, mean, longest) in [
        (JitterShape::Uniform, 5.0, 10.0),
        (JitterShape::Bell, 5.0, 10.0),
        (JitterShape::Exponential, 10.0, 100.0),
    ] {
        let settings = PathSettings {
            jitter: ms(10),
            jitter_shape: shape,
            ..Default::default()
        };
        let at = arrivals(&mut Path::new(settings, 3), 20_000, ms(200), 100);
        let delays: Vec<_> = at
            .iter()
            .zip(0..)
            .map(|(at, n)| (at.unwrap() - ms(200) * n).as_secs_f64() * 1e3)
            .collect();
        let seen = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!((seen - mean).abs() < mean / 30.0, "{shape:?}: {seen} ms");
        let max = delays.iter().copied().fold(0.0, f64::max);
        assert!(max <= longest && max > longest * 0.6, "{shape:?}: {max} ms");
        let square = delays.iter().map(|delay| (delay - seen).powi(2));
        let deviation = (square.sum::<f64>() / delays.len() as f64).sqrt();
        let expected = match shape {
            JitterShape::Uniform => 10.0 / 12f64.sqrt(),
            JitterShape::Bell => 10.0 / 6.0,
            JitterShape::Exponential => 10.0,
        };
        assert!(
            (deviation - expected).abs() < expected / 20.0,
            "{shape:?}: {deviation} ms"
        );
    }
}

#[test]
fn corruption_flips_one_bit_of_as_many_packets_as_were_asked_for() {
    let settings = PathSettings {
        corrupt: Probability::percent(10.0),
        ..Default::default()
    };
    let mut path = Path::new(settings, 5);
    let mut places = std::collections::BTreeSet::new();
    let mut damaged = 0;
    for n in 0..10_000u32 {
        path.send(us(1) * n, packet(10)).unwrap();
        let (_, packet) = path.pop(us(1) * n).unwrap();
        let ones: u32 = packet.payload.iter().map(|byte| byte.count_ones()).sum();
        assert!(ones <= 1);
        damaged += ones;
        let number = packet
            .payload
            .iter()
            .rev()
            .fold(0u128, |all, byte| all << 8 | u128::from(*byte));
        places.insert(number);
    }
    assert!((880..1120).contains(&damaged), "{damaged}");
    assert_eq!(path.stats(ms(1000)).corrupted, u64::from(damaged));
    assert_eq!(places.len(), 81, "all 80 bits, and none");
}

#[test]
fn an_empty_datagram_has_nothing_to_corrupt() {
    let settings = PathSettings {
        corrupt: Probability::ONE,
        ..Default::default()
    };
    let mut path = Path::new(settings, 5);
    assert_eq!(send(&mut path, ms(0), 0), deliver(ms(0)));
    assert_eq!(path.stats(ms(0)).corrupted, 0);
}

#[test]
fn a_duplicate_follows_its_packet_and_takes_its_own_time_on_the_link() {
    let settings = PathSettings {
        delay: ms(10),
        duplicate: Probability::ONE,
        rate: Some(Rate::mbit(10)),
        ..Default::default()
    };
    let mut path = Path::new(settings, 0);
    path.send(ms(0), packet(1250)).unwrap();
    let at: Vec<_> = drain(&mut path, ms(100))
        .iter()
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(at, [ms(11), ms(12)]);
    let stats = path.stats(ms(100));
    assert_eq!((stats.offered.packets, stats.duplicated), (1, 1));
}

#[test]
fn duplicates_come_as_often_as_was_asked_for() {
    let settings = PathSettings {
        duplicate: Probability::percent(5.0),
        ..Default::default()
    };
    let mut path = Path::new(settings, 2);
    for n in 0..20_000 {
        path.send(us(n), packet(1)).unwrap();
    }
    let count = drain(&mut path, ms(1000)).len();
    assert!((20_880..21_120).contains(&count), "{count}");
}

#[test]
fn a_rate_that_falls_holds_back_what_waits_already() {
    let settings = |mbit| PathSettings {
        rate: Some(Rate::mbit(mbit)),
        ..Default::default()
    };
    let mut path = Path::new(settings(10), 0);
    for _ in 0..3 {
        path.send(ms(0), packet(1250)).unwrap();
    }
    // The first packet is on the link; the others take 10 ms each.
    path.set(us(500), settings(1));
    let at: Vec<_> = drain(&mut path, ms(100))
        .iter()
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(at, [ms(1), ms(11), ms(21)]);
}

#[test]
fn a_schedule_changes_the_path_at_its_time_though_nobody_looks() {
    let mut slow = Step {
        at: ms(10),
        cut: None,
        ..Default::default()
    };
    slow.up.delay = Some(ms(50));
    let cut = Step {
        at: ms(20),
        cut: Some(ms(5)),
        ..Default::default()
    };
    let schedule = Schedule::new(vec![slow, cut], Some(ms(100))).unwrap();
    let mut path = Path::scheduled(PathSettings::default(), schedule.up(), 0);
    let mut verdict = |now| path.send(now, packet(1)).err();
    assert_eq!(verdict(ms(9)), None);
    assert_eq!(verdict(ms(10)), None);
    assert_eq!(verdict(ms(24)), Some(LossReason::Outage));
    assert_eq!(verdict(ms(25)), None);
    assert_eq!(verdict(ms(121)), Some(LossReason::Outage), "it repeats");
    let at: Vec<_> = drain(&mut path, ms(500))
        .iter()
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(at, [ms(9), ms(60), ms(75)]);
}

#[test]
fn a_delay_that_falls_by_schedule_is_not_slept_through() {
    let mut step = Step {
        at: ms(10),
        ..Default::default()
    };
    step.up.delay = Some(ms(0));
    let schedule = Schedule::new(vec![step], None).unwrap();
    let settings = PathSettings {
        delay: ms(100),
        rate: Some(Rate::mbit(1)),
        order: Order::Free,
        ..Default::default()
    };
    let mut path = Path::scheduled(settings, schedule.up(), 0);
    for _ in 0..2 {
        path.send(ms(0), packet(1250)).unwrap();
    }
    let mut at = Vec::new();
    while let Some(next) = path.next_at() {
        at.extend(
            path.pop(next)
                .map(|(at, packet)| (at, packet.payload.len())),
        );
    }
    // The first left for 100 ms before the step, the second takes its place on the link at 10 ms.
    assert_eq!(at, [(ms(20), 1250), (ms(110), 1250)]);
}

#[test]
fn codel_keeps_the_wait_short_where_drop_tail_fills_the_queue() {
    let run = |aqm| {
        let settings = PathSettings {
            rate: Some(Rate::mbit(10)),
            queue: QueueLimit::Time(ms(500)),
            aqm,
            ..Default::default()
        };
        let mut path = Path::new(settings, 0);
        let mut worst = Duration::ZERO;
        // A flow that halves its rate on a loss and adds a little at each packet that arrives, roughly as TCP.
        let (mut gap, mut now, mut lost) = (1000.0f64, Duration::ZERO, 0);
        while now < Duration::from_secs(30) {
            let _ = path.send(now, packet(1250));
            now += Duration::from_nanos((gap * 1000.0) as u64);
            while path.pop(now).is_some() {
                gap = (gap * 0.999).max(500.0);
            }
            let stats = path.stats(now);
            if stats.lost.total() > lost {
                lost = stats.lost.total();
                gap *= 1.5;
            }
            if now > Duration::from_secs(5) {
                worst = worst.max(ms(stats.queued.packets));
            }
        }
        (worst, path.stats(now))
    };
    let (tail, stats) = run(Aqm::DropTail);
    assert!(tail >= ms(490) && stats.lost.queue > 0, "{tail:?}");
    let (codel, stats) = run(Aqm::CoDel(CoDelSettings::default()));
    assert!(codel < ms(250), "{codel:?}");
    assert!(stats.lost.codel > 0 && stats.lost.queue == 0, "{stats:?}");
}

#[test]
fn what_is_under_way_is_bounded() {
    let settings = PathSettings {
        delay: Duration::from_secs(3600),
        ..Default::default()
    };
    let mut path = Path::new(settings, 0);
    let packets = path.limits.packets;
    for _ in 0..packets {
        path.send(ms(0), packet(1)).unwrap();
    }
    assert_eq!(path.send(ms(0), packet(1)), Err(LossReason::Overflow));
    assert_eq!(path.stats(ms(0)).lost.overflow, 1);
}

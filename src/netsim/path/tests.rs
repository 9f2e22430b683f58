use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn deliver(at: Duration) -> Verdict {
    Verdict::Deliver { at }
}

fn arrivals(path: &mut Path, count: u64, gap: Duration, len: usize) -> Vec<Option<Duration>> {
    (0..count)
        .map(|n| match path.send(gap * n as u32, len) {
            Verdict::Deliver { at } => Some(at),
            Verdict::Lost(_) => None,
        })
        .collect()
}

#[test]
fn a_perfect_path_delivers_at_once() {
    let mut path = Path::new(PathSettings::default(), 0);
    assert_eq!(path.send(ms(5), 1200), deliver(ms(5)));
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
        assert_eq!(path.send(us(n * 7), 1200), deliver(us(n * 7) + ms(20)));
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
    assert_eq!(path.send(ms(0), 1), deliver(ms(100)));
    path.set(PathSettings::default());
    assert_eq!(path.send(ms(10), 1), deliver(ms(100)));
    assert_eq!(path.send(ms(110), 1), deliver(ms(110)));
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
            .filter(|&n| path.send(gap * n, len) == Verdict::Lost(LossReason::Random))
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
        .filter(|&n| path.send(ms(n), 1) != deliver(ms(n)))
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
    assert_eq!(path.send(ms(0), 1250), deliver(ms(11)));
    assert_eq!(path.send(ms(0), 1250), deliver(ms(12)));
    assert_eq!(path.send(us(500), 1250), deliver(ms(13)));
    assert_eq!(
        path.send(ms(50), 1250),
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
        last = path.send(ms(0), 1201);
    }
    let nanos = 100_000u128 * 1201 * 8 * NANOS / 7_000_003;
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
        assert_eq!(path.send(ms(0), 1250), deliver(ms(n)));
    }
    assert_eq!(path.send(ms(0), 1250), Verdict::Lost(LossReason::Queue));
    assert_eq!(path.send(ms(1), 1250), deliver(ms(5)), "room again");
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
        path.send(ms(0), 9000),
        deliver(us(7200)),
        "an idle link takes any packet"
    );
    assert_eq!(path.send(ms(0), 1), Verdict::Lost(LossReason::Queue));
    // 1250 bytes of the first are left at 6.2 ms.
    assert_eq!(path.send(us(6200), 1250), deliver(us(8200)));
    assert_eq!(path.send(us(6200), 1), Verdict::Lost(LossReason::Queue));
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
        .filter(|&n| path.send(ms(n), 1) != deliver(ms(n + 20)))
        .collect();
    assert_eq!(lost, [10, 11, 12, 13, 14, 100]);
}

#[test]
fn a_cut_begins_at_once_and_can_be_mended_early() {
    let mut path = Path::new(PathSettings::default(), 0);
    path.cut(ms(10), ms(5));
    assert_eq!(path.send(ms(14), 1), Verdict::Lost(LossReason::Outage));
    assert_eq!(path.send(ms(15), 1), deliver(ms(15)));
    path.cut(ms(20), Duration::MAX);
    assert_eq!(
        path.send(ms(1_000_000), 1),
        Verdict::Lost(LossReason::Outage)
    );
    path.cut(ms(1_000_001), Duration::ZERO);
    assert_eq!(path.send(ms(1_000_001), 1), deliver(ms(1_000_001)));
}

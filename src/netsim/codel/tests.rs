use super::super::packet::{Ecn, Packet};
use super::super::settings::JitterDraw;
use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A queue that gets a packet of 1250 bytes every `gap` and gives one each millisecond; returns the times of drops and
/// the waits of what it gave.
fn run(gap: Duration, length: Duration, settings: CoDelSettings, ecn: Ecn) -> Run {
    let mut codel = CoDel::default();
    let mut queue = Fifo::default();
    let mut result = Run::default();
    let mut next = Duration::ZERO;
    let mut now = Duration::ZERO;
    while now < length {
        while next <= now {
            queue.push(Queued {
                packet: Packet {
                    payload: vec![0; 1250].into(),
                    ecn,
                    to: (),
                },
                entered: next,
                jitter: JitterDraw([0.0; 3]),
            });
            next += gap;
        }
        let mut toll = Toll::default();
        if let Some(given) = codel.dequeue(now, &mut queue, &settings, &mut toll) {
            result.waits.push(now - given.entered);
            result.marks += u64::from(given.packet.ecn == Ecn::Ce);
        }
        result.drops.extend((0..toll.dropped).map(|_| now));
        assert!(toll.dropped == 0 || toll.marked == 0);
        now += ms(1);
    }
    result
}

#[derive(Default)]
struct Run {
    drops: Vec<Duration>,
    marks: u64,
    waits: Vec<Duration>,
}

#[test]
fn nothing_is_dropped_while_the_wait_is_short() {
    let run = run(ms(1), ms(5000), CoDelSettings::default(), Ecn::None);
    assert!(run.drops.is_empty(), "{:?}", run.drops);
    assert!(run.waits.iter().all(|wait| *wait <= ms(1)));
}

#[test]
fn the_first_drop_comes_an_interval_after_the_wait_exceeds_the_target() {
    // Two packets come for one that leaves: after n ms the wait is n/2 ms, above the target from 10 ms on.
    let run = run(
        Duration::from_micros(500),
        ms(400),
        CoDelSettings::default(),
        Ecn::None,
    );
    let first = run.drops[0];
    assert!((ms(108)..=ms(114)).contains(&first), "{first:?}");
}

#[test]
fn drops_come_faster_with_the_square_root_of_their_number() {
    let run = run(
        Duration::from_micros(500),
        ms(600),
        CoDelSettings::default(),
        Ecn::None,
    );
    let gaps: Vec<_> = run.drops.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // interval / √1, √2, √3 … from the law; the link looks each millisecond.
    for (gap, n) in gaps.iter().zip(1u32..) {
        let expected = ms(100).div_f64(f64::from(n).sqrt());
        assert!(
            gap.abs_diff(expected) <= ms(2),
            "{n}: {gap:?}, not {expected:?}"
        );
    }
    assert!(gaps.len() >= 6, "{gaps:?}");
}

#[test]
fn a_slight_overload_is_held_near_the_target() {
    // 5 % too much: the standing queue would grow by 50 ms each second.
    let run = run(
        Duration::from_micros(952),
        Duration::from_secs(60),
        CoDelSettings::default(),
        Ecn::None,
    );
    let late = &run.waits[run.waits.len() / 2..];
    let mean = late.iter().sum::<Duration>() / late.len() as u32;
    assert!(mean < ms(30), "{mean:?}");
    let share = run.drops.len() as f64 / 60_000.0;
    assert!((0.02..0.08).contains(&share), "{share}");
}

#[test]
fn capable_flows_are_marked_in_place_of_dropped() {
    let settings = CoDelSettings {
        ecn: true,
        ..Default::default()
    };
    let gap = Duration::from_micros(500);
    let marked = run(gap, ms(600), settings, Ecn::Ect0);
    assert!(marked.drops.is_empty());
    assert!(marked.marks >= 6, "{}", marked.marks);
    let dropped = run(gap, ms(600), settings, Ecn::None);
    assert!(dropped.drops.len() >= 6 && dropped.marks == 0);
}

#[test]
fn a_queue_of_one_packet_is_never_blamed() {
    let mut codel = CoDel::default();
    let mut queue = Fifo::default();
    for n in 0..100 {
        queue.push(Queued {
            packet: Packet {
                payload: vec![0; 1250].into(),
                ecn: Ecn::None,
                to: (),
            },
            entered: ms(n * 500),
            jitter: JitterDraw([0.0; 3]),
        });
        let mut toll = Toll::default();
        let now = ms(n * 500 + 400);
        assert!(
            codel
                .dequeue(now, &mut queue, &CoDelSettings::default(), &mut toll)
                .is_some()
        );
        assert_eq!(toll, Toll::default());
    }
}

use proptest::prelude::*;

use super::*;

const MTU: u16 = 1200;
const RTT: Nanos = 40 * MILLISECOND;

/// A path without loss or queue that acknowledges `bytes` each millisecond, a round trip later.
fn deliver(live: &mut Live, from: Nanos, to: Nanos, bytes: u64, app_limited: bool) {
    let mut now = from;
    while now < to {
        live.on_sent(now, bytes);
        if now - from >= RTT {
            live.on_ack(now, now - RTT, bytes, app_limited);
            live.on_end_acks(now, bytes * 40, app_limited);
        }
        now += MILLISECOND;
    }
}

#[test]
fn the_first_flight_holds_a_key_frame() {
    let live = Live::new(0, MTU);
    assert_eq!(live.window(0), 38_400);
}

#[test]
fn an_application_that_sends_less_keeps_its_window_and_does_not_grow_it() {
    let mut live = Live::new(0, MTU);
    deliver(&mut live, 0, SECOND, 1200, false);
    let window = live.window(SECOND);
    // It grows for as long as a quarter of it is used: 48,000 bytes are under way.
    assert!((192_000..230_000).contains(&window), "{window}");
    deliver(&mut live, SECOND, 20 * SECOND, 500, true);
    assert_eq!(live.window(20 * SECOND), window);
}

#[test]
fn scattered_losses_leave_room_for_the_rate_and_for_growth_once_they_are_known() {
    let mut live = Live::new(0, MTU);
    deliver(&mut live, 0, 4 * SECOND, 1200, false);
    let mut windows = Vec::new();
    for ms in 0..10_000 {
        let now = 4 * SECOND + ms * MILLISECOND;
        live.on_sent(now, 1200);
        if ms % 20 == 0 {
            live.on_congestion(now, now - RTT, 1200, false);
        } else {
            live.on_ack(now, now - RTT, 1200, false);
        }
        live.on_end_acks(now, 48_000, false);
        windows.push(live.window(now));
    }
    // Loss that begins looks like a queue that overflows: then the window holds what is under way at this rate. Once it is
    // known as what the path loses at any load, the window grows as without it.
    let under_way = 1200 * 40;
    let least = windows.iter().min().unwrap();
    assert!((under_way..under_way * 11 / 10).contains(least), "{least}");
    let last = windows.last().unwrap();
    assert!((192_000..230_000).contains(last), "{last}");
}

#[test]
fn more_than_a_tenth_lost_is_congestion() {
    let mut live = Live::new(0, MTU);
    deliver(&mut live, 0, 4 * SECOND, 1200, false);
    for ms in 0..6000 {
        let now = 4 * SECOND + ms * MILLISECOND;
        live.on_sent(now, 1200);
        if ms % 4 == 0 {
            live.on_congestion(now, now - RTT, 1200, false);
        } else {
            live.on_ack(now, now - RTT, 1200, false);
        }
        live.on_end_acks(now, 48_000, false);
    }
    // Less by three tenths, five times in six seconds: the first second is too short to tell. The first time it is of what
    // is left of the window once loss has made it fit, which is a tenth more than what is under way.
    let lowered = (1200.0 * 44.0 * 0.7f64.powi(5)) as u64;
    let window = live.window(10 * SECOND);
    assert!(window.abs_diff(lowered) < 100, "{window}, not {lowered}");
}

#[test]
fn while_nothing_is_heard_one_packet_goes_every_50_ms() {
    let mut live = Live::new(0, MTU);
    deliver(&mut live, 0, SECOND, 1200, false);
    let cut = SECOND;
    // The window fills up.
    let mut in_flight = 48_000;
    while in_flight < live.window(cut) {
        live.on_sent(cut, 1200);
        in_flight += 1200;
    }
    let mut sent = Vec::new();
    for ms in 1..2000 {
        let now = cut + ms * MILLISECOND;
        // As quinn decides.
        if in_flight + 1200 < live.window(now) {
            live.on_sent(now, 1200);
            in_flight += 1200;
            sent.push(ms);
        }
    }
    assert!((30..=36).contains(&sent.len()), "{sent:?}");
    assert!(
        sent.windows(2).all(|pair| pair[1] - pair[0] >= 50),
        "{sent:?}"
    );
    assert!(sent[0] <= 300, "{sent:?}");
}

#[test]
fn after_silence_the_first_answer_opens_half_of_the_window_at_once() {
    let mut live = Live::new(0, MTU);
    deliver(&mut live, 0, SECOND, 3000, false);
    let window = live.window(SECOND);
    let back = 6 * SECOND;
    live.on_sent(back - RTT, 1200);
    live.on_ack(back, back - RTT, 1200, false);
    live.on_end_acks(back, 1200, false);
    live.on_congestion(back, SECOND, window, true);
    assert!(live.window(back) >= window / 2, "{window}");
    assert!(live.window(back) <= window);
}

#[test]
fn a_mark_of_the_path_lowers_the_window_once_in_a_round_trip() {
    let mut live = Live::new(0, MTU);
    deliver(&mut live, 0, SECOND, 1200, false);
    live.on_congestion(SECOND, SECOND - MILLISECOND, 0, false);
    let window = live.window(SECOND);
    live.on_congestion(SECOND, SECOND - MILLISECOND, 0, false);
    assert_eq!(live.window(SECOND), window);
}

#[derive(Debug, Clone)]
enum Call {
    Sent(u64),
    Ack {
        ago: i64,
        bytes: u64,
        app_limited: bool,
    },
    EndAcks(u64),
    Congestion {
        ago: i64,
        bytes: u64,
        persistent: bool,
    },
    Mtu(u16),
}

fn call() -> impl Strategy<Value = (i64, Call)> {
    let bytes = prop_oneof![0..100_000u64, Just(u64::MAX)];
    let ago = prop_oneof![-SECOND..10 * SECOND, Just(i64::MAX), Just(i64::MIN)];
    let call = prop_oneof![
        bytes.clone().prop_map(Call::Sent),
        (ago.clone(), bytes.clone(), any::<bool>()).prop_map(|(ago, bytes, app_limited)| {
            Call::Ack {
                ago,
                bytes,
                app_limited,
            }
        }),
        bytes.clone().prop_map(Call::EndAcks),
        (ago, bytes, any::<bool>()).prop_map(|(ago, bytes, persistent)| Call::Congestion {
            ago,
            bytes,
            persistent
        }),
        any::<u16>().prop_map(Call::Mtu),
    ];
    (prop_oneof![0..SECOND, Just(0), -SECOND..0], call)
}

proptest! {
    #[test]
    fn whatever_is_acknowledged_the_window_stays_within_its_bounds(
        calls in proptest::collection::vec(call(), 1..400)
    ) {
        let mut live = Live::new(0, MTU);
        let mut now: Nanos = 0;
        for (step, call) in calls {
            now += step;
            match call {
                Call::Sent(bytes) => live.on_sent(now, bytes),
                Call::Ack { ago, bytes, app_limited } => {
                    live.on_ack(now, now.saturating_sub(ago), bytes, app_limited);
                }
                Call::EndAcks(in_flight) => live.on_end_acks(now, in_flight, false),
                Call::Congestion { ago, bytes, persistent } => {
                    live.on_congestion(now, now.saturating_sub(ago), bytes, persistent);
                }
                Call::Mtu(mtu) => live.on_mtu(mtu),
            }
            prop_assert!(live.window(now) >= MIN_PACKETS * live.mtu);
            prop_assert!(live.base_window() <= MAX_WINDOW);
        }
    }
}

//! Joining: backlogs, tracks of all kinds.

use super::*;

#[test]
fn a_join_into_a_long_gop_as_a_burst_settles_at_the_live_edge_row_1() {
    for into in [0, 40, 700, 1333, 1960] {
        // The GOP began at 4 s; the join is `into` later, and its backlog comes within 2 ms.
        let open = ORIGIN + 4 * SECOND + into * MS;
        let mut all = joined_at(open, video(4 * SECOND, 9 * SECOND, path), |n| {
            n as i64 * 40_000
        });
        all.extend(joined_at(open, audio(4 * SECOND, 9 * SECOND, path), |n| {
            n as i64 * 10_000
        }));
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        let (at, edge, offset) = settled_once(&run(&mut timeline, all));
        assert!(
            (offset - ORIGIN - DELAY).abs() <= 3 * MS,
            "{into}: {offset}"
        );
        assert!(at - open <= 90 * MS, "{into}: {}", at - open);
        assert!(edge <= at && at - edge <= 60 * MS);
    }
}

#[test]
fn a_join_between_two_frames_waits_for_the_first_that_comes_at_the_live_pace() {
    for into in 0..80 {
        // Nothing but the backlog within the hold of 20 ms, whose newest frame is up to 40 ms old.
        let open = ORIGIN + 4 * SECOND + DELAY + into * MS;
        let backlog = joined_at(open, video(4 * SECOND, 9 * SECOND, path), |n| {
            n as i64 * 40_000
        });
        let mut timeline = timeline(&[VIDEO]);
        let (at, _, offset) = settled_once(&run(&mut timeline, backlog));
        let off = (offset - ORIGIN - DELAY).abs();
        assert!(off <= 3 * MS, "{into} ms in: {off}");
        assert!(
            at - open <= 2 * FRAME + 5 * MS,
            "{into} ms in: {}",
            at - open
        );
    }
}

#[test]
fn flights_of_a_slow_start_do_not_settle_it_early() {
    let (rtt, open) = (40 * MS, ORIGIN + 4 * SECOND + 1500 * MS);
    // Flights of 2, 4, 8, … frames, a round trip apart.
    let flight = |n: usize| (n / 2 + 1).ilog2() as i64 * rtt;
    let mut all = joined_at(open, video(4 * SECOND, 9 * SECOND, path), flight);
    all.extend(audio(5 * SECOND + 500 * MS, 9 * SECOND, path));
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    timeline.set_hold(rtt * 3 / 2);
    let (at, edge, offset) = settled_once(&run(&mut timeline, all));
    assert!((offset - ORIGIN - DELAY).abs() <= 3 * MS, "{offset}");
    assert!(at - open <= 400 * MS && edge <= at);
}

#[test]
fn a_backlog_that_goes_on_after_settling_is_reported_once_and_then_presented_on_time() {
    let open = ORIGIN + 6 * SECOND;
    // The flights are further apart than the hold: loss in the slow start.
    let all = joined_at(open, video(4 * SECOND, 12 * SECOND, path), |n| {
        (n as i64 / 16) * 150 * MS
    });
    let mut timeline = timeline(&[VIDEO]);
    let seen = run(&mut timeline, all);
    assert_eq!(seen.count(Event::Resettle), 1, "{:?}", seen.events);
    assert_eq!(seen.events.len(), 1);
    assert_eq!(seen.settled.len(), 2);
    assert!((seen.settled[1].2 - ORIGIN - DELAY).abs() <= 3 * MS);
}

/// A path that carries so many hundredths of a stream whose groups of 2 s are sent from their starts on, each until the next begins.
fn narrow(share: i64) -> impl Fn(&Arrival) -> Option<Arrival> {
    move |arrival| {
        let start = arrival.media / (2 * SECOND) * 2 * SECOND;
        let sent = start + (arrival.media - start) * 100 / share;
        let now = ORIGIN + DELAY + sent + FRAME;
        (sent < start + 2 * SECOND).then_some(Arrival { now, ..*arrival })
    }
}

#[test]
fn a_join_over_a_path_that_cannot_carry_the_stream_settles_where_the_next_group_begins() {
    for into in [300, 700, 1100] {
        // The group that is under way comes from its start, and falls further behind with each frame.
        let open = into * MS;
        let group = |arrival: &Arrival| Arrival {
            now: ORIGIN + open + DELAY + FRAME + (arrival.media - 4 * SECOND) * 3 / 2 + 4 * SECOND,
            ..*arrival
        };
        let all = video(4 * SECOND, 12 * SECOND, path);
        let (first, rest) = all.split_at(50);
        let first = first.iter().map(group);
        let first = first.filter(|arrival| arrival.now < ORIGIN + 6 * SECOND + DELAY);
        let mut all: Vec<_> = first.collect();
        all.extend(rest.iter().filter_map(narrow(75)));
        all.extend(joined_at(
            ORIGIN + 4 * SECOND + open,
            audio(4 * SECOND, 12 * SECOND, path),
            |_| 0,
        ));
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        timeline.set_hold(60 * MS);
        timeline.set_tolerance(320 * MS);
        let (at, _, offset) = settled_once(&run(&mut timeline, all));
        let off = offset - ORIGIN - DELAY - FRAME;
        assert!(off.abs() <= 20 * MS, "{into}: {off}");
        assert!(at < ORIGIN + 6 * SECOND + 200 * MS, "{into}: {at}");
    }
}

/// Decoding order of mini-GOPs of a P and two B-frames, in GOPs that are closed.
fn reordered(to: Nanos, path: impl Fn(Nanos) -> Nanos) -> Vec<Arrival> {
    let order = |n: i64| {
        let (gop, at) = (n / 25, n % 25);
        let shown = match at {
            0 => 0,
            at if at % 3 == 1 => at + 2,
            at => at - 1,
        };
        gop * 25 + shown
    };
    (0..to / FRAME)
        .map(|n| Arrival {
            // The encoder gives each frame out when its turn to be decoded has come.
            now: ORIGIN + n * FRAME + path(n * FRAME),
            track: VIDEO,
            group: (n / 25) as u64,
            media: order(n) * FRAME,
        })
        .collect()
}

#[test]
fn frames_that_are_reordered_all_arrive_in_time_and_are_no_jump() {
    for depth in [None, Some(1)] {
        let mut timeline = timeline(&[VIDEO]);
        if let Some(depth) = depth {
            timeline.set_reorder_depth(VIDEO, depth);
        }
        let arrivals = reordered(20 * SECOND, path);
        let open = ORIGIN + 600 * MS;
        let arrivals = joined_at(open, arrivals, |n| n as i64 * 100_000);
        let last = arrivals.iter().map(|arrival| arrival.now).max().unwrap();
        let check = arrivals.clone();
        let (_, edge, offset) = settled_once(&run(&mut timeline, arrivals));
        // B-frames arrive a frame after their capture; the mapping has to have room for them.
        assert!(
            (offset - ORIGIN - DELAY - FRAME).abs() <= 3 * MS,
            "{depth:?}: {offset}"
        );
        let in_segment = |arrival: &&Arrival| arrival.media + offset >= edge + FRAME;
        for arrival in check.iter().filter(in_segment) {
            assert!(
                arrival.media + offset >= arrival.now - 3 * MS,
                "{arrival:?}"
            );
        }
        assert_eq!(timeline.live_edge(last), Some(last));
    }
}

#[test]
fn audio_alone_and_video_alone_settle() {
    for (track, step, arrivals) in [
        (AUDIO, PACKET, audio(SECOND, 10 * SECOND, path)),
        (VIDEO, FRAME, video(SECOND, 10 * SECOND, path)),
    ] {
        let mut timeline = timeline(&[track]);
        let first = arrivals[0].now;
        let (at, _, offset) = settled_once(&run(&mut timeline, arrivals));
        assert!(at - first <= step + 5 * MS);
        assert_eq!(offset, ORIGIN + DELAY);
    }
}

#[test]
fn a_silent_track_holds_the_others_up_for_little_more_than_a_frame() {
    let mut timeline = timeline(&[VIDEO, AUDIO, TrackId(2)]);
    let mut all = video(4 * SECOND, 8 * SECOND, path);
    all.extend(audio(4 * SECOND, 8 * SECOND, path));
    let first = all[0].now;
    let (at, _, _) = settled_once(&run(&mut timeline, all));
    assert!(at - first <= FRAME + 5 * MS, "{}", at - first);
}

#[test]
fn a_sparse_track_neither_disturbs_nor_is_disturbed() {
    const SPARSE: TrackId = TrackId(2);
    let mut timeline = timeline(&[VIDEO, SPARSE]);
    let mut all = video(4 * SECOND, 300 * SECOND, path);
    all.extend(live(
        SPARSE,
        (4 * SECOND, 300 * SECOND),
        17 * SECOND,
        1,
        |_| DELAY + 5 * MS,
    ));
    let seen = run(&mut timeline, all);
    assert_eq!(seen.events, []);
    let range = ORIGIN + DELAY - MS..=ORIGIN + DELAY + 6 * MS;
    assert!(
        seen.offsets
            .iter()
            .all(|(_, offset)| range.contains(offset))
    );
}

#[test]
fn a_track_that_its_encoder_delays_sets_the_pace_and_stays_in_sync() {
    let open = ORIGIN + 5 * SECOND;
    let mut all = joined_at(
        open,
        video(4 * SECOND, 14 * SECOND, |_| DELAY + 500 * MS),
        |_| 0,
    );
    all.extend(joined_at(open, audio(4 * SECOND, 14 * SECOND, path), |_| 0));
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    let (_, _, offset) = settled_once(&run(&mut timeline, all));
    assert!((offset - ORIGIN - DELAY - 500 * MS).abs() <= 3 * MS);
    assert_eq!(timeline.delay(VIDEO), Some(0));
    assert_eq!(timeline.delay(AUDIO), Some(-500 * MS));
}

#[test]
fn a_track_added_later_disturbs_nobody_with_its_backlog() {
    let mut all = video(4 * SECOND, 20 * SECOND, path);
    let open = ORIGIN + 10 * SECOND;
    let late = joined_at(open, audio(8 * SECOND, 20 * SECOND, path), |n| {
        n as i64 * 500_000
    });
    all.extend(late);
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    let seen = run(&mut timeline, all);
    let (_, _, offset) = settled_once(&seen);
    assert!(
        seen.offsets
            .iter()
            .all(|seen| (seen.1 - offset).abs() <= 3 * MS)
    );
}

/// Every second frame is late by up to three times 50 ms, and holds up those that follow it in its group.
fn lossy(seed: u64, arrivals: Vec<Arrival>) -> Vec<Arrival> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut free = (0, Nanos::MIN);
    let late = |mut arrival: Arrival| {
        let repeats = (0..3).take_while(|_| rng.i64(0..100) < 50).count();
        arrival.now += repeats as i64 * 50 * MS;
        if free.0 == arrival.group {
            arrival.now = arrival.now.max(free.1);
        }
        free = (arrival.group, arrival.now);
        arrival
    };
    arrivals.into_iter().map(late).collect()
}

#[test]
fn a_join_over_a_path_that_loses_packets_is_presented_as_early_as_it_can_be_soon_after() {
    for seed in 0..50 {
        let open = ORIGIN + 4 * SECOND + 700 * MS;
        let flights = |n: usize| (n / 8) as i64 * 30 * MS;
        let joined = joined_at(open, video(4 * SECOND, 20 * SECOND, path), flights);
        let mut all = lossy(seed, joined);
        let sound = joined_at(open, audio(4 * SECOND, 20 * SECOND, path), |_| 0);
        all.extend(lossy(1000 + seed, sound));
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        timeline.set_hold(60 * MS);
        let seen = run(&mut timeline, all);
        assert!(
            seen.events
                .iter()
                .all(|(_, _, event)| *event == Event::Resettle),
            "{seed}: {:?}",
            seen.events
        );
        assert!(seen.count(Event::Resettle) <= 1, "{seed}");
        let soon = open + 4 * SECOND;
        let worst = seen.offsets.iter().filter(|(now, _)| *now >= soon);
        let worst = worst.map(|(_, offset)| offset - ORIGIN - DELAY).max();
        assert!(worst.unwrap() <= 30 * MS, "{seed}: {worst:?}");
        let last = seen.offsets.last().unwrap().1 - ORIGIN - DELAY;
        assert!(last.abs() <= 3 * MS, "{seed}: {last}");
    }
}

#[test]
fn what_records_keeps_the_distances_of_frames_however_late_its_start_was_settled() {
    // 150 ms sooner from 0.7 s on, where a player would present everything sooner.
    let path = |media: Nanos| {
        let since = (media - 4 * SECOND - 700 * MS).max(0);
        DELAY + (150 * MS - since / 4).max(0)
    };
    for corrects in [true, false] {
        let mut all = video(4 * SECOND, 12 * SECOND, path);
        all.extend(audio(4 * SECOND, 12 * SECOND, path));
        let config = Config {
            corrects,
            ..Config::default()
        };
        let mut timeline = Timeline::new(config);
        timeline.add_track(VIDEO);
        timeline.add_track(AUDIO);
        let seen = run(&mut timeline, all);
        assert_eq!(seen.count(Event::Resettle), usize::from(corrects));
        let fell = seen.offsets[0].1 - seen.offsets.last().expect("settled").1;
        // 500 ppm of 8 s.
        assert_eq!(fell > 5 * MS, corrects, "{fell}");
    }
}

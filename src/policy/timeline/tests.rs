//! Simulated paths in virtual time.

use super::*;

const MS: Nanos = MILLISECOND;
const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);
const FRAME: Nanos = 40 * MS;
const PACKET: Nanos = 20 * MS;
/// Running time at which media time is 0 at the publisher.
const ORIGIN: Nanos = 5 * SECOND;

#[derive(Debug, Clone, Copy)]
struct Arrival {
    now: Nanos,
    track: TrackId,
    group: u64,
    media: Nanos,
}

/// What a simulation saw.
#[derive(Debug, Default)]
struct Seen {
    /// Events other than `Ok`, with when and on which track.
    events: Vec<(Nanos, TrackId, Event)>,
    /// When the timeline settled, at which edge and which offset.
    settled: Vec<(Nanos, Nanos, Nanos)>,
    /// Offsets after each arrival while settled.
    offsets: Vec<(Nanos, Nanos)>,
}

impl Seen {
    fn count(&self, event: Event) -> usize {
        self.events.iter().filter(|seen| seen.2 == event).count()
    }
}

/// Feeds the arrivals in order of time and polls as a caller does: after each, and when told to.
fn run(timeline: &mut Timeline, mut arrivals: Vec<Arrival>) -> Seen {
    arrivals.sort_by_key(|arrival| arrival.now);
    let mut seen = Seen::default();
    let mut check_at: Option<Nanos> = None;
    for arrival in arrivals {
        while let Some(at) = check_at.filter(|&at| at < arrival.now) {
            check_at = look(timeline, at, &mut seen);
        }
        let Arrival {
            now,
            track,
            group,
            media,
        } = arrival;
        let event = timeline.arrived(track, group, media, now);
        if event != Event::Ok {
            seen.events.push((now, track, event));
        }
        check_at = look(timeline, now, &mut seen);
        if let Some(offset) = timeline.offset() {
            seen.offsets.push((now, offset));
        }
    }
    while let Some(at) = check_at {
        check_at = look(timeline, at, &mut seen);
    }
    seen
}

fn look(timeline: &mut Timeline, now: Nanos, seen: &mut Seen) -> Option<Nanos> {
    let was = timeline.offset().is_some();
    match timeline.poll(now) {
        Phase::Unsettled { check_at } => {
            assert!(check_at > now, "a poll at the time given makes progress");
            // Nothing has come yet: nothing to look for.
            timeline.first.is_some().then_some(check_at)
        }
        Phase::Settled { edge } => {
            let offset = timeline.offset().unwrap();
            if !was {
                seen.settled.push((now, edge, offset));
            }
            None
        }
    }
}

fn timeline(tracks: &[TrackId]) -> Timeline {
    let mut timeline = Timeline::new(Config::default());
    tracks.iter().for_each(|&track| timeline.add_track(track));
    timeline
}

/// A stream at the live edge: media times `from..to`, each arriving when `path` says after its capture.
fn live(
    track: TrackId,
    (from, to): (Nanos, Nanos),
    step: Nanos,
    per_group: i64,
    path: impl Fn(Nanos) -> Nanos,
) -> Vec<Arrival> {
    (from / step..to / step)
        .map(|n| Arrival {
            now: ORIGIN + n * step + path(n * step),
            track,
            group: (n / per_group) as u64,
            media: n * step,
        })
        .collect()
}

fn video(from: Nanos, to: Nanos, path: impl Fn(Nanos) -> Nanos) -> Vec<Arrival> {
    live(VIDEO, (from, to), FRAME, 50, path)
}

fn audio(from: Nanos, to: Nanos, path: impl Fn(Nanos) -> Nanos) -> Vec<Arrival> {
    live(AUDIO, (from, to), PACKET, 25, path)
}

/// Nothing arrives before `open`, the moment of the join, and the backlog then by `rank`.
fn joined_at(open: Nanos, arrivals: Vec<Arrival>, rank: impl Fn(usize) -> Nanos) -> Vec<Arrival> {
    arrivals
        .into_iter()
        .enumerate()
        .map(|(n, arrival)| Arrival {
            now: arrival.now.max(open + rank(n)),
            ..arrival
        })
        .collect()
}

fn random(seed: u64, amplitude: Nanos) -> impl Fn(Nanos) -> Nanos {
    let rng = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
    move |_| rng.borrow_mut().i64(-amplitude..=amplitude)
}

fn settled_once(seen: &Seen) -> (Nanos, Nanos, Nanos) {
    assert_eq!(seen.events, [], "events");
    assert_eq!(seen.settled.len(), 1, "{:?}", seen.settled);
    seen.settled[0]
}

const DELAY: Nanos = 20 * MS;

fn path(_: Nanos) -> Nanos {
    DELAY
}

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

#[test]
fn jitter_neither_moves_the_mapping_nor_ends_the_epoch() {
    for seed in 0..20 {
        let path = |seed| {
            let jitter = random(seed, 30 * MS);
            move |media| 50 * MS + jitter(media)
        };
        let mut all = video(4 * SECOND, 64 * SECOND, path(seed));
        all.extend(audio(4 * SECOND, 64 * SECOND, path(seed + 100)));
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        let seen = run(&mut timeline, all);
        assert_eq!(seen.events, [], "seed {seed}");
        for (now, offset) in &seen.offsets {
            let over = offset - ORIGIN - DELAY;
            assert!(
                (0..=60 * MS).contains(&over),
                "seed {seed}: {over} at {now}"
            );
        }
        let jitter = timeline.jitter(VIDEO).unwrap();
        assert!((45 * MS..=60 * MS).contains(&jitter), "{jitter}");
    }
}

#[test]
fn an_hour_of_drift_is_followed_within_3_ms() {
    for ppm in [-200, 200] {
        let hour = 3600 * SECOND;
        let drift = |media: Nanos| DELAY + media / 1_000_000 * ppm;
        let mut all = video(0, hour, drift);
        all.extend(audio(0, hour, drift));
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        let seen = run(&mut timeline, all);
        assert_eq!(seen.events, []);
        for (now, offset) in &seen.offsets {
            let due = ORIGIN + drift(now - ORIGIN);
            assert!(
                (offset - due).abs() <= 3 * MS,
                "{ppm} ppm at {now}: {}",
                offset - due
            );
        }
    }
}

#[test]
fn with_drift_and_jitter_an_hour_passes_without_a_new_epoch() {
    for ppm in [-200, 200] {
        let jitter = random(9, 30 * MS);
        let drift = |media: Nanos| 50 * MS + jitter(media) + media / 1_000_000 * ppm;
        let mut timeline = timeline(&[VIDEO]);
        let seen = run(&mut timeline, video(0, 3600 * SECOND, drift));
        assert_eq!(seen.events, []);
    }
}

/// From media time `at` on the publisher's media times are off by `by`, the groups going on.
fn shifted(arrivals: Vec<Arrival>, at: Nanos, by: Nanos) -> Vec<Arrival> {
    arrivals
        .into_iter()
        .map(|arrival| Arrival {
            media: arrival.media + if arrival.media >= at { by } else { 0 },
            ..arrival
        })
        .collect()
}

fn check_jump(by: Nanos, audio_delay: Nanos) {
    let mut all = shifted(video(4 * SECOND, 14 * SECOND, path), 8 * SECOND, by);
    all.extend(shifted(
        audio(4 * SECOND, 14 * SECOND, |_| DELAY + audio_delay),
        8 * SECOND,
        by,
    ));
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    let seen = run(&mut timeline, all);
    assert_eq!(seen.count(Event::Jumped), 1, "{by}: {:?}", seen.events);
    let others = seen.events.len() - 1;
    assert_eq!(seen.count(Event::Stale), others, "{by}: {:?}", seen.events);
    assert_eq!(seen.settled.len(), 2, "{by}");
    let due = ORIGIN - by + DELAY + audio_delay;
    let (_, last) = *seen.offsets.last().unwrap();
    assert!(
        (seen.settled[1].2 - due).abs() <= 25 * MS,
        "{by}: {:?}",
        seen.settled
    );
    assert!((last - due).abs() <= 25 * MS, "{by}: {}", last - due);
}

#[test]
fn a_jump_of_the_broadcast_starts_one_epoch_however_far() {
    for by in [-6, -4, -2, 2, 10, 3600, 1_000_000] {
        check_jump(by * SECOND, 0);
    }
}

#[test]
fn frames_of_the_old_epoch_still_on_their_way_are_stale_and_do_not_poison_the_new_one() {
    for by in [-4, 3, 3600] {
        let mut all = shifted(
            video(4 * SECOND, 14 * SECOND, path),
            8 * SECOND,
            by * SECOND,
        );
        // Audio takes 300 ms longer: 15 packets of the old epoch arrive in the new one.
        all.extend(shifted(
            audio(4 * SECOND, 14 * SECOND, |_| DELAY + 300 * MS),
            8 * SECOND,
            by * SECOND,
        ));
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        let seen = run(&mut timeline, all);
        assert_eq!(seen.count(Event::Jumped), 1, "{by}");
        assert_eq!(seen.count(Event::Stale), 15, "{by}: {:?}", seen.events);
        assert!(
            seen.events
                .iter()
                .skip(1)
                .all(|seen| seen.1 == AUDIO && seen.2 == Event::Stale)
        );
        let (_, last) = *seen.offsets.last().unwrap();
        let due = ORIGIN - by * SECOND + DELAY + 300 * MS;
        assert!(last <= due + 3 * MS, "{by}: {}", last - due);
    }
}

#[test]
fn one_corrupt_timestamp_costs_two_joins_and_no_track() {
    let mut all = video(4 * SECOND, 12 * SECOND, path);
    all[100].media += 3600 * SECOND;
    all.extend(audio(4 * SECOND, 12 * SECOND, path));
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    let seen = run(&mut timeline, all);
    assert_eq!(seen.count(Event::Jumped), 2, "{:?}", seen.events);
    assert!(seen.count(Event::Stale) <= 3);
    let (_, last) = *seen.offsets.last().unwrap();
    assert!((last - ORIGIN - DELAY).abs() <= 3 * MS);
}

#[test]
fn a_track_alone_in_the_old_continuity_gets_it_back_when_nobody_holds_the_new_one() {
    let mut all = video(4 * SECOND, 8 * SECOND, path);
    all.last_mut().unwrap().media += 3600 * SECOND;
    all.extend(audio(4 * SECOND, 14 * SECOND, path));
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    let seen = run(&mut timeline, all);
    assert_eq!(seen.count(Event::Jumped), 2);
    let (_, last) = *seen.offsets.last().unwrap();
    assert!((last - ORIGIN - DELAY).abs() <= 3 * MS);
}

#[test]
fn a_publisher_that_restarts_from_zero_is_joined_anew_row_18() {
    let mut all = video(60 * SECOND, 64 * SECOND, path);
    all.extend(audio(60 * SECOND, 64 * SECOND, path));
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    let _ = run(&mut timeline, all);
    // The caller knows of the new announcement; groups and media times begin at 0.
    timeline.rejoin();
    let restart = 67 * SECOND;
    let again = |arrival: Arrival| Arrival {
        now: arrival.now + restart,
        ..arrival
    };
    let all = video(0, 4 * SECOND, path)
        .into_iter()
        .chain(audio(0, 4 * SECOND, path))
        .map(again)
        .collect();
    let (_, _, offset) = settled_once(&run(&mut timeline, all));
    assert!((offset - ORIGIN - DELAY - restart).abs() <= 3 * MS);
}

#[test]
fn a_publisher_that_restarts_unnoticed_is_joined_anew() {
    // Same connection, no announcement seen: group numbers and media times begin again.
    let mut all = video(60 * SECOND, 64 * SECOND, path);
    all.extend(
        video(0, 4 * SECOND, path)
            .into_iter()
            .map(|arrival| Arrival {
                now: arrival.now + 66 * SECOND,
                ..arrival
            }),
    );
    let mut timeline = timeline(&[VIDEO]);
    let seen = run(&mut timeline, all);
    assert_eq!(seen.count(Event::Jumped), 1);
    assert_eq!(seen.events.len(), 1);
    assert_eq!(seen.settled.len(), 2);
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
    for (track, arrivals) in [
        (AUDIO, audio(SECOND, 10 * SECOND, path)),
        (VIDEO, video(SECOND, 10 * SECOND, path)),
    ] {
        let mut timeline = timeline(&[track]);
        let first = arrivals[0].now;
        let (at, _, offset) = settled_once(&run(&mut timeline, arrivals));
        assert!(at - first <= 20 * MS);
        assert_eq!(offset, ORIGIN + DELAY);
    }
}

#[test]
fn a_silent_track_holds_the_others_up_for_two_holds_at_most() {
    let mut timeline = timeline(&[VIDEO, AUDIO, TrackId(2)]);
    let mut all = video(4 * SECOND, 8 * SECOND, path);
    all.extend(audio(4 * SECOND, 8 * SECOND, path));
    let first = all[0].now;
    let (at, _, _) = settled_once(&run(&mut timeline, all));
    assert!(at - first <= 40 * MS, "{}", at - first);
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

/// The path's delay changes by `by` when the media time is 30 s.
fn step(by: Nanos) -> Seen {
    let path = |media| DELAY * 4 + if media >= 30 * SECOND { by } else { 0 };
    let mut all = video(4 * SECOND, 300 * SECOND, path);
    all.extend(audio(4 * SECOND, 300 * SECOND, path));
    run(&mut timeline(&[VIDEO, AUDIO]), all)
}

#[test]
fn a_path_that_gets_slower_is_followed_once_the_window_has_passed() {
    let seen = step(50 * MS);
    let (_, _, first) = settled_once(&seen);
    let at = |s: i64| {
        seen.offsets
            .iter()
            .rfind(|seen| seen.0 <= ORIGIN + s * SECOND)
            .unwrap()
            .1
    };
    assert_eq!(at(39), first);
    assert!(at(60) > first + 5 * MS && at(60) < first + 15 * MS);
    assert_eq!(at(200), first + 50 * MS);
}

#[test]
fn a_path_that_gets_faster_is_followed_at_once_and_slowly() {
    let seen = step(-50 * MS);
    let (_, _, first) = settled_once(&seen);
    let at = |s: i64| {
        seen.offsets
            .iter()
            .rfind(|seen| seen.0 <= ORIGIN + s * SECOND)
            .unwrap()
            .1
    };
    assert!(at(40) < first - 3 * MS && at(40) > first - 6 * MS);
    assert_eq!(at(200), first - 50 * MS);
}

#[test]
fn the_offset_never_moves_faster_than_it_may() {
    for by in [-50 * MS, 50 * MS] {
        let seen = step(by);
        for pair in seen.offsets.windows(2) {
            let elapsed = pair[1].0 - pair[0].0;
            assert!((pair[1].1 - pair[0].1).abs() <= elapsed * 500 / 1_000_000 + 1);
        }
    }
}

#[test]
fn a_path_slower_than_the_latency_absorbs_is_joined_anew() {
    let seen = step(400 * MS);
    assert_eq!(seen.count(Event::Rejoin), 1, "{:?}", seen.events);
    assert_eq!(seen.events.len(), 1);
    let (at, _, track) = (seen.events[0].0, (), seen.settled[1].2);
    assert!(at - ORIGIN - 30 * SECOND <= 1700 * MS);
    assert!((track - ORIGIN - DELAY * 4 - 400 * MS).abs() <= 3 * MS);
}

#[test]
fn a_path_that_was_slow_for_a_while_is_caught_up_with() {
    let slow = 30 * SECOND..40 * SECOND;
    let path = |media| DELAY + if slow.contains(&media) { 500 * MS } else { 0 };
    let mut all = video(4 * SECOND, 80 * SECOND, path);
    all.extend(audio(4 * SECOND, 80 * SECOND, path));
    let seen = run(&mut timeline(&[VIDEO, AUDIO]), all);
    assert_eq!(seen.count(Event::Rejoin), 2, "{:?}", seen.events);
    let (_, last) = *seen.offsets.last().unwrap();
    assert!((last - ORIGIN - DELAY).abs() <= 3 * MS, "{last}");
}

/// Nothing arrives from `from` for `lasts`; then what was held comes at `rate` times real time.
fn outage(arrivals: Vec<Arrival>, from: Nanos, lasts: Nanos, rate: i64) -> Vec<Arrival> {
    let back = from + lasts;
    let held = |arrival: &Arrival| arrival.now >= from;
    arrivals
        .into_iter()
        .map(|arrival| {
            let drained = back + (arrival.now - from) / rate;
            let now = if held(&arrival) {
                arrival.now.max(drained)
            } else {
                arrival.now
            };
            Arrival { now, ..arrival }
        })
        .collect()
}

#[test]
fn an_outage_leaves_the_mapping_as_it_was() {
    for (lasts, rate) in [(2, 1000), (2, 4), (2, 2), (15, 1000), (15, 20)] {
        let mut all = video(4 * SECOND, 60 * SECOND, path);
        all.extend(audio(4 * SECOND, 60 * SECOND, path));
        let all = outage(all, ORIGIN + 20 * SECOND, lasts * SECOND, rate);
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        let seen = run(&mut timeline, all);
        let (_, _, offset) = settled_once(&seen);
        let off = seen
            .offsets
            .iter()
            .map(|seen| (seen.1 - offset).abs())
            .max()
            .unwrap();
        assert!(off <= 3 * MS, "{lasts} s at {rate}: {off}");
    }
}

#[test]
fn groups_that_were_overtaken_are_late_and_no_jump() {
    let mut all = video(4 * SECOND, 16 * SECOND, path);
    // The tail of one group comes 3 s late, with the next groups already there.
    for arrival in all
        .iter_mut()
        .filter(|arrival| arrival.media % (6 * SECOND) >= 5500 * MS)
    {
        arrival.now += 3 * SECOND;
    }
    let mut timeline = timeline(&[VIDEO]);
    let (_, _, offset) = settled_once(&run(&mut timeline, all));
    assert_eq!(offset, ORIGIN + DELAY);
}

#[test]
fn without_frames_there_is_no_mapping_and_unknown_tracks_are_stale() {
    let mut timeline = timeline(&[VIDEO]);
    assert!(matches!(timeline.poll(0), Phase::Unsettled { .. }));
    assert_eq!(timeline.arrived(AUDIO, 0, 0, 0), Event::Stale);
    assert_eq!(
        (
            timeline.to_running(0),
            timeline.live_edge(0),
            timeline.offset()
        ),
        (None, None, None)
    );
}

#[test]
fn the_edge_is_never_older_than_the_latency_absorbs() {
    let mut timeline = timeline(&[VIDEO]);
    timeline.set_tolerance(10 * MS);
    timeline.set_hold(60 * MS);
    assert_eq!(timeline.arrived(VIDEO, 0, 0, SECOND), Event::Ok);
    assert_eq!(
        timeline.poll(SECOND),
        Phase::Unsettled {
            check_at: SECOND + 60 * MS
        }
    );
    assert_eq!(
        timeline.poll(SECOND + 60 * MS),
        Phase::Settled {
            edge: SECOND + 50 * MS
        }
    );
}

#[test]
fn hostile_times_do_no_harm() {
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    timeline.set_hold(Nanos::MAX);
    let mut rng = fastrand::Rng::with_seed(3);
    for n in 0..20_000i64 {
        let media = match n % 3 {
            0 => rng.i64(..),
            1 => Nanos::MAX,
            _ => Nanos::MIN,
        };
        let track = TrackId(rng.usize(0..3));
        let _ = timeline.arrived(track, rng.u64(..), media, n * MS);
        let _ = timeline.poll(n * MS);
        let _ = (
            timeline.live_edge(n * MS),
            timeline.delay(VIDEO),
            timeline.jitter(AUDIO),
        );
    }
}

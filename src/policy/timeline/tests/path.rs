//! Paths that change.

use super::*;

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

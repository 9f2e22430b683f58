//! Media time that leaves its continuity.

use super::*;

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
    let open = ORIGIN + 5 * SECOND;
    for by in [-4, 3, 3600] {
        let audio_path = |_| DELAY + 300 * MS;
        let mut all = video(4 * SECOND, 14 * SECOND, path);
        // Audio takes 300 ms longer: 15 packets of the old epoch arrive in the new one.
        all.extend(audio(4 * SECOND, 14 * SECOND, audio_path));
        let all = joined_at(open, shifted(all, 8 * SECOND, by * SECOND), |_| 0);
        let mut timeline = timeline(&[VIDEO, AUDIO]);
        let seen = run(&mut timeline, all);
        assert_eq!(seen.events[0].1, VIDEO);
        assert_eq!(seen.events[0].2, Event::Jumped);
        let stale = |seen: &&(Nanos, TrackId, Event)| seen.1 == AUDIO && seen.2 == Event::Stale;
        assert_eq!(seen.events.iter().filter(stale).count(), 15);
        assert_eq!(seen.events.len(), 16, "{by}: {:?}", seen.events);
        let due = ORIGIN - by * SECOND + DELAY + 300 * MS;
        assert_eq!(seen.settled.len(), 2, "{by}");
        // The new epoch waited for the slower track, and was right from its start.
        assert!((seen.settled[1].2 - due).abs() <= 3 * MS, "{by}");
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

use proptest::prelude::*;

use super::*;
use crate::policy::{MILLISECOND as MS, SECOND};

/// Media time is running time, and everything is due 100 ms after it.
fn due(media: Nanos) -> Option<Nanos> {
    Some(media + 100 * MS)
}

fn never(_: Nanos) -> Option<Nanos> {
    None
}

fn frame(seq: u64, index: u64) -> Frame<(u64, u64)> {
    Frame {
        index,
        media: seq as Nanos * SECOND + index as Nanos * 40 * MS,
        bytes: 100,
        item: (seq, index),
    }
}

fn reorder() -> Reorder<(u64, u64)> {
    Reorder::new(Config::default())
}

fn fill(reorder: &mut Reorder<(u64, u64)>, seq: u64, indices: std::ops::Range<u64>) {
    reorder.start_group(seq);
    for index in indices {
        reorder.push(seq, frame(seq, index));
    }
}

type Out = ((u64, u64), bool, bool);

/// All frames there are at `now`: item, discont, first of its group; and what it waits for then.
fn drain(
    reorder: &mut Reorder<(u64, u64)>,
    now: Nanos,
    deadline: fn(Nanos) -> Option<Nanos>,
) -> (Vec<Out>, Option<Nanos>) {
    let mut out = Vec::new();
    loop {
        match reorder.poll(now, deadline) {
            Poll::Frame {
                item,
                discont,
                first_of_group,
                ..
            } => out.push((item, discont, first_of_group)),
            Poll::Wait { until } => return (out, until),
        }
    }
}

#[test]
fn frames_of_the_current_group_pass_at_once_and_in_order() {
    let mut r = reorder();
    fill(&mut r, 3, 0..2);
    let (out, until) = drain(&mut r, 0, due);
    assert_eq!(out, [((3, 0), true, true), ((3, 1), false, false)]);
    assert_eq!(until, None);
    r.push(3, frame(3, 2));
    assert_eq!(drain(&mut r, 0, due).0, [((3, 2), false, false)]);
}

#[test]
fn the_next_group_goes_on_at_once_without_discont() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    fill(&mut r, 1, 0..1);
    assert_eq!(drain(&mut r, 0, due).0, [((0, 0), true, true)]);
    r.finish_group(0);
    assert_eq!(drain(&mut r, 0, due).0, [((1, 0), false, true)]);
    assert_eq!(r.dropped(), Dropped::default());
}

#[test]
fn a_finished_group_is_followed_without_discont_however_late_the_next_is() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    r.finish_group(0);
    drain(&mut r, 0, due);
    fill(&mut r, 1, 0..1);
    assert_eq!(drain(&mut r, 60 * SECOND, due).0, [((1, 0), false, true)]);
    assert_eq!(r.dropped(), Dropped::default());
}

#[test]
fn a_stalled_group_is_left_when_the_next_one_is_due_row_7() {
    let mut r = reorder();
    fill(&mut r, 0, 0..2);
    fill(&mut r, 1, 0..1);
    let (out, until) = drain(&mut r, 0, due);
    assert_eq!(out.len(), 2);
    assert_eq!(until, Some(SECOND + 100 * MS));
    let (out, _) = drain(&mut r, SECOND + 100 * MS - 1, due);
    assert_eq!(out, []);
    let (out, _) = drain(&mut r, SECOND + 100 * MS, due);
    assert_eq!(out, [((1, 0), true, true)]);
    assert_eq!(r.dropped().skipped_groups, 1);
    assert_eq!(r.push(0, frame(0, 2)), Outcome::Late);
    assert_eq!(r.dropped().late_frames, 1);
}

#[test]
fn the_rest_of_a_group_that_was_given_up_is_not_waited_for() {
    let mut r = reorder();
    fill(&mut r, 0, 0..2);
    fill(&mut r, 1, 0..1);
    r.give_up_group(0);
    let (out, _) = drain(&mut r, 0, due);
    let items = [
        ((0, 0), true, true),
        ((0, 1), false, false),
        ((1, 0), true, true),
    ];
    assert_eq!(out, items);
    assert_eq!(r.dropped().aborted_groups, 1);
    assert_eq!(r.dropped().skipped_groups, 0);
}

/// A group of 25 frames that begins at `start` frames of 40 ms.
fn group_at(reorder: &mut Reorder<(u64, u64)>, seq: u64, start: u64) {
    reorder.start_group(seq);
    for index in 0..25 {
        let media = (start + index) as Nanos * 40 * MS;
        let frame = Frame {
            media,
            ..frame(seq, index)
        };
        reorder.push(seq, frame);
    }
    reorder.finish_group(seq);
}

#[test]
fn numbers_that_are_left_out_cost_nothing_where_media_time_goes_on() {
    let mut r = reorder();
    for (n, seq) in [3, 5, 6, 60].into_iter().enumerate() {
        group_at(&mut r, seq, n as u64 * 25);
        let (out, _) = drain(&mut r, n as Nanos * SECOND, due);
        assert_eq!(out.len(), 25, "group {seq}");
        assert_eq!(out[0], ((seq, 0), n == 0, true));
    }
    assert_eq!(r.dropped(), Dropped::default());
}

#[test]
fn a_group_that_is_missing_is_waited_for_where_media_time_does_not_go_on() {
    let mut r = reorder();
    group_at(&mut r, 0, 0);
    drain(&mut r, 0, due);
    group_at(&mut r, 2, 50);
    assert_eq!(drain(&mut r, SECOND, due), (vec![], Some(2100 * MS)));
    group_at(&mut r, 1, 25);
    let (out, _) = drain(&mut r, SECOND, due);
    assert_eq!(out.len(), 50);
    assert!(out.iter().all(|(_, discont, _)| !discont));
}

#[test]
fn a_publisher_that_never_counts_on_is_waited_for_once() {
    let mut r = reorder();
    // A picture every now and then, numbered by its time.
    group_at(&mut r, 10, 0);
    drain(&mut r, 0, due);
    group_at(&mut r, 20, 50);
    assert_eq!(drain(&mut r, SECOND, due).0, []);
    assert_eq!(drain(&mut r, 2100 * MS, due).0.len(), 25);
    assert_eq!(r.dropped().missing_groups, 9);
    for (seq, start) in [(31, 120), (47, 160), (50, 300)] {
        group_at(&mut r, seq, start);
        let (out, _) = drain(&mut r, SECOND, due);
        assert_eq!(out.len(), 25, "group {seq}");
        assert!(!out[0].1);
    }
    assert_eq!(r.dropped().missing_groups, 9);
    // One comes late after all: they are waited for again.
    r.start_group(49);
    group_at(&mut r, 60, 400);
    assert_eq!(drain(&mut r, SECOND, due).0, []);
}

#[test]
fn numbers_that_once_followed_one_another_are_waited_for() {
    let mut r = reorder();
    for (seq, start) in [(0, 0), (1, 25)] {
        group_at(&mut r, seq, start);
        drain(&mut r, 0, due);
    }
    for (seq, start) in [(3, 75), (5, 125)] {
        group_at(&mut r, seq, start);
        assert_eq!(drain(&mut r, SECOND, due).0, [], "group {seq}");
        let late = start as Nanos * 40 * MS + 100 * MS;
        assert_eq!(drain(&mut r, late, due).0.len(), 25, "group {seq}");
    }
    assert_eq!(r.dropped().missing_groups, 2);
}

#[test]
fn a_late_frame_still_passes_while_the_next_group_is_not_due() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    fill(&mut r, 1, 0..1);
    drain(&mut r, 0, due);
    r.push(0, frame(0, 1));
    r.finish_group(0);
    let (out, _) = drain(&mut r, SECOND + 99 * MS, due);
    assert_eq!(out, [((0, 1), false, false), ((1, 0), false, true)]);
}

#[test]
fn a_gap_the_publisher_made_costs_at_most_the_wait() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    r.finish_group(0);
    fill(&mut r, 5, 0..1);
    let (_, until) = drain(&mut r, 0, due);
    assert_eq!(until, Some(5 * SECOND + 100 * MS));
    let (out, _) = drain(&mut r, 5 * SECOND + 100 * MS, due);
    assert_eq!(out, [((5, 0), true, true)]);
    assert_eq!(r.dropped().missing_groups, 4);
    assert_eq!(r.dropped().skipped_groups, 0);
}

#[test]
fn nothing_is_given_up_while_unsettled() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    fill(&mut r, 1, 0..1);
    assert_eq!(drain(&mut r, 0, never).0.len(), 1);
    let (out, until) = drain(&mut r, 1000 * SECOND, never);
    assert_eq!((out, until), (vec![], None));
}

#[test]
fn of_an_aborted_group_the_prefix_passes_and_the_next_one_is_discontinuous() {
    let mut r = reorder();
    fill(&mut r, 0, 0..2);
    r.abort_group(0);
    fill(&mut r, 1, 0..1);
    assert_eq!(drain(&mut r, 0, due).0.len(), 2);
    let (out, _) = drain(&mut r, SECOND + 100 * MS, due);
    assert_eq!(out, [((1, 0), true, true)]);
    assert_eq!(r.dropped().aborted_groups, 1);
}

#[test]
fn a_group_goes_on_after_a_reconnect_without_repeats() {
    let mut r = reorder();
    fill(&mut r, 0, 0..2);
    drain(&mut r, 0, due);
    r.abort_group(0);
    assert_eq!(r.start_group(0), Outcome::Taken);
    assert_eq!(r.push(0, frame(0, 0)), Outcome::Duplicate);
    assert_eq!(r.push(0, frame(0, 1)), Outcome::Duplicate);
    assert_eq!(r.push(0, frame(0, 2)), Outcome::Taken);
    r.finish_group(0);
    assert_eq!(r.start_group(0), Outcome::Duplicate);
    assert_eq!(drain(&mut r, 0, due).0, [((0, 2), false, false)]);
    assert_eq!(r.start_group(0), Outcome::Late);
    assert_eq!(r.dropped().duplicate_frames, 2);
    assert_eq!(r.dropped().late_groups, 1);
}

#[test]
fn after_an_outage_the_newest_due_group_is_joined_and_the_past_left() {
    let mut r = reorder();
    for seq in 0..6 {
        fill(&mut r, seq, 0..25);
        r.finish_group(seq);
    }
    let (out, _) = drain(&mut r, 5 * SECOND + 700 * MS, due);
    assert_eq!(out[0], ((5, 0), true, true));
    assert_eq!(r.dropped().skipped_groups, 5);
}

#[test]
fn frames_at_hand_that_are_a_little_late_still_pass() {
    let mut r = reorder();
    fill(&mut r, 0, 0..25);
    r.finish_group(0);
    fill(&mut r, 1, 0..1);
    let (out, _) = drain(&mut r, SECOND + 300 * MS, due);
    assert_eq!(out.len(), 26);
    assert_eq!(r.dropped(), Dropped::default());
}

#[test]
fn an_empty_finished_group_is_no_loss() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    r.finish_group(0);
    r.start_group(1);
    r.finish_group(1);
    fill(&mut r, 2, 0..1);
    let (out, _) = drain(&mut r, 0, due);
    assert_eq!(out, [((0, 0), true, true), ((2, 0), false, true)]);
}

#[test]
fn a_hole_cuts_a_dependent_group_and_marks_an_independent_one() {
    let mut r = reorder();
    fill(&mut r, 0, 0..1);
    assert_eq!(r.push(0, frame(0, 2)), Outcome::Late);
    assert_eq!(drain(&mut r, 0, due).0.len(), 1);

    let mut r = Reorder::new(Config {
        independent: true,
        ..Config::default()
    });
    fill(&mut r, 0, 0..1);
    assert_eq!(r.push(0, frame(0, 2)), Outcome::Taken);
    let (out, _) = drain(&mut r, 0, due);
    assert_eq!(out, [((0, 0), true, true), ((0, 2), true, false)]);
}

#[test]
fn over_a_bound_the_oldest_groups_go() {
    let mut r = Reorder::new(Config {
        max_frames: 10,
        ..Config::default()
    });
    for seq in 0..4 {
        fill(&mut r, seq, 0..4);
    }
    assert_eq!(r.dropped().overflow_groups, 2);
    let (out, _) = drain(&mut r, 0, never);
    assert_eq!(out[0], ((2, 0), true, true));
}

#[test]
fn a_single_group_over_a_bound_keeps_what_can_be_decoded() {
    let mut r = Reorder::new(Config {
        max_bytes: 350,
        ..Config::default()
    });
    fill(&mut r, 0, 0..3);
    assert_eq!(r.push(0, frame(0, 3)), Outcome::Late);
    let items: Vec<_> = drain(&mut r, 0, never).0;
    assert_eq!(items.len(), 3);
    assert_eq!(r.push(0, frame(0, 4)), Outcome::Late);
    fill(&mut r, 1, 0..1);
    assert_eq!(drain(&mut r, 2 * SECOND, due).0, [((1, 0), true, true)]);
}

#[test]
fn empty_groups_of_a_hostile_peer_are_bounded() {
    let mut r = reorder();
    for seq in 0..100_000 {
        r.start_group(seq);
    }
    assert!(r.held().0 <= Config::default().max_groups);
}

#[test]
fn a_reset_takes_smaller_sequence_numbers_again() {
    let mut r = reorder();
    fill(&mut r, 70, 0..1);
    drain(&mut r, 0, due);
    r.reset();
    fill(&mut r, 0, 0..1);
    assert_eq!(drain(&mut r, 0, due).0, [((0, 0), true, true)]);
    assert_eq!(r.held(), (1, 0, 0));
}

#[test]
fn what_is_before_the_start_asked_for_is_late() {
    let mut r = reorder();
    fill(&mut r, 4, 0..2);
    r.start_at(5);
    assert_eq!(r.start_group(4), Outcome::Late);
    fill(&mut r, 5, 0..1);
    assert_eq!(drain(&mut r, 0, never).0, [((5, 0), true, true)]);
}

/// A step of the outside world.
#[derive(Debug, Clone)]
enum Step {
    Start(u64),
    Push(u64, u64),
    Finish(u64),
    Abort(u64),
    Poll(Nanos),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12u64).prop_map(Step::Start),
        (0..12u64, 0..6u64).prop_map(|(seq, index)| Step::Push(seq, index)),
        (0..12u64).prop_map(Step::Finish),
        (0..12u64).prop_map(Step::Abort),
        (0..14 * SECOND).prop_map(Step::Poll),
        Just(Step::Reset),
    ]
}

proptest! {
    #[test]
    fn any_interleaving_of_complete_groups_comes_out_whole_and_in_order(
        sizes in prop::collection::vec(1..8u64, 1..8),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let mut r = reorder();
        // The first group has begun, so that playback starts there.
        r.push(0, frame(0, 0));
        let mut sent = vec![0; sizes.len()];
        sent[0] = 1;
        let mut out = drain(&mut r, 0, due).0;
        let mut picks = picks.into_iter();
        loop {
            let open: Vec<usize> = (0..sizes.len()).filter(|&seq| sent[seq] <= sizes[seq]).collect();
            if open.is_empty() {
                break;
            }
            let seq = picks.next().map_or(open[0], |pick| *pick.get(&open));
            if sent[seq] == sizes[seq] {
                r.finish_group(seq as u64);
            } else {
                prop_assert_eq!(r.push(seq as u64, frame(seq as u64, sent[seq])), Outcome::Taken);
            }
            sent[seq] += 1;
            out.extend(drain(&mut r, 0, due).0);
        }
        let expected: Vec<(u64, u64)> = sizes
            .iter()
            .enumerate()
            .flat_map(|(seq, &size)| (0..size).map(move |index| (seq as u64, index)))
            .collect();
        let items: Vec<(u64, u64)> = out.iter().map(|out| out.0).collect();
        prop_assert_eq!(items, expected);
        prop_assert!(out.iter().skip(1).all(|out| !out.1));
        prop_assert_eq!(r.dropped(), Dropped::default());
    }

    #[test]
    fn whatever_comes_order_and_bounds_hold(
        steps in prop::collection::vec(step(), 0..300),
        independent: bool,
        settled: bool,
    ) {
        let config = Config {
            independent,
            max_groups: 5,
            max_frames: 12,
            max_bytes: 1000,
            ..Config::default()
        };
        let mut r = Reorder::new(config.clone());
        let mut last: Option<(u64, u64)> = None;
        for step in steps {
            match step {
                Step::Start(seq) => { r.start_group(seq); }
                Step::Push(seq, index) => { r.push(seq, frame(seq, index)); }
                Step::Finish(seq) => r.finish_group(seq),
                Step::Abort(seq) => r.abort_group(seq),
                Step::Reset => { r.reset(); last = None; }
                Step::Poll(now) => {
                    let (out, _) = drain(&mut r, now, if settled { due } else { never });
                    for (item, discont, first) in out {
                        prop_assert!(last.is_none_or(|last| last < item));
                        prop_assert_eq!(first, item.1 == 0);
                        let follows = last.is_some_and(|(seq, index)| {
                            item == (seq, index + 1) || (item.0 > seq && item.1 == 0)
                        });
                        prop_assert!(discont || follows);
                        last = Some(item);
                    }
                }
            }
            let (groups, frames, bytes) = r.held();
            prop_assert!(groups <= 5 && frames <= 12 && bytes <= 1000);
            prop_assert_eq!(bytes, frames * 100);
        }
    }
}

use std::{future::Future, time::Duration};

use bytes::Bytes;
use moq_net::origin;

use super::{Broadcast, TrackOptions, TrackWriter, WriteError};
use crate::{
    net::{
        config::ConnectConfig,
        error::Cause,
        session::{Connection, Retention, Role},
        transport::parse_url,
    },
    runtime,
};

const OPTIONS: TrackOptions = TrackOptions {
    priority: 60,
    max_age: Duration::from_secs(2),
    timely: false,
};

fn origin() -> origin::Producer {
    let (origin, driver) = origin::Producer::new(origin::Config::default());
    runtime::handle().spawn(moq_net::time::run(driver));
    origin
}

fn broadcast() -> Broadcast {
    Broadcast::create_in(&origin(), "test.hang").expect("a name that can be announced")
}

fn within<T>(future: impl Future<Output = T>) -> T {
    runtime::handle().block_on(async {
        tokio::time::timeout(Duration::from_secs(5), future)
            .await
            .expect("within five seconds")
    })
}

fn frame(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_broadcast_needs_a_name() {
    for name in ["", "/", "a/*/b"] {
        let err = Broadcast::create_in(&origin(), name)
            .err()
            .expect("refused");
        assert_eq!(err.cause, Cause::Settings, "{name}");
    }
}

#[test]
fn two_live_tracks_cannot_share_a_name_but_a_dropped_one_frees_it() {
    let broadcast = broadcast();
    let first = broadcast.track("0.avc3", OPTIONS).expect("free");
    assert_eq!(
        broadcast
            .track("0.avc3", OPTIONS)
            .err()
            .expect("taken")
            .cause,
        Cause::Settings
    );
    drop(first);
    broadcast.track("0.avc3", OPTIONS).expect("free again");
}

#[test]
fn frames_are_read_in_the_groups_they_were_written_to() {
    let broadcast = broadcast();
    let mut writer = broadcast.track("v", OPTIONS).expect("free");
    let mut subscriber = writer
        .track_for_tests()
        .subscribe(moq_net::track::Subscription::default().with_max_age(Duration::from_secs(2)));
    assert_eq!(writer.write(0, frame("x")), Err(WriteError::NoGroup));
    for (start, frames) in [(0, ["a", "b"]), (2, ["c", "d"])] {
        writer.start_group().expect("open");
        for (n, text) in frames.into_iter().enumerate() {
            writer
                .write((start + n as u64) * 1000, frame(text))
                .expect("room");
        }
        assert_eq!(writer.group_frames(), 2);
    }
    writer.finish();
    drop(writer);
    within(async {
        let mut seen = Vec::new();
        while let Some(mut group) = subscriber.recv_group().await.expect("clean end") {
            while let Some(frame) = group.read_frame().await.expect("whole group") {
                seen.push((
                    group.sequence,
                    frame.timestamp.as_micros(),
                    String::from_utf8(frame.payload.to_vec()).expect("text"),
                ));
            }
        }
        let expected = [(0, 0, "a"), (0, 1000, "b"), (1, 2000, "c"), (1, 3000, "d")];
        assert_eq!(
            seen,
            expected.map(|(group, time, text)| (group, time, text.to_owned()))
        );
    });
}

/// A relay that still has the one before asks for what follows the groups that it has seen.
#[test]
fn a_broadcast_in_the_place_of_another_goes_on_with_the_numbers_of_its_tracks() {
    let url = parse_url("https://127.0.0.1:1/").expect("a URL");
    let config = ConnectConfig::new(vec![url]);
    let connection = Connection::open(config, Role::Publisher, Retention::default());
    let latest = |path: &str, name: &str, groups: usize| {
        let broadcast = Broadcast::create(&connection, path).expect("a name");
        let mut writer = broadcast.track(name, OPTIONS).expect("free");
        for _ in 0..groups {
            writer.start_group().expect("open");
        }
        writer.track_for_tests().latest()
    };
    assert_eq!(latest("a.hang", "v", 3), Some(2));
    assert_eq!(latest("a.hang", "v", 2), Some(4));
    assert_eq!(latest("a.hang", "a", 1), Some(0));
    assert_eq!(latest("b.hang", "v", 1), Some(0));
}

#[test]
fn a_full_group_keeps_what_it_has_and_the_next_one_goes_on() {
    let broadcast = broadcast();
    let mut writer = broadcast.track("v", OPTIONS).expect("free");
    writer.start_group().expect("open");
    let half = Bytes::from(vec![0; 17 << 20]);
    writer.write(0, half.clone()).expect("room");
    assert_eq!(writer.write(1, half.clone()), Err(WriteError::GroupFull));
    writer.write(2, frame("small")).expect("still open");
    writer.start_group().expect("open");
    writer.write(3, half).expect("room");
}

#[test]
fn more_frames_than_a_group_holds_are_refused_and_the_next_group_goes_on() {
    let broadcast = broadcast();
    let mut writer = broadcast.track("v", OPTIONS).expect("free");
    writer.start_group().expect("open");
    let refused = (0..10_000).find_map(|n| writer.write(n, frame("x")).err());
    assert_eq!(refused, Some(WriteError::GroupFull));
    writer.start_group().expect("open");
    writer.write(20_000, frame("x")).expect("room");
}

#[test]
fn demand_follows_subscribers_and_ends_with_the_track() {
    let broadcast = broadcast();
    let writer: TrackWriter = broadcast.track("v", OPTIONS).expect("free");
    let mut demand = writer.demand();
    assert!(!demand.is_used());
    let consumer = writer.track_for_tests().consume();
    assert_eq!(within(demand.changed()), Some(true));
    assert!(demand.is_used());
    drop(consumer);
    assert_eq!(within(demand.changed()), Some(false));
    assert!(!demand.is_used());
    drop(writer);
    assert_eq!(within(demand.changed()), None);
}

/// A reader that holds group 0 until it has waited long, and what was lost when it lets go.
fn lost_when_let_go(max_age: Duration) -> u64 {
    let broadcast = broadcast();
    let mut writer = broadcast.track("v", OPTIONS).expect("free");
    let subscription = moq_net::track::Subscription::default().with_max_age(max_age);
    let mut subscriber = writer.track_for_tests().subscribe(subscription);
    let delivery = writer.delivery();
    within(async {
        writer.start_group().expect("open");
        writer.write(0, frame("a")).expect("room");
        let group = subscriber.recv_group().await.expect("it goes on");
        writer.start_group().expect("open");
        writer.write(1_000_000, frame("b")).expect("room");
        writer.write(1_500_000, frame("c")).expect("room");
        while delivery.pending().behind < 100_000_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(delivery.pending().groups, 1);
        drop(group);
        while delivery.pending().groups > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let [(_, expired), (_, evicted)] = delivery.take_losses();
    assert_eq!(evicted.groups, 0);
    expired.groups
}

#[test]
fn a_group_that_is_let_go_of_when_it_is_too_old_is_lost() {
    assert_eq!(lost_when_let_go(Duration::from_millis(200)), 1);
}

#[test]
fn a_group_that_is_let_go_of_while_it_is_young_is_delivered() {
    assert_eq!(lost_when_let_go(Duration::from_secs(1)), 0);
}

#[test]
fn a_snapshot_is_a_group_of_one_frame() {
    let broadcast = broadcast();
    let mut writer = broadcast.track("catalog.json", OPTIONS).expect("free");
    writer.write_snapshot(0, frame("{}")).expect("open");
    writer.write_snapshot(1, frame("{}")).expect("open");
    assert_eq!(writer.track_for_tests().latest(), Some(1));
    assert_eq!(writer.group_frames(), 0);
}

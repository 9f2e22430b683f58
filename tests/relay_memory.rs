//! What peers can make the embedded relay hold.

mod relay_support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gstmoq::net::relay::{Cache, Relay, RelayConfig};
use relay_support::*;

const MIB: usize = 1 << 20;

/// A relay with a small cache, and how much it may hold.
fn small() -> (Arc<Relay>, u64) {
    let mut config = RelayConfig::local();
    config.cache.bytes = 8 << 20;
    let ceiling = config.cache.ceiling();
    (Arc::new(Relay::start(config).unwrap()), ceiling)
}

/// The most that a relay held while this lives.
struct Peak {
    most: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Peak {
    fn of(relay: &Arc<Relay>) -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let (relay, seen) = (relay.clone(), most.clone());
        let task = tokio::spawn(async move {
            loop {
                seen.fetch_max(relay.stats().cache_bytes, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { most, task }
    }

    fn get(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Publishes and plays groups, and fails if one is late or not whole.
async fn play(relay: &Relay, name: &str, groups: u64) {
    let publisher = connect(relay, Wire::Quic).await;
    let published = publisher.publish(name);
    let subscriber = connect(relay, Wire::WebTransport).await;
    let mut track = subscriber.subscribe(name).await;
    for index in 0..groups {
        let mut group = published.track.append_group().unwrap();
        for frame in 0..3 {
            group
                .write_frame(timestamp(index, frame), payload(index, frame))
                .unwrap();
        }
        group.finish().unwrap();
        let (sequence, frames) = next_group(&mut track).await;
        assert_eq!((sequence, frames.len()), (index, 3), "{name}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Announces tracks that the other sits on.
async fn publish(publisher: &Peer, subscriber: &Peer, tracks: usize) -> Vec<Published> {
    let mut all = Vec::new();
    for index in 0..tracks {
        let name = format!("greedy/{index}");
        all.push(publisher.publish(&name));
        tokio::spawn(sit_on(subscriber.subscribe(&name).await));
    }
    all
}

/// Takes groups and reads nothing of them, for as long as the task runs.
async fn sit_on(mut track: moq_net::track::Subscriber) {
    let mut groups = Vec::new();
    while let Ok(Some(group)) = track.recv_group().await {
        groups.push(group);
    }
    std::future::pending().await
}

fn is_limit(err: &moq_net::Error) -> bool {
    matches!(
        err,
        moq_net::Error::Session(moq_net::SessionError::Unknown(0x7))
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_of_huge_groups_is_closed_at_the_ceiling_and_a_modest_one_plays_on() {
    let (relay, ceiling) = small();
    let peak = Peak::of(&relay);
    let modest = play(&relay, "modest", 40);
    let greedy = async {
        let greedy = connect(&relay, Wire::Quic).await;
        let subscriber = connect(&relay, Wire::Quic).await;
        let object = Bytes::from(vec![7; MIB]);
        let mut kept = Vec::new();
        // 2 GB in groups that are never ended: none can be evicted, being the newest of its track.
        for published in publish(&greedy, &subscriber, 64).await {
            let mut group = published.track.append_group().unwrap();
            for frame in 0..31 {
                group
                    .write_frame(timestamp(0, frame), object.clone())
                    .unwrap();
            }
            kept.push((published, group));
        }
        soon("the close", greedy.moq.closed()).await
    };
    let ((), err) = tokio::join!(modest, greedy);
    assert!(is_limit(&err), "{err:?}");
    assert!(
        (ceiling / 4..=ceiling).contains(&peak.get()),
        "{} of {ceiling}",
        peak.get()
    );
    assert_eq!(relay.stats().closed_limit, 1);
    wait_for("its memory", || relay.stats().cache_bytes < 16 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_groups_of_many_tracks_stay_below_the_ceiling_as_well() {
    let (relay, ceiling) = small();
    let peak = Peak::of(&relay);
    let modest = play(&relay, "modest", 40);
    let greedy = async {
        let greedy = connect(&relay, Wire::WebTransport).await;
        let subscriber = connect(&relay, Wire::Quic).await;
        let object = Bytes::from(vec![7; MIB]);
        let tracks = publish(&greedy, &subscriber, 40).await;
        for published in &tracks {
            // The newest group of each track is kept, however many there are.
            for round in 0..4 {
                let mut group = published.track.append_group().unwrap();
                for frame in 0..12 {
                    group
                        .write_frame(timestamp(round, frame), object.clone())
                        .unwrap();
                }
                group.finish().unwrap();
            }
        }
        soon("the close", greedy.moq.closed()).await
    };
    let ((), err) = tokio::join!(modest, greedy);
    assert!(is_limit(&err), "{err:?}");
    assert!(peak.get() <= ceiling, "{} of {ceiling}", peak.get());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_publisher_within_the_cache_is_left_alone() {
    const GROUPS: u64 = 60;
    let mut config = RelayConfig::local();
    config.cache = Cache {
        bytes: 32 << 20,
        ..Cache::default()
    };
    let ceiling = config.cache.ceiling();
    let relay = Arc::new(Relay::start(config).unwrap());
    let peak = Peak::of(&relay);
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("fast");
    let subscriber = connect(&relay, Wire::Quic).await;
    let mut track = subscriber.subscribe("fast").await;
    let object = Bytes::from(vec![7; MIB]);
    for index in 0..GROUPS {
        let mut group = published.track.append_group().unwrap();
        for frame in 0..4 {
            group
                .write_frame(timestamp(index, frame), object.clone())
                .unwrap();
        }
        group.finish().unwrap();
        assert_eq!(next_group(&mut track).await.1.len(), 4);
    }
    assert_eq!(relay.stats().closed_limit, 0);
    assert!(peak.get() <= ceiling, "{} of {ceiling}", peak.get());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_objects_are_evicted_by_what_they_take_in_memory() {
    const GROUPS: u64 = 24;
    const OBJECTS: u64 = 8000;
    let (relay, ceiling) = small();
    let peak = Peak::of(&relay);
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("tiny");
    let subscriber = connect(&relay, Wire::Quic).await;
    let mut track = subscriber.subscribe("tiny").await;
    let object = Bytes::from_static(b"x");
    for index in 0..GROUPS {
        let mut group = published.track.append_group().unwrap();
        for frame in 0..OBJECTS {
            group
                .write_frame(timestamp(index, frame), object.clone())
                .unwrap();
        }
        group.finish().unwrap();
        next_group(&mut track).await;
    }
    // All together they would take 49 MB, of 192 kB of payload.
    let peak = peak.get();
    assert!(
        (4 << 20..ceiling / 2).contains(&peak),
        "{peak} of {ceiling}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_its_subscriber_does_not_take_is_let_go() {
    let mut config = RelayConfig::local();
    config.limits.stall_timeout = Duration::from_millis(300);
    let relay = Relay::start(config).unwrap();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("large");
    let stalled = connect(&relay, Wire::Quic).await;
    let mut track = stalled.subscribe("large").await;
    let mut group = published.track.append_group().unwrap();
    group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
    let _taken = soon("the group", track.recv_group()).await.unwrap();
    // It goes on acknowledging packets, and has room for less than the second object.
    stalled.freeze();
    group
        .write_frame(timestamp(0, 1), vec![7; 12 * MIB])
        .unwrap();
    group.finish().unwrap();
    wait_for("the end of its stream", || {
        relay.stats().stalled_streams == 1
    })
    .await;
    assert_eq!(relay.stats().sessions, 2, "the session goes on");
    let other = connect(&relay, Wire::WebTransport).await;
    let mut track = other.subscribe("large").await;
    assert_eq!(next_group(&mut track).await.1.len(), 2);
}

/// Publishes tracks of one group of 3 MiB each, 18 MiB in all, and has somebody read them and leave. The publisher may be
/// closed meanwhile.
async fn hoard(relay: &Relay, greedy: &Peer, batch: usize, kept: &mut Vec<Published>) {
    let subscriber = connect(relay, Wire::Quic).await;
    let object = Bytes::from(vec![7; MIB]);
    let mut tracks = Vec::new();
    for index in 0..6 {
        let name = format!("hoard/{batch}/{index}");
        kept.push(greedy.publish(&name));
        tracks.push(subscriber.subscribe(&name).await);
    }
    for published in kept.iter().rev().take(tracks.len()) {
        let mut group = published.track.append_group().unwrap();
        for frame in 0..3 {
            group
                .write_frame(timestamp(0, frame), object.clone())
                .unwrap();
        }
        group.finish().unwrap();
    }
    for track in &mut tracks {
        soon("a group or the close", async {
            if let Ok(Some(mut group)) = track.recv_group().await {
                while let Ok(Some(_)) = group.read_frame().await {}
            }
        })
        .await;
    }
    subscriber.moq.clone().abort(moq_net::Error::Cancel);
    wait_for("the subscriber to leave", || {
        relay.stats().subscriptions == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_tracks_that_nobody_reads_any_more_count_for_their_publisher() {
    let (relay, ceiling) = small();
    let peak = Peak::of(&relay);
    let greedy = connect(&relay, Wire::Quic).await;
    let mut kept = Vec::new();
    // The third is more than the cache and what one publisher may hold above it.
    for batch in 0..3 {
        hoard(&relay, &greedy, batch, &mut kept).await;
    }
    let err = soon("the close", greedy.moq.closed()).await;
    assert!(is_limit(&err), "{err:?}");
    assert!(peak.get() <= ceiling, "{} of {ceiling}", peak.get());
    wait_for("its memory", || relay.stats().cache_bytes < 16 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_do_not_pay_for_who_hoards_beside_them() {
    let (relay, _) = small();
    let greedy = connect(&relay, Wire::Quic).await;
    let mut kept = Vec::new();
    for batch in 0..2 {
        hoard(&relay, &greedy, batch, &mut kept).await;
    }
    let viewer = connect(&relay, Wire::Quic).await;
    let mut fair = Vec::new();
    for index in 0..20 {
        let publisher = connect(&relay, Wire::Quic).await;
        let name = format!("fair/{index}");
        let published = publisher.publish(&name);
        let track = viewer.subscribe(&name).await;
        fair.push((publisher, published, track));
    }
    let object = Bytes::from(vec![7; MIB]);
    for round in 0..6 {
        for (_, published, _) in &fair {
            let mut group = published.track.append_group().unwrap();
            group
                .write_frame(timestamp(round, 0), object.clone())
                .unwrap();
            group.finish().unwrap();
        }
        for (_, _, track) in &mut fair {
            next_group(track).await;
        }
    }
    let err = soon("the close", greedy.moq.closed()).await;
    assert!(is_limit(&err), "{err:?}");
    assert_eq!(relay.stats().closed_limit, 1, "nobody else is closed");
}

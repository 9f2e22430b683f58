//! The task that reads one subscribed track and tells the player what arrived, and when.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    player::RunningClock,
    reader::{BroadcastReader, Discovery, GroupEnd, GroupReader},
};
use crate::{
    net::error::Result,
    policy::{Nanos, timeline::TrackId},
};

/// Groups of one track that are read at the same time, so that a peer cannot open groups without end.
const MAX_OPEN_GROUPS: usize = 16;

/// What a track's task saw.
#[derive(Debug)]
pub(super) enum Arrival {
    GroupStarted {
        seq: u64,
    },
    Frame {
        seq: u64,
        /// Its place in the group.
        index: u64,
        payload: Bytes,
        now: Nanos,
    },
    GroupEnded {
        seq: u64,
        end: GroupEnd,
    },
    /// The publisher finished the track.
    Finished,
    /// The subscription was refused or broke.
    Failed(crate::net::Error),
}

pub(super) type Arrivals = mpsc::Sender<(TrackId, Arrival)>;

/// Where a track is.
pub(super) enum Place {
    /// In the broadcast that is played.
    Here(BroadcastReader),
    /// In another one, which may not be announced yet.
    Elsewhere(Discovery),
}

/// What to subscribe to and where to report.
pub(super) struct Reading {
    pub id: TrackId,
    pub name: String,
    pub priority: u8,
    pub max_age: watch::Receiver<Duration>,
    /// Groups before this one are given up: they are not read any further. The peer resets their streams by `max_age`; the
    /// protocol library has no word of the subscriber's for that.
    pub floor: watch::Receiver<u64>,
    pub clock: Arc<dyn RunningClock>,
    pub arrivals: Arrivals,
}

/// Subscribes and reads until the track or the subscription ends.
pub(super) async fn read(place: Place, reading: Reading) {
    let id = reading.id;
    let arrivals = reading.arrivals.clone();
    let last = match read_groups(place, reading).await {
        Ok(()) => Arrival::Finished,
        Err(err) => Arrival::Failed(err),
    };
    // The player is gone when this fails.
    let _ = arrivals.send((id, last)).await;
}

async fn read_groups(place: Place, mut reading: Reading) -> Result<()> {
    let broadcast = match place {
        Place::Here(broadcast) => broadcast,
        Place::Elsewhere(discovery) => discovery.next().await?,
    };
    let max_age = *reading.max_age.borrow_and_update();
    let mut track = broadcast
        .track(&reading.name, reading.priority, max_age)
        .await?;
    let mut open = JoinSet::new();
    let mut readers = BTreeMap::<u64, AbortHandle>::new();
    let ended = loop {
        tokio::select! {
            group = track.next_group(), if open.len() < MAX_OPEN_GROUPS => match group {
                Ok(Some(group)) => {
                    let seq = group.sequence();
                    if reading.arrivals.send((reading.id, Arrival::GroupStarted { seq })).await.is_err() {
                        return Ok(());
                    }
                    let frames = read_frames(group, reading.id, reading.clock.clone(), reading.arrivals.clone());
                    readers.insert(seq, open.spawn(frames));
                }
                Ok(None) => break Ok(()),
                Err(err) => break Err(err),
            },
            Some(_) = open.join_next(), if !open.is_empty() => {
                readers.retain(|_, reader| !reader.is_finished());
            }
            Ok(()) = reading.floor.changed() => {
                let floor = *reading.floor.borrow_and_update();
                let current = readers.split_off(&floor);
                for reader in std::mem::replace(&mut readers, current).into_values() {
                    reader.abort();
                }
            }
            Ok(()) = reading.max_age.changed() => {
                let max_age = *reading.max_age.borrow_and_update();
                track.set_max_age(max_age);
            }
        }
    };
    // The subscription has to live until every group that it handed out was read.
    while open.join_next().await.is_some() {}
    ended
}

async fn read_frames(
    mut group: GroupReader,
    id: TrackId,
    clock: Arc<dyn RunningClock>,
    arrivals: Arrivals,
) {
    let seq = group.sequence();
    let end = loop {
        match group.next_frame().await {
            Ok(payload) => {
                // Paused: nothing is pushed, and play goes on at the live edge.
                let Some(now) = clock.now() else { continue };
                let frame = Arrival::Frame {
                    seq,
                    index: group.index(),
                    payload,
                    now,
                };
                if arrivals.send((id, frame)).await.is_err() {
                    return;
                }
            }
            Err(end) => break end,
        }
    };
    let _ = arrivals.send((id, Arrival::GroupEnded { seq, end })).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;

    struct Playing;

    impl RunningClock for Playing {
        fn now(&self) -> Option<Nanos> {
            Some(0)
        }
    }

    async fn started(arrivals: &mut mpsc::Receiver<(TrackId, Arrival)>) -> u64 {
        let limit = Duration::from_secs(5);
        loop {
            let arrival = tokio::time::timeout(limit, arrivals.recv()).await;
            match arrival.expect("in time").expect("still reading").1 {
                Arrival::GroupStarted { seq } => return seq,
                Arrival::Failed(err) => panic!("{err}"),
                _ => {}
            }
        }
    }

    #[test]
    fn groups_that_were_given_up_make_room_for_those_that_follow() {
        let (origin, driver) = moq_net::origin::Producer::new(Default::default());
        runtime::handle().spawn(moq_net::time::run(driver));
        let broadcast = origin.create_broadcast("a").expect("a name");
        let info = moq_net::track::Info::default().with_max_age(Duration::from_secs(60));
        let track = broadcast.create_track("v", info).expect("a track");
        let (sender, mut arrivals) = mpsc::channel(64);
        let floor = watch::Sender::new(0);
        let max_age = watch::Sender::new(Duration::from_secs(60));
        let reading = Reading {
            id: TrackId(0),
            name: "v".into(),
            priority: 0,
            max_age: max_age.subscribe(),
            floor: floor.subscribe(),
            clock: Arc::new(Playing),
            arrivals: sender,
        };
        runtime::handle().block_on(async {
            let here = Place::Here(BroadcastReader::of(broadcast.consume()));
            let task = tokio::spawn(read(here, reading));
            // None of them ends.
            let last = MAX_OPEN_GROUPS as u64;
            let mut groups = Vec::new();
            for seq in 0..=last {
                groups.push(track.append_group().expect("open"));
                if seq < last {
                    assert_eq!(started(&mut arrivals).await, seq);
                }
            }
            assert!(arrivals.try_recv().is_err(), "no room for another");
            floor.send_replace(3);
            assert_eq!(started(&mut arrivals).await, last);
            task.abort();
        });
    }
}

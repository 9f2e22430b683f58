//! The task that reads one subscribed track and tells the player what arrived, and when.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    player::RunningClock,
    reader::{BroadcastReader, GroupReader},
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
        payload: Bytes,
        now: Nanos,
    },
    /// `whole` says that the publisher ended the group, not a fault.
    GroupEnded {
        seq: u64,
        whole: bool,
    },
    /// The publisher finished the track.
    Finished,
    /// The subscription was refused or broke.
    Failed(crate::net::Error),
}

pub(super) type Arrivals = mpsc::Sender<(TrackId, Arrival)>;

/// What to subscribe to and where to report.
pub(super) struct Reading {
    pub id: TrackId,
    pub name: String,
    pub priority: u8,
    pub max_age: watch::Receiver<Duration>,
    pub clock: Arc<dyn RunningClock>,
    pub arrivals: Arrivals,
}

/// Subscribes and reads until the track or the subscription ends.
pub(super) async fn read(broadcast: BroadcastReader, reading: Reading) {
    let id = reading.id;
    let arrivals = reading.arrivals.clone();
    let last = match read_groups(broadcast, reading).await {
        Ok(()) => Arrival::Finished,
        Err(err) => Arrival::Failed(err),
    };
    // The player is gone when this fails.
    let _ = arrivals.send((id, last)).await;
}

async fn read_groups(broadcast: BroadcastReader, mut reading: Reading) -> Result<()> {
    let max_age = *reading.max_age.borrow_and_update();
    let mut track = broadcast
        .track(&reading.name, reading.priority, max_age)
        .await?;
    let mut open = JoinSet::new();
    let ended = loop {
        tokio::select! {
            group = track.next_group(), if open.len() < MAX_OPEN_GROUPS => match group {
                Ok(Some(group)) => {
                    let seq = group.sequence();
                    if reading.arrivals.send((reading.id, Arrival::GroupStarted { seq })).await.is_err() {
                        return Ok(());
                    }
                    open.spawn(read_frames(group, reading.id, reading.clock.clone(), reading.arrivals.clone()));
                }
                Ok(None) => break Ok(()),
                Err(err) => break Err(err),
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
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
    let whole = loop {
        match group.next_frame().await {
            Ok(Some(payload)) => {
                // Paused: nothing is pushed, and play goes on at the live edge.
                let Some(now) = clock.now() else { continue };
                if arrivals
                    .send((id, Arrival::Frame { seq, payload, now }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let _ = arrivals
        .send((id, Arrival::GroupEnded { seq, whole }))
        .await;
}

//! What a first subscriber would otherwise wait for, fetched when a broadcast is announced: its catalog, and what its tracks are
//! like.
//!
//! A subscription of moq-lite is two requests, for the properties of a track and then for its groups, each of which goes through to
//! the publisher while nobody else uses the track; and the protocol library forgets the properties in between, so that they are
//! fetched twice. With the catalog and the properties at hand, only the subscription to the media takes that way. No media is
//! subscribed to, so that an encoder that waits for demand goes on waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moq_net::origin::Route;
use tokio::{sync::Semaphore, time::sleep_until};

use super::shared::Shared;
use crate::{
    media::catalog::Catalog,
    net::{
        error::Cause,
        subscribe::{
            catalog::{CatalogFormat, Catalogs},
            reader::{BroadcastReader, KnownTrack},
        },
    },
};

/// Broadcasts that are prepared at the same time; what is announced above is fetched when it is asked for.
const MAX_BROADCASTS: usize = 256;

/// Tracks of one broadcast whose properties are kept.
const MAX_TRACKS: usize = 16;

/// How long properties are kept, and how long then not: a track that ended is forgotten by the protocol library when nobody asked
/// for it for 30 s, and its name can be used again only then.
const KEPT: Duration = Duration::from_secs(300);
const LET_GO: Duration = Duration::from_secs(40);

/// The broadcasts that are prepared.
pub(super) struct Prepared {
    places: Arc<Semaphore>,
}

impl Default for Prepared {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_BROADCASTS)),
        }
    }
}

impl Prepared {
    /// Prepares a broadcast until it ends, if its publisher is connected here: another relay's are not ours to ask for.
    pub fn follow(&self, shared: &Arc<Shared>, name: &str, route: &Route) {
        if route.hops.len() > 1 {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return;
        };
        let (shared, name) = (shared.clone(), name.to_owned());
        tokio::spawn(async move {
            let origin = shared.origin.consume();
            let ended = shared.ended.clone();
            // The origin ends with the last that holds it.
            drop(shared);
            let prepare = async {
                if let Ok(consumer) = origin.routed_broadcast(name.as_str()).await {
                    prepare(&BroadcastReader::of(consumer), &name).await;
                }
            };
            ended.run_until_cancelled(prepare).await;
            drop(place);
        });
    }
}

/// Until the broadcast ends.
async fn prepare(broadcast: &BroadcastReader, name: &str) {
    let mut catalogs = Some(Catalogs::new(
        broadcast.clone(),
        name,
        CatalogFormat::default(),
    ));
    let mut tracks: Vec<String> = Vec::new();
    let mut kept: Vec<KnownTrack> = Vec::new();
    let mut turn = Instant::now() + KEPT;
    loop {
        tokio::select! {
            () = broadcast.closed() => return,
            next = next(&mut catalogs) => match next {
                Ok(Some(next)) => {
                    tracks = tracks_of(&next);
                    kept = known(broadcast, &tracks);
                    turn = Instant::now() + KEPT;
                }
                Ok(None) => catalogs = None,
                // The next one may be better.
                Err(err) if err.cause == Cause::Catalog => {}
                // Its subscribers are told when they ask.
                Err(_) => catalogs = None,
            },
            () = sleep_until(turn.into()) => {
                let is_time = kept.is_empty();
                kept = match is_time {
                    true => known(broadcast, &tracks),
                    false => Vec::new(),
                };
                turn = Instant::now() + if is_time { KEPT } else { LET_GO };
            }
        }
    }
}

async fn next(catalogs: &mut Option<Catalogs>) -> crate::net::error::Result<Option<Arc<Catalog>>> {
    match catalogs {
        Some(catalogs) => catalogs.next().await,
        None => std::future::pending().await,
    }
}

/// The names of the tracks that are in this broadcast.
fn tracks_of(catalog: &Catalog) -> Vec<String> {
    let here = catalog
        .renditions()
        .filter(|(_, rendition)| rendition.broadcast().is_none());
    here.map(|(track, _)| track).take(MAX_TRACKS).collect()
}

fn known(broadcast: &BroadcastReader, tracks: &[String]) -> Vec<KnownTrack> {
    tracks
        .iter()
        .filter_map(|track| broadcast.known_track(track).ok())
        .collect()
}

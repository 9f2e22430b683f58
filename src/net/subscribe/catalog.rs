//! The catalog of a broadcast, followed.

use std::{sync::Arc, time::Duration};

use super::reader::{BroadcastReader, GroupReader, TrackReader};
use crate::{
    media::catalog::{Catalog, hang},
    net::{
        error::{Cause, Error, Result},
        publish::CATALOG_PRIORITY,
    },
};

/// How far behind a catalog may be and still be of use.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Reads the newest catalog and every change of it.
pub(super) struct CatalogFollower {
    track: TrackReader,
    group: Option<GroupReader>,
    snapshot: hang::Snapshot,
    newest: Option<u64>,
    frames: u64,
}

impl CatalogFollower {
    pub(super) async fn subscribe(broadcast: &BroadcastReader) -> Result<Self> {
        Ok(Self {
            track: broadcast
                .track(hang::TRACK, CATALOG_PRIORITY, MAX_AGE)
                .await?,
            group: None,
            snapshot: hang::Snapshot::default(),
            newest: None,
            frames: 0,
        })
    }

    /// The next catalog; `None` when the publisher finished it. Cancel safe.
    ///
    /// # Errors
    /// `catalog` for one that cannot be used, after which the next one may still come; `connection-lost` ends it.
    pub(super) async fn next(&mut self) -> Result<Option<Arc<Catalog>>> {
        loop {
            tokio::select! {
                biased;
                group = self.track.next_group() => match group? {
                    // Groups may overtake each other; only the newest counts.
                    Some(group) if self.newest.is_none_or(|newest| group.sequence() > newest) => {
                        self.newest = Some(group.sequence());
                        self.snapshot = hang::Snapshot::default();
                        self.frames = 0;
                        self.group = Some(group);
                    }
                    Some(_) => {}
                    None if self.group.is_none() => return Ok(None),
                    None => return self.read_rest().await,
                },
                frame = next_frame(&mut self.group) => match frame {
                    Some(frame) => return self.apply(&frame).map(Some),
                    None => self.group = None,
                },
            }
        }
    }

    /// The track is finished, its last group is still read.
    async fn read_rest(&mut self) -> Result<Option<Arc<Catalog>>> {
        match next_frame(&mut self.group).await {
            Some(frame) => self.apply(&frame).map(Some),
            None => {
                self.group = None;
                Ok(None)
            }
        }
    }

    fn apply(&mut self, frame: &[u8]) -> Result<Arc<Catalog>> {
        let index = self.frames;
        self.frames += 1;
        let refused = |err: &dyn std::fmt::Display| {
            Error::new(Cause::Catalog, format!("the catalog cannot be used: {err}"))
        };
        let (catalog, skipped) = self
            .snapshot
            .apply(index, frame)
            .map_err(|err| refused(&err))?;
        for skipped in skipped {
            tracing::warn!(track = %skipped.track, reason = %skipped.reason, "rendition ignored");
        }
        Ok(Arc::new(catalog))
    }
}

/// The next frame of a group that is there; a group that breaks off counts as ended.
async fn next_frame(group: &mut Option<GroupReader>) -> Option<bytes::Bytes> {
    match group {
        Some(group) => group.next_frame().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

//! Broadcasts, tracks and groups as async readers.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use moq_net::{broadcast, group, track};

use crate::net::{
    error::{Cause, Error, Result},
    session::Connection,
};

/// Watches a connection for one broadcast.
#[derive(Clone)]
pub struct Discovery {
    consumer: moq_net::origin::Consumer,
    path: String,
}

impl Discovery {
    pub fn new(connection: &Connection, broadcast: &str) -> Self {
        Self {
            consumer: connection.origin.consume(),
            path: broadcast.to_owned(),
        }
    }

    /// Watches for the broadcast that this one's catalog refers to, by a path relative to it (RFC 3986 §5.2). `None` if that
    /// leaves what the relay serves here.
    pub fn sibling(&self, reference: &str) -> Option<Self> {
        let base = moq_net::Path::new(&self.path);
        let path = base.try_resolve(&moq_net::path::Relative::new(reference))?;
        (!path.is_empty()).then(|| Self {
            consumer: self.consumer.clone(),
            path: path.as_str().to_owned(),
        })
    }

    /// Whether both watch for the same broadcast.
    pub fn is_for_the_same(&self, other: &Self) -> bool {
        moq_net::Path::new(&self.path) == moq_net::Path::new(&other.path)
    }

    /// What is announced now, hidden names aside: not only what this one watches for.
    pub async fn announced(&self) -> Vec<String> {
        let mut updates = self.consumer.announced();
        let mut names = BTreeSet::new();
        loop {
            let update = tokio::select! {
                biased;
                update = updates.next() => update,
                () = std::future::ready(()) => None,
            };
            match update {
                None => return names.into_iter().collect(),
                Some(update) if update.kind == moq_net::announce::Kind::Retracted => {
                    names.remove(update.prefix.as_str());
                }
                Some(update) => {
                    names.insert(update.prefix.as_str().to_owned());
                }
            }
        }
    }

    /// Waits until the broadcast is announced, for as long as that takes.
    ///
    /// # Errors
    /// `auth` if the name lies outside what the relay grants, `no-broadcast` once the connection is closed for good.
    pub async fn next(&self) -> Result<BroadcastReader> {
        match self.consumer.routed_broadcast(self.path.as_str()).await {
            Ok(consumer) => Ok(BroadcastReader { consumer }),
            Err(moq_net::Error::Unauthorized) => Err(Error::new(
                Cause::Auth,
                format!("the relay does not grant the broadcast '{}'", self.path),
            )),
            Err(err) => Err(Error::new(
                Cause::NoBroadcast,
                format!("the broadcast '{}' cannot be had: {err}", self.path),
            )),
        }
    }
}

/// One announcement of a broadcast: it ends when its publisher does, and a publisher that comes back is another one.
#[derive(Clone)]
pub struct BroadcastReader {
    consumer: broadcast::Consumer,
}

impl BroadcastReader {
    pub(in crate::net) fn of(consumer: broadcast::Consumer) -> Self {
        Self { consumer }
    }

    /// Resolves when the announcement is retracted or the connection to it is lost.
    pub async fn closed(&self) {
        self.consumer.closed().await;
    }

    /// Asks the publisher what a track is like, without subscribing to it, and has the answer ready for as long as this is kept.
    ///
    /// # Errors
    /// `no-broadcast` once the broadcast has ended.
    pub(in crate::net) fn known_track(&self, name: &str) -> Result<KnownTrack> {
        let ended = |err| {
            let told = format!("the track '{name}' cannot be had: {err}");
            Error::new(Cause::NoBroadcast, told)
        };
        let consumer = self.consumer.track(name).map_err(ended)?;
        Ok(KnownTrack {
            _consumer: consumer,
        })
    }

    /// Subscribes to a track from its newest group on.
    ///
    /// `priority`: higher wins. `max_age`: how far behind the newest frame a group may fall, in media time, before the
    /// network gives up on it.
    pub async fn track(&self, name: &str, priority: u8, max_age: Duration) -> Result<TrackReader> {
        let refused = |err: moq_net::Error| {
            Error::new(
                Cause::NoBroadcast,
                format!("the track '{name}' cannot be had: {err}"),
            )
        };
        let subscription = track::Subscription::default()
            .with_priority(priority)
            .with_max_age(max_age);
        let subscriber = self
            .consumer
            .track(name)
            .map_err(refused)?
            .subscribe(subscription)
            .await
            .map_err(refused)?;
        Ok(TrackReader { subscriber })
    }
}

/// What a publisher said of a track, kept.
pub(in crate::net) struct KnownTrack {
    _consumer: track::Consumer,
}

/// A subscription. Groups already handed out are lost when it is dropped before they were read.
pub struct TrackReader {
    subscriber: track::Subscriber,
}

impl TrackReader {
    /// The next group in order of arrival; `None` when the publisher finished the track.
    pub async fn next_group(&mut self) -> Result<Option<GroupReader>> {
        match self.subscriber.recv_group().await {
            Ok(group) => Ok(group.map(|consumer| GroupReader { consumer })),
            Err(err) => Err(Error::new(
                Cause::ConnectionLost,
                format!("the subscription ended: {err}"),
            )),
        }
    }

    /// The next group that has begun, if there is one now.
    pub(in crate::net) async fn next_group_at_hand(&mut self) -> Option<GroupReader> {
        tokio::select! {
            biased;
            next = self.next_group() => next.ok().flatten(),
            () = std::future::ready(()) => None,
        }
    }

    /// The newest group that the publisher has begun, as far as is known.
    pub fn latest(&self) -> Option<u64> {
        self.subscriber.latest()
    }

    pub fn set_max_age(&mut self, max_age: Duration) {
        let wanted = self.subscriber.subscription().with_max_age(max_age);
        // Fails only when the subscription has ended, which `next_group` tells.
        let _ = self.subscriber.update(wanted);
    }
}

/// A group, read frame by frame.
pub struct GroupReader {
    consumer: group::Consumer,
}

impl GroupReader {
    pub fn sequence(&self) -> u64 {
        self.consumer.sequence
    }

    /// The place in the group of the frame that was read last.
    pub fn index(&self) -> u64 {
        self.consumer.index().saturating_sub(1)
    }

    /// The next frame's payload, or how the group ended.
    pub async fn next_frame(&mut self) -> std::result::Result<Bytes, GroupEnd> {
        match self.consumer.read_frame().await {
            Ok(Some(frame)) => Ok(frame.payload),
            Ok(None) => Err(GroupEnd::Whole),
            Err(err) if is_given_up(&err) => Err(GroupEnd::GivenUp),
            Err(_) => Err(GroupEnd::Broken),
        }
    }
}

/// A frame that was not read.
pub(in crate::net) struct TooLarge;

impl GroupReader {
    /// The payload of the next frame, `None` at the end of the group whatever it is.
    ///
    /// # Errors
    /// [`TooLarge`] for a frame of more than `limit` bytes, before they have come.
    pub(in crate::net) async fn read_within(
        &mut self,
        limit: u64,
    ) -> std::result::Result<Option<Bytes>, TooLarge> {
        match self.consumer.next_frame().await {
            Ok(Some(frame)) if frame.size > limit => Err(TooLarge),
            Ok(Some(mut frame)) => Ok(frame.read_all().await.ok()),
            Ok(None) | Err(_) => Ok(None),
        }
    }
}

/// How a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupEnd {
    /// Its publisher ended it.
    Whole,
    /// The publisher, or a relay on the way, gave the rest of it up because it would come too late: nothing more of it comes.
    GivenUp,
    /// Cancelled, or the connection was lost. It may go on over another one.
    Broken,
}

/// Whether this is the sender's word that a group is too old. Errors of ours and those that a peer sent are other variants.
fn is_given_up(err: &moq_net::Error) -> bool {
    use moq_net::{Error, StreamError};
    matches!(
        err,
        Error::Old
            | Error::Stream(
                StreamError::Old | StreamError::DeliveryTimeout | StreamError::TooFarBehind
            )
    )
}

#[cfg(test)]
mod tests {
    use moq_net::{Error, StreamError};

    use super::is_given_up;

    #[test]
    fn only_the_word_that_a_group_is_too_old_says_that_nothing_more_of_it_comes() {
        for err in [
            Error::Old,
            Error::Stream(StreamError::Old),
            Error::Stream(StreamError::DeliveryTimeout),
        ] {
            assert!(is_given_up(&err), "{err}");
        }
        for err in [
            Error::Cancel,
            Error::Dropped,
            Error::Stream(StreamError::Cancel),
            Error::Stream(StreamError::GoingAway),
        ] {
            assert!(!is_given_up(&err), "{err}");
        }
    }
}

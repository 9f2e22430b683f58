use std::time::Duration;

use bytes::Bytes;
use moq_net::{Timestamp, group, track};
use tokio::sync::watch;

use super::{
    delivery::{Delivery, Following},
    numbers::Next,
};
use crate::{net::session::Path, runtime};

/// Bytes of one group that the protocol library keeps; one more aborts the group.
pub(super) const MAX_GROUP_BYTES: u64 = group::MAX_CACHE_BYTES;

/// How a track is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackOptions {
    /// Higher is sent first.
    pub priority: u8,
    /// How far behind the newest group, in media time, a group is still of use.
    pub max_age: Duration,
    /// Its groups are of use while they are young: one that is being written and cannot arrive in time any more is given up. By which
    /// max-age is decided for all tracks of a connection at once: that of the most patient of those who subscribe to such tracks.
    pub timely: bool,
}

/// Why a frame was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Start a group first.
    #[error("no group is open")]
    NoGroup,
    /// The group cannot take this frame; the frames before it are safe. Start another group at the next key frame.
    #[error("the group is full")]
    GroupFull,
    /// The path cannot carry the group in time; what is left of it was not sent. Start another one at the next key frame.
    #[error("the group is too late for those who subscribe")]
    Late,
    /// The timestamp does not fit the wire (2⁶² µs).
    #[error("the timestamp does not fit the wire")]
    Timestamp,
    /// The track has ended; write to a new one.
    #[error("the track has ended")]
    Ended,
}

/// Writes one track, one group at a time. Dropping it ends the open group and the track.
pub struct TrackWriter {
    track: track::Producer,
    group: Option<Open>,
    next: Next,
    demand: watch::Receiver<bool>,
    following: Following,
}

struct Open {
    producer: group::Producer,
    frames: u64,
    bytes: u64,
}

impl TrackWriter {
    pub(super) fn new(track: track::Producer, next: Next, path: Path, timely: bool) -> Self {
        let demand = watch_demand(track.demand());
        let following = Following::new(path, timely, track.demand());
        Self {
            track,
            group: None,
            next,
            demand,
            following,
        }
    }

    /// The name of the track.
    pub fn name(&self) -> &str {
        self.track.name()
    }

    /// Whether somebody subscribes, and word of every change of it. Subscribers behind one relay count as one.
    pub fn demand(&self) -> Demand {
        Demand {
            watch: self.demand.clone(),
            track: self.track.demand(),
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.demand().is_used()
    }

    /// What becomes of what is written.
    pub fn delivery(&self) -> Delivery {
        self.following.delivery()
    }

    /// Ends the open group, if any, and starts the next one.
    ///
    /// # Errors
    /// [`WriteError::Ended`]
    pub fn start_group(&mut self) -> Result<(), WriteError> {
        self.finish_group();
        let sequence = self.next.get();
        let producer = self
            .track
            .create_group(group::Info { sequence })
            .map_err(|_| WriteError::Ended)?;
        self.next.took(sequence);
        self.following.open(&self.track, &producer);
        self.group = Some(Open {
            producer,
            frames: 0,
            bytes: 0,
        });
        Ok(())
    }

    /// Appends a frame to the open group. `timestamp` is media time in µs: it may go back inside a group (frames stand in
    /// decoding order).
    ///
    /// # Errors
    /// See [`WriteError`]; after [`WriteError::GroupFull`] the group is as it was and still open.
    pub fn write(&mut self, timestamp: u64, frame: Bytes) -> Result<(), WriteError> {
        let size = frame.len() as u64;
        let open = self.group.as_mut().ok_or(WriteError::NoGroup)?;
        if open.bytes + size > MAX_GROUP_BYTES {
            return Err(WriteError::GroupFull);
        }
        let stamp = Timestamp::from_micros(timestamp).map_err(|_| WriteError::Timestamp)?;
        if self.following.gave_up() {
            self.abandon_group();
            return Err(WriteError::Late);
        }
        match open.producer.write_frame(stamp, frame) {
            Ok(()) => {}
            Err(moq_net::Error::TimestampMismatch) => return Err(WriteError::Timestamp),
            // The library's own count of frames and bytes decides; it has given the group up by now.
            Err(err) if is_full(&err) => {
                self.group = None;
                return Err(WriteError::GroupFull);
            }
            // Aborted by the library (evicted from a full cache): the next group is not concerned.
            Err(_) if !self.track.is_closed() => {
                self.group = None;
                return Err(WriteError::NoGroup);
            }
            Err(_) => return Err(WriteError::Ended),
        }
        open.frames += 1;
        open.bytes += size;
        self.following.write(&self.track, timestamp, size);
        Ok(())
    }

    /// Replaces what the track says: one group with one frame, as catalogs are written.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_snapshot(&mut self, timestamp: u64, frame: Bytes) -> Result<(), WriteError> {
        self.start_group()?;
        self.write(timestamp, frame)?;
        self.finish_group();
        Ok(())
    }

    /// Ends the open group, if any: subscribers need not wait for more of it.
    pub fn finish_group(&mut self) {
        if let Some(open) = self.group.take() {
            self.following.finish();
            // Fails only when the library gave the group up already.
            let _ = open.producer.finish();
        }
    }

    /// What the session gave up, nobody who joins should be given either.
    fn abandon_group(&mut self) {
        if let Some(open) = self.group.take() {
            self.following.finish();
            // Fails only when the library gave the group up already.
            let _ = open.producer.abort(moq_net::Error::Old);
        }
    }

    /// Frames in the open group.
    pub fn group_frames(&self) -> u64 {
        self.group.as_ref().map_or(0, |open| open.frames)
    }

    /// Ends the track. Those who come later still read its end, as long as the writer lives. A relay may drop the tail of a
    /// track that ends while its last group is under way: [`super::drain`] first.
    pub fn finish(&mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.finish_group();
        // Fails only when it had ended already.
        let _ = self.track.finish();
    }
}

impl Drop for TrackWriter {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_full(err: &moq_net::Error) -> bool {
    matches!(
        err,
        moq_net::Error::GroupTooLarge | moq_net::Error::FrameTooLarge
    )
}

/// Watches whether a track is subscribed, without keeping it alive.
#[derive(Clone)]
pub struct Demand {
    watch: watch::Receiver<bool>,
    track: track::Demand,
}

impl Demand {
    /// Whether somebody subscribes right now, or did a moment ago: a relay that has just asked what the track is is about to.
    pub fn is_used(&self) -> bool {
        self.track.is_used() || *self.watch.borrow()
    }

    /// Waits until nobody subscribes, or the track is gone.
    pub async fn unused(&self) {
        // An error is the track's end.
        let _ = self.watch.clone().wait_for(|used| !used).await;
        let _ = self.track.unused().await;
    }

    /// Waits for the next change and returns it; `None` once the track is gone.
    pub async fn changed(&mut self) -> Option<bool> {
        self.watch.changed().await.ok()?;
        Some(*self.watch.borrow_and_update())
    }
}

/// A subscriber that comes back this soon was never gone: relays ask what a track is before they subscribe, and change
/// over from one session to another.
const GONE: Duration = Duration::from_millis(100);

/// Follows a track's demand until the track is gone.
fn watch_demand(demand: track::Demand) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    runtime::handle().spawn(async move {
        let mut open = true;
        while open && demand.used().await.is_ok() {
            sender.send_replace(true);
            loop {
                open = demand.unused().await.is_ok();
                if !open || tokio::time::timeout(GONE, demand.used()).await.is_err() {
                    break;
                }
            }
            sender.send_replace(false);
        }
    });
    receiver
}

#[cfg(test)]
impl TrackWriter {
    pub(super) fn track_for_tests(&self) -> &track::Producer {
        &self.track
    }
}

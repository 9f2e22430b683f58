use moq_net::{Timescale, origin};

use super::{
    numbers::Numbers,
    track::{TrackOptions, TrackWriter},
};
use crate::net::{
    error::{Cause, Error, Result},
    session::{Connection, Path},
};

/// Priority of catalog tracks: a player can do nothing before it has read one.
pub const CATALOG_PRIORITY: u8 = 100;

/// A broadcast of ours. It exists for nobody until it is announced; dropping it retracts it.
pub struct Broadcast {
    producer: moq_net::broadcast::Producer,
    path: String,
    /// What its tracks are sent over.
    network: Path,
    /// Where the tracks of an earlier broadcast of this name left off.
    numbers: Numbers,
}

impl Broadcast {
    /// Creates a broadcast named `path` on the connection's origin. Works before the connection is up, and survives its
    /// reconnects: the sessions of the connection announce it again by themselves.
    ///
    /// # Errors
    /// [`Cause::Settings`] when the name cannot be announced, [`Cause::ConnectionLost`] when the connection is gone for good.
    pub fn create(connection: &Connection, path: &str) -> Result<Self> {
        let mut broadcast = Self::create_in(&connection.origin, path)?;
        broadcast.network = connection.path();
        broadcast.numbers = connection.numbers();
        Ok(broadcast)
    }

    pub(in crate::net) fn create_in(origin: &origin::Producer, path: &str) -> Result<Self> {
        if path.trim_matches('/').is_empty() {
            return Err(Error::new(Cause::Settings, "The broadcast has no name"));
        }
        let producer = origin.create_broadcast(path).map_err(|err| match err {
            moq_net::Error::Closed | moq_net::Error::Dropped => {
                Error::new(Cause::ConnectionLost, "The connection was closed")
            }
            err => Error::new(
                Cause::Settings,
                format!("“{path}” cannot be the name of a broadcast: {err}"),
            ),
        })?;
        Ok(Self {
            producer,
            path: path.to_owned(),
            network: Path::default(),
            numbers: Numbers::default(),
        })
    }

    /// Adds a track. Its name is free again once its writer was dropped.
    ///
    /// # Errors
    /// [`Cause::Settings`] when a live track of this broadcast has that name.
    pub fn track(&self, name: &str, options: TrackOptions) -> Result<TrackWriter> {
        let info = moq_net::track::Info::default()
            .with_timescale(Timescale::MICRO)
            .with_max_age(options.max_age)
            .with_priority(options.priority);
        let track = self
            .producer
            .create_track(name, info)
            .map_err(|err| match err {
                moq_net::Error::Duplicate => Error::new(
                    Cause::Settings,
                    format!("The broadcast has a track “{name}” already"),
                ),
                err => Error::new(
                    Cause::Settings,
                    format!("“{name}” cannot be a track: {err}"),
                ),
            })?;
        let next = self.numbers.of(&self.path, name);
        let network = self.network.clone();
        Ok(TrackWriter::new(track, next, network, options.timely))
    }

    /// Makes the broadcast visible. Call it once the tracks that a player needs first are there: players act on the
    /// announcement at once.
    ///
    /// # Errors
    /// [`Cause::ConnectionLost`] when the broadcast or its connection was closed.
    pub fn announce(&self) -> Result<()> {
        self.producer
            .announce(origin::Route::default())
            .map_err(|err| {
                Error::new(
                    Cause::ConnectionLost,
                    format!("“{}” cannot be announced: {err}", self.path),
                )
            })
    }

    /// Ends the broadcast for good. Its tracks end as they were told to.
    pub fn close(&self) {
        self.producer.close();
    }
}

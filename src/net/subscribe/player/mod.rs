//! Plays one broadcast: finds it, follows its catalog, subscribes to the tracks that are wanted and fills their queues, through
//! reconnects and restarts of the publisher, until it ends.

mod run;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::mpsc, task::AbortHandle};

use self::run::Run;
use super::engine::{Queue, TrackStats};
use crate::{
    media::catalog::Catalog,
    net::{
        config::{ConnectConfig, Secret},
        error::{Cause, Error},
        session::Connection,
    },
    policy::Nanos,
    runtime,
};

pub use super::{catalog::CatalogFormat, engine::Start};

/// The pipeline's running time.
pub trait RunningClock: Send + Sync {
    /// ns; `None` while the pipeline does not play.
    fn now(&self) -> Option<Nanos>;
}

/// What a player is made from.
#[derive(Debug, Clone)]
pub struct PlayerConfig {
    pub broadcast: String,
    pub latency: Nanos,
    /// How old a group may get before the network gives up on it; `None` follows the latency.
    pub max_age: Option<Duration>,
    pub start: Start,
    pub catalog: CatalogFormat,
    /// How long the broadcast may be absent; zero = for ever.
    pub broadcast_timeout: Duration,
    /// After how long of silence a retracted broadcast counts as ended when its protocol version cannot say so.
    pub silence_is_end: Duration,
    /// What the connection is made from over which key frames are asked for; `None` = they are not.
    pub requests: Option<ConnectConfig>,
}

/// What a player tells. Sent from the runtime: the receiver must not block.
#[derive(Debug, Clone)]
pub enum PlayerEvent {
    /// Waiting for the broadcast to be announced.
    Searching,
    /// The catalog, at first and at every change.
    Catalog(Arc<Catalog>),
    /// The broadcast or the connection to it went away; it is waited for.
    Lost(Error),
    /// The publisher ended it.
    Ended,
    /// A track goes on after its end: frames of it wait behind an end that downstream was told.
    Resumed { track: String },
    /// Something cannot be used; the rest goes on.
    Warning(Error),
    /// Key frames cannot be asked for, or nobody listens. Each is told once.
    Unheard(Error),
    /// It cannot go on.
    Failed(Error),
}

/// Counters by track name.
pub type PlayerStats = BTreeMap<String, TrackStats>;

enum Command {
    Enable { name: String, queue: Queue },
    Disable { name: String },
    Playing(bool),
    Latency(Nanos),
    MaxAge(Option<Duration>),
    KeyFrame { name: String },
    Token(Option<Secret>),
}

/// A handle; dropping it stops playing.
pub struct Player {
    commands: mpsc::UnboundedSender<Command>,
    stats: Arc<Mutex<PlayerStats>>,
    task: AbortHandle,
    asks: bool,
}

impl Player {
    /// Starts in the background, paused.
    pub fn start(
        connection: Connection,
        config: PlayerConfig,
        clock: Arc<dyn RunningClock>,
        events: impl Fn(PlayerEvent) + Send + Sync + 'static,
    ) -> Self {
        // Commands come from the application, a few per state change.
        let (commands, received) = mpsc::unbounded_channel();
        let stats = Arc::<Mutex<PlayerStats>>::default();
        let events: Arc<dyn Fn(PlayerEvent) + Send + Sync> = Arc::new(events);
        let asks = config.requests.is_some();
        let run = Run::new(
            connection,
            config,
            clock,
            events.clone(),
            received,
            stats.clone(),
        );
        let task = runtime::handle().spawn(run.run());
        let handle = task.abort_handle();
        runtime::handle().spawn(async move {
            if let Err(err) = task.await
                && err.is_panic()
            {
                events(PlayerEvent::Failed(Error::new(
                    Cause::Codec,
                    "the player failed unexpectedly; please report this",
                )));
            }
        });
        Self {
            commands,
            stats,
            task: handle,
            asks,
        }
    }

    /// Subscribes to a track of the catalog and plays it into this queue.
    pub fn enable(&self, name: &str, queue: Queue) {
        self.send(Command::Enable {
            name: name.to_owned(),
            queue,
        });
    }

    /// Ends the subscription.
    pub fn disable(&self, name: &str) {
        self.send(Command::Disable {
            name: name.to_owned(),
        });
    }

    /// While not playing nothing is subscribed but the catalog; playing starts at the live edge.
    pub fn set_playing(&self, playing: bool) {
        self.send(Command::Playing(playing));
    }

    pub fn set_latency(&self, latency: Nanos) {
        self.send(Command::Latency(latency));
    }

    pub fn set_max_age(&self, max_age: Option<Duration>) {
        self.send(Command::MaxAge(max_age));
    }

    /// Asks the publisher for a key frame of a video track that is played; false when that is not allowed. Never blocks.
    pub fn request_key_frame(&self, name: &str) -> bool {
        if self.asks {
            self.send(Command::KeyFrame {
                name: name.to_owned(),
            });
        }
        self.asks
    }

    /// The token for the next dial of the connection over which key frames are asked for.
    pub fn set_token(&self, token: Option<Secret>) {
        self.send(Command::Token(token));
    }

    /// At most 100 ms old.
    pub fn stats(&self) -> PlayerStats {
        self.stats.lock().clone()
    }

    fn send(&self, command: Command) {
        // Fails only when the player has ended, and then there is nothing to command.
        let _ = self.commands.send(command);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! What a process of a run is told to do, on its stdin.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The player joins so long after this key frame; before it the publisher connects. s
pub const KEY_FRAME: f64 = 2.0;

/// CPU is counted from so long after the player's start. s
pub const STARTING: f64 = 0.5;

/// How the stream goes from one process to the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Transport {
    /// `moqsink` and `moqsrc` of whatever plugin is found, through a relay.
    Moq { broadcast: String },
    /// MPEG-TS over SRT: the publisher listens, the player calls. `latency` in ms.
    Srt { latency: u32 },
    /// RTP over UDP, one port for both media; the player listens. `latency` of its jitter buffer in ms.
    Rtp { latency: u32 },
    /// No network: the publisher's process shows what it has itself.
    None,
}

/// One end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub transport: Transport,
    pub stream: PathBuf,
    /// Where to dial, or for the end of SRT or RTP that listens, where to listen: a URL for MoQ, otherwise HOST:PORT.
    pub address: String,
    /// How long the player plays, s.
    pub seconds: f64,
    /// When it starts, s after a key frame.
    pub join: f64,
    /// `latency` of a moqsrc that has this property, ms.
    pub latency: u32,
    /// For memory over a long time: the stream is sent over and over, nothing is seen, and a player joins every so many s.
    pub soak: Option<f64>,
    /// When the first packet was sent, for the player, ns on the machine's monotonic clock.
    pub start: u64,
}

impl Job {
    /// When the player starts, in s after the first packet.
    pub fn joins_at(&self) -> f64 {
        KEY_FRAME + self.join
    }

    /// When the player ends, in s after the first packet.
    pub fn ends_at(&self) -> f64 {
        self.joins_at() + self.seconds
    }
}

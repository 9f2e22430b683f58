//! What the processes of a run are told, and what they report at their end.

use serde::{Deserialize, Serialize};

use crate::rig::sights::Sight;

/// Pictures a second, with a key frame each second.
pub const RATE: i64 = 30;

/// When the player joins, and before it the publisher connects: so long after the publisher's start, plus `join`. s
pub const LEAD: f64 = 2.0;

/// One end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub url: String,
    pub broadcast: String,
    /// `latency` of a moqsrc that has this property, ms.
    pub latency: u32,
    /// What the publisher's clock is fast by.
    pub ppm: i64,
    /// Length of an Opus packet, ms.
    pub packet: u32,
    /// kbit/s
    pub bitrate: u32,
    /// When the player starts, ns on the machine's monotonic clock; the publisher starts at once.
    pub start: u64,
    /// For how long after that it runs, s.
    pub seconds: f64,
}

/// When something happened, ns of the wall clock, and how late or long it was, ns.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Moment {
    pub at: i64,
    pub took: i64,
}

/// What decoding took, and the rest of the time from moqsrc's pad to the sink's hand-over, ns.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stage {
    /// Of the hand-over, ns of the wall clock.
    pub at: i64,
    pub decode: i64,
    pub wait: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Published {
    pub version: String,
    /// What entered moqsink.
    pub video: Vec<Sight>,
    pub audio: Vec<Sight>,
    /// From the capture of a picture, or of a packet's first sample, to moqsink.
    pub video_encoded: Vec<Moment>,
    pub audio_encoded: Vec<Moment>,
    pub cpu: f64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Played {
    /// ns of the wall clock.
    pub joined: i64,
    pub ended: i64,
    /// Each picture that was shown, against the time burnt into it.
    pub pictures: Vec<Moment>,
    /// Pictures whose time could not be read.
    pub unread: usize,
    /// Each pulse that was heard, against the whole second before it.
    pub pulses: Vec<Moment>,
    /// Pictures and sound that were handed over after they were due, by how much.
    pub late_pictures: Vec<Moment>,
    /// Where a device that plays with the sink would have had nothing to play.
    pub holes: Vec<Moment>,
    /// Where an audio sink would have skipped or repeated samples because their time stamps ran away from their count.
    pub realigned: Vec<Moment>,
    /// What left moqsrc.
    pub video: Vec<Sight>,
    pub audio: Vec<Sight>,
    pub video_stages: Vec<Stage>,
    pub audio_stages: Vec<Stage>,
    pub cpu: f64,
}

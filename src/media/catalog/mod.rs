//! What a broadcast offers: its renditions and its clock, independent of the wire form that carried them.
//!
//! [`hang`] reads and writes the form of the `catalog.json` track, [`msf`] that of the `catalog` track; [`deflate`] is for the
//! compressed twin of the former.

#![forbid(unsafe_code)]

mod changes;
mod check;
mod clock;
pub mod deflate;
mod error;
pub mod hang;
pub mod msf;
mod rendition;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use changes::{Changes, TrackRef};
pub use clock::{CLOCK_EPOCH_UNIX_SECONDS, Clock};
pub use error::{CatalogError, MAX_JSON_LEN, Skipped};
pub use rendition::Rendition;

/// Most renditions that one catalog may list, all kinds together; peers reject a catalog that lists more.
pub const MAX_RENDITIONS: usize = 64;

/// Everything that a broadcast offers at one moment. Keys of the maps are track names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    pub video: BTreeMap<String, VideoRendition>,
    pub audio: BTreeMap<String, AudioRendition>,
    /// Wall-clock time of media time 0, if the publisher says.
    pub clock: Option<Clock>,
    /// Size in pixels at which every video rendition should be shown, after rotation.
    pub display: Option<(u32, u32)>,
    /// How every video rendition is to be turned before it is shown.
    pub orientation: Orientation,
}

impl Catalog {
    /// Renditions of all kinds.
    pub fn len(&self) -> usize {
        self.video.len() + self.audio.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a player of `self` has to know about its successor `new`.
    pub fn changes(&self, new: &Catalog) -> Changes {
        Changes::between(self, new)
    }
}

/// Clockwise rotation in quarter turns, then an optional horizontal flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orientation {
    /// Quarter turns clockwise, 0 to 3.
    pub quarter_turns: u8,
    /// Mirrored left to right, after the rotation.
    pub flip: bool,
}

/// One video track.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoRendition {
    /// WebCodecs codec string, e.g. `avc3.64001f`; see [`super::codec::Codec`].
    pub codec: String,
    /// Decoder configuration outside of the stream (for H.264 an avcC record). With it, access units are
    /// length-prefixed; without it, they are byte-stream with parameter sets in band. Browsers that publish `avc1`
    /// without a description send byte-stream too.
    pub description: Option<Bytes>,
    pub coded_width: Option<u32>,
    pub coded_height: Option<u32>,
    /// Aspect ratio of the shown picture (not of a pixel).
    pub display_aspect: Option<(u32, u32)>,
    /// Frames a second.
    pub framerate: Option<f64>,
    /// Largest bitrate, in bit/s.
    pub bitrate: Option<u64>,
    pub container: Container,
    /// Longest time that the publisher holds a frame (encoder, reordering, segmenting), in ms, never 0.
    pub jitter_ms: Option<u32>,
    /// How far this rendition lags behind the earliest one of the broadcast, in ms, never 0.
    pub delay_ms: Option<u32>,
    /// Name for people.
    pub label: Option<String>,
    /// Hint for the decoder; `None` means the default of the player.
    pub optimize_for_latency: Option<bool>,
    /// The publisher advises to avoid this rendition for now.
    pub stalled: bool,
    /// Path, relative to the catalog's broadcast, of the broadcast that has this track.
    pub broadcast: Option<String>,
}

/// One audio track.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioRendition {
    /// WebCodecs codec string, e.g. `opus`; see [`super::codec::Codec`].
    pub codec: String,
    /// In Hz.
    pub sample_rate: u32,
    pub channels: u32,
    /// Decoder configuration (OpusHead, AudioSpecificConfig, …).
    pub description: Option<Bytes>,
    /// Largest bitrate, in bit/s.
    pub bitrate: Option<u64>,
    pub container: Container,
    /// As [`VideoRendition::jitter_ms`].
    pub jitter_ms: Option<u32>,
    /// As [`VideoRendition::delay_ms`].
    pub delay_ms: Option<u32>,
    /// Name for people.
    pub label: Option<String>,
    /// BCP 47 language tag.
    pub language: Option<String>,
    /// As [`VideoRendition::broadcast`].
    pub broadcast: Option<String>,
}

/// How frames of a track are laid out in objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Container {
    /// QUIC varint timestamp in µs, then the codec's bytes.
    #[default]
    Legacy,
    /// Low Overhead Container, draft-ietf-moq-loc.
    Loc,
    /// Fragmented MP4; `init` is ftyp and moov.
    Cmaf { init: Bytes },
}

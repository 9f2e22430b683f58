//! A rendition of either kind, for code that treats both alike.

use bytes::Bytes;

use super::{AudioRendition, Catalog, Container, VideoRendition};
use crate::media::container::cmaf;

/// One track of a catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum Rendition {
    Video(VideoRendition),
    Audio(AudioRendition),
}

impl Rendition {
    pub fn is_video(&self) -> bool {
        matches!(self, Self::Video(_))
    }

    pub fn codec(&self) -> &str {
        match self {
            Self::Video(video) => &video.codec,
            Self::Audio(audio) => &audio.codec,
        }
    }

    /// Decoder configuration outside of the stream.
    pub fn description(&self) -> Option<&[u8]> {
        match self {
            Self::Video(video) => video.description.as_deref(),
            Self::Audio(audio) => audio.description.as_deref(),
        }
    }

    pub fn container(&self) -> &Container {
        match self {
            Self::Video(video) => &video.container,
            Self::Audio(audio) => &audio.container,
        }
    }

    /// BCP 47 language tag.
    pub fn language(&self) -> Option<&str> {
        match self {
            Self::Video(_) => None,
            Self::Audio(audio) => audio.language.as_deref(),
        }
    }

    /// Path of the broadcast that has this track, relative to the catalog's.
    pub fn broadcast(&self) -> Option<&str> {
        match self {
            Self::Video(video) => video.broadcast.as_deref(),
            Self::Audio(audio) => audio.broadcast.as_deref(),
        }
    }

    /// The publisher advises to avoid this rendition for now.
    pub fn is_stalled(&self) -> bool {
        matches!(self, Self::Video(video) if video.stalled)
    }

    /// Whether a player goes on with `other` as it is: codec, description, size, aspect, sample rate, channels, container
    /// and place are the same.
    pub fn same_decoder(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Video(this), Self::Video(other)) => this.same_decoder(other),
            (Self::Audio(this), Self::Audio(other)) => this.same_decoder(other),
            _ => false,
        }
    }

    /// bit/s
    pub fn bitrate(&self) -> Option<u64> {
        match self {
            Self::Video(video) => video.bitrate,
            Self::Audio(audio) => audio.bitrate,
        }
    }

    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Video(video) => video.label.as_deref(),
            Self::Audio(audio) => audio.label.as_deref(),
        }
    }

    /// What publishers and players of the field give this kind of track: sound goes before pictures.
    pub fn default_priority(&self) -> u8 {
        match self {
            Self::Video(_) => 60,
            Self::Audio(_) => 80,
        }
    }
}

impl VideoRendition {
    /// What a decoder is configured with: the description, or that of a CMAF init segment.
    pub fn decoder_description(&self) -> Option<Bytes> {
        decoder_description(self.description.as_ref(), &self.container)
    }

    pub(super) fn same_decoder(&self, other: &Self) -> bool {
        self.codec == other.codec
            && self.description == other.description
            && self.coded_width == other.coded_width
            && self.coded_height == other.coded_height
            && self.display_aspect == other.display_aspect
            && self.container == other.container
            && self.broadcast == other.broadcast
    }
}

impl AudioRendition {
    /// As [`VideoRendition::decoder_description`].
    pub fn decoder_description(&self) -> Option<Bytes> {
        decoder_description(self.description.as_ref(), &self.container)
    }

    pub(super) fn same_decoder(&self, other: &Self) -> bool {
        self.codec == other.codec
            && self.description == other.description
            && self.sample_rate == other.sample_rate
            && self.channels == other.channels
            && self.container == other.container
            && self.broadcast == other.broadcast
    }
}

fn decoder_description(description: Option<&Bytes>, container: &Container) -> Option<Bytes> {
    match (description, container) {
        (Some(description), _) => Some(description.clone()),
        (None, Container::Cmaf { init }) => match cmaf::Init::parse(init).ok()?.rendition {
            Rendition::Video(video) => video.description,
            Rendition::Audio(audio) => audio.description,
        },
        (None, Container::Legacy | Container::Loc) => None,
    }
}

impl Catalog {
    /// The rendition whose track has this name.
    pub fn rendition(&self, track: &str) -> Option<Rendition> {
        let video = self.video.get(track).cloned().map(Rendition::Video);
        video.or_else(|| self.audio.get(track).cloned().map(Rendition::Audio))
    }

    /// Every rendition with the name of its track, video first.
    pub fn renditions(&self) -> impl Iterator<Item = (String, Rendition)> + '_ {
        let video = self
            .video
            .iter()
            .map(|(name, video)| (name.clone(), Rendition::Video(video.clone())));
        let audio = self
            .audio
            .iter()
            .map(|(name, audio)| (name.clone(), Rendition::Audio(audio.clone())));
        video.chain(audio)
    }
}

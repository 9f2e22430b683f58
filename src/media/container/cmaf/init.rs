//! Reading an init segment.

use bytes::Bytes;
use mp4_atom::{Mdhd, Tkhd, Trex};

use super::boxes::{Mp4Box, boxes, find};
use super::entry;
use crate::media::catalog::{Container, Rendition};
use crate::media::container::ContainerError;

/// What an init segment (ftyp and moov with one trak) says.
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    /// Codec, description, size, aspect, rate and channels, as far as the sample entry has them, and the container.
    pub rendition: Rendition,
    pub(super) track: Track,
}

/// What fragments refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) id: u32,
    /// Units of time in a second, never 0.
    pub(super) timescale: u32,
    /// All samples are independent.
    pub(super) is_audio: bool,
    /// For samples that do not say: 0 for durations and sizes means that they have to.
    pub(super) default_duration: u32,
    pub(super) default_size: u32,
    pub(super) default_flags: u32,
}

impl Init {
    /// Reads an init segment.
    ///
    /// # Errors
    /// [`ContainerError::Box`] for one that is missing or malformed, more than one `trak`, and codecs that are not
    /// known; [`ContainerError::Timescale`].
    pub fn parse(init: &Bytes) -> Result<Self, ContainerError> {
        let moov = find(boxes(init), "moov")?;
        let trak = moov.child("trak")?;
        if moov
            .children(0)
            .filter(|child| child.kind == b"trak")
            .count()
            > 1
        {
            return Err(ContainerError::Box("trak"));
        }
        let tkhd: Tkhd = trak.child("tkhd")?.decode("tkhd")?;
        let mdia = trak.child("mdia")?;
        let mdhd: Mdhd = mdia.child("mdhd")?.decode("mdhd")?;
        if mdhd.timescale == 0 {
            return Err(ContainerError::Timescale);
        }
        let is_audio = is_audio(&mdia.child("hdlr")?)?;
        let stsd = mdia.child("minf")?.child("stbl")?.child("stsd")?;
        let container = Container::Cmaf { init: init.clone() };
        let rendition = entry::read(&stsd, is_audio, container)?;
        let trex = find_trex(&moov, tkhd.track_id);
        Ok(Self {
            rendition,
            track: Track {
                id: tkhd.track_id,
                timescale: mdhd.timescale,
                is_audio,
                default_duration: trex.default_sample_duration,
                default_size: trex.default_sample_size,
                default_flags: trex.default_sample_flags,
            },
        })
    }

    /// Units of time in a second, never 0.
    pub fn timescale(&self) -> u32 {
        self.track.timescale
    }
}

fn is_audio(hdlr: &Mp4Box<'_>) -> Result<bool, ContainerError> {
    // Version and flags, pre_defined, handler_type (ISO/IEC 14496-12 §8.4.3.2).
    match hdlr.body.get(8..12) {
        Some(b"vide") => Ok(false),
        Some(b"soun") => Ok(true),
        _ => Err(ContainerError::Box("hdlr")),
    }
}

/// Without defaults, fragments have to say everything.
fn find_trex(moov: &Mp4Box<'_>, track_id: u32) -> Trex {
    let Ok(mvex) = moov.child("mvex") else {
        return Trex::default();
    };
    mvex.children(0)
        .filter(|child| child.kind == b"trex")
        .filter_map(|trex| trex.decode::<Trex>("trex").ok())
        .find(|trex| trex.track_id == track_id)
        .unwrap_or_default()
}

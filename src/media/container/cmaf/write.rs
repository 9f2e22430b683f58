//! Writing an init segment.

use bytes::Bytes;
use mp4_atom::{
    Dinf, Dref, DrefEntry, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mvhd, Smhd, Stco, Stsc, Stsz, Stts,
    Tkhd, Trex, Url, Vmhd,
};

use super::{TIMESCALE, entry};
use crate::media::catalog::Rendition;
use crate::media::container::ContainerError;

const TRACK_ID: u32 = 1;

/// Why a box could not be written.
#[derive(Debug)]
pub(super) enum WriteError {
    Rendition(ContainerError),
    /// What mp4-atom refuses: nothing that is written here, as far as one can see.
    Atom,
}

impl From<ContainerError> for WriteError {
    fn from(error: ContainerError) -> Self {
        Self::Rendition(error)
    }
}

impl From<mp4_atom::Error> for WriteError {
    fn from(_: mp4_atom::Error) -> Self {
        Self::Atom
    }
}

/// The init segment for a rendition: ftyp, and moov with one trak, in units of [`TIMESCALE`]. Its place is the rendition's
/// [`Container::Cmaf`](crate::media::catalog::Container::Cmaf).
///
/// # Errors
/// [`ContainerError::Init`] with what the rendition lacks: a description (every codec but VP8, VP9, MP3 and Opus of up to two
/// channels), the coded size, a codec that MP4 has.
pub fn init_segment(rendition: &Rendition) -> Result<Bytes, ContainerError> {
    let mut out = Vec::with_capacity(1_024);
    match write(&mut out, rendition) {
        Ok(()) => Ok(out.into()),
        Err(WriteError::Rendition(error)) => Err(error),
        Err(WriteError::Atom) => Err(ContainerError::Init("values that fit their boxes")),
    }
}

fn write(out: &mut Vec<u8>, rendition: &Rendition) -> Result<(), WriteError> {
    let brand = |brand| FourCC::new(brand);
    Ftyp {
        major_brand: brand(b"iso6"),
        minor_version: 0,
        compatible_brands: vec![brand(b"iso6"), brand(b"cmfc"), brand(b"mp41")],
    }
    .encode(out)?;
    plain_box(out, b"moov", |out| {
        Mvhd {
            creation_time: 0,
            modification_time: 0,
            timescale: TIMESCALE,
            duration: 0,
            rate: 1.into(),
            volume: 1.into(),
            matrix: Default::default(),
            next_track_id: TRACK_ID + 1,
        }
        .encode(out)?;
        plain_box(out, b"trak", |out| write_trak(out, rendition))?;
        plain_box(out, b"mvex", |out| {
            let trex = Trex {
                track_id: TRACK_ID,
                default_sample_description_index: 1,
                ..Trex::default()
            };
            Ok(trex.encode(out)?)
        })
    })
}

fn write_trak(out: &mut Vec<u8>, rendition: &Rendition) -> Result<(), WriteError> {
    let pixels = |pixels: Option<u32>| pixels.and_then(|pixels| u16::try_from(pixels).ok());
    let mut tkhd = Tkhd {
        track_id: TRACK_ID,
        enabled: true,
        in_movie: true,
        ..Tkhd::default()
    };
    match rendition {
        Rendition::Video(video) => {
            tkhd.width = pixels(video.coded_width).unwrap_or(0).into();
            tkhd.height = pixels(video.coded_height).unwrap_or(0).into();
        }
        Rendition::Audio(_) => tkhd.volume = 1.into(),
    }
    tkhd.encode(out)?;
    plain_box(out, b"mdia", |out| {
        Mdhd {
            timescale: TIMESCALE,
            language: "und".into(),
            ..Mdhd::default()
        }
        .encode(out)?;
        let handler = if rendition.is_video() {
            b"vide"
        } else {
            b"soun"
        };
        Hdlr {
            handler: FourCC::new(handler),
            name: String::new(),
        }
        .encode(out)?;
        plain_box(out, b"minf", |out| {
            if rendition.is_video() {
                Vmhd::default().encode(out)?;
            } else {
                Smhd::default().encode(out)?;
            }
            let dref = Dref {
                entries: vec![DrefEntry::Url(Url::default())],
            };
            Dinf { dref }.encode(out)?;
            plain_box(out, b"stbl", |out| write_stbl(out, rendition))
        })
    })
}

/// All samples are in fragments: the tables are empty.
fn write_stbl(out: &mut Vec<u8>, rendition: &Rendition) -> Result<(), WriteError> {
    full_box(out, b"stsd", 0, |out| {
        1u32.encode(out)?;
        entry::write(out, rendition)
    })?;
    Stts::default().encode(out)?;
    Stsc::default().encode(out)?;
    Stsz::default().encode(out)?;
    Ok(Stco::default().encode(out)?)
}

/// A box with what `body` writes.
pub(super) fn plain_box(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    body(out)?;
    let len = u32::try_from(out.len() - start).map_err(|_| WriteError::Atom)?;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

/// Likewise, with a version and no flags.
pub(super) fn full_box(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    plain_box(out, kind, |out| {
        out.extend_from_slice(&[version, 0, 0, 0]);
        body(out)
    })
}

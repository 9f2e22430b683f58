//! Caps ↔ catalog renditions, both directions, one table.
//!
//! A row of `FORMATS` is a codec that can be carried. [`Stream::from_caps`] reads what moqsink is given, [`video_caps`] and
//! [`audio_caps`] write what moqsrc gives: caps that link straight to a decoder.

mod audio;
mod output;
mod stream;
mod video;

use bytes::Bytes;

use crate::media::codec::Kind;

pub use output::{audio_caps, output_template, video_caps};
pub use stream::{
    AudioCoding, AudioStream, Av1Stream, NalStream, Packaging, Stream, VideoCoding, VideoStream,
    suffix,
};

/// A codec in the terms of caps and of catalogs.
struct Format {
    kind: Kind,
    media_type: &'static str,
    /// Of the media types that several codecs share: `mpegversion`, empty for any.
    mpeg_versions: &'static [i32],
    /// What makes exact caps of vague ones.
    parser: &'static str,
    /// What both elements accept and offer.
    caps: fn() -> gst::Caps,
    from_caps: fn(&Fields<'_>) -> Result<Stream, CapsError>,
}

const FORMATS: &[Format] = &[
    Format {
        kind: Kind::Video,
        media_type: "video/x-h264",
        mpeg_versions: &[],
        parser: "h264parse",
        caps: video::h264_caps,
        from_caps: video::h264,
    },
    Format {
        kind: Kind::Video,
        media_type: "video/x-h265",
        mpeg_versions: &[],
        parser: "h265parse",
        caps: video::h265_caps,
        from_caps: video::h265,
    },
    Format {
        kind: Kind::Video,
        media_type: "video/x-av1",
        mpeg_versions: &[],
        parser: "av1parse",
        caps: video::av1_caps,
        from_caps: video::av1,
    },
    Format {
        kind: Kind::Video,
        media_type: "video/x-vp9",
        mpeg_versions: &[],
        parser: "vp9parse",
        caps: video::vp9_caps,
        from_caps: video::vp9,
    },
    Format {
        kind: Kind::Video,
        media_type: "video/x-vp8",
        mpeg_versions: &[],
        parser: "",
        caps: video::vp8_caps,
        from_caps: video::vp8,
    },
    Format {
        kind: Kind::Audio,
        media_type: "audio/x-opus",
        mpeg_versions: &[],
        parser: "opusparse",
        caps: audio::opus_caps,
        from_caps: audio::opus,
    },
    Format {
        kind: Kind::Audio,
        media_type: "audio/mpeg",
        mpeg_versions: &[2, 4],
        parser: "aacparse",
        caps: audio::aac_caps,
        from_caps: audio::aac,
    },
    Format {
        kind: Kind::Audio,
        media_type: "audio/mpeg",
        mpeg_versions: &[1],
        parser: "mpegaudioparse",
        caps: audio::mp3_caps,
        from_caps: audio::mp3,
    },
    Format {
        kind: Kind::Audio,
        media_type: "audio/x-flac",
        mpeg_versions: &[],
        parser: "flacparse",
        caps: audio::flac_caps,
        from_caps: audio::flac,
    },
];

impl Format {
    fn matches(&self, structure: &gst::StructureRef) -> bool {
        let is_version = || {
            structure
                .get::<i32>("mpegversion")
                .is_ok_and(|version| self.mpeg_versions.contains(&version))
        };
        structure.name() == self.media_type && (self.mpeg_versions.is_empty() || is_version())
    }
}

/// Why caps and a rendition cannot be turned into one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapsError {
    /// The codec, or this form of it, is none that MoQ tracks are written with here.
    #[error("{0} cannot be carried")]
    Unsupported(String),
    /// A field is missing or has a value that cannot be.
    #[error("{field} of {media_type} {problem}")]
    Field {
        media_type: &'static str,
        field: &'static str,
        problem: String,
    },
}

impl CapsError {
    fn field(
        media_type: &'static str,
        field: &'static str,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self::Field {
            media_type,
            field,
            problem: problem.to_string(),
        }
    }
}

/// The fields of caps, and errors that name them.
struct Fields<'a> {
    media_type: &'static str,
    parser: &'static str,
    structure: &'a gst::StructureRef,
}

impl Fields<'_> {
    fn error(&self, field: &'static str, problem: impl std::fmt::Display) -> CapsError {
        CapsError::field(self.media_type, field, problem)
    }

    /// What the codec's parser mends.
    fn unparsed(&self, field: &'static str, problem: impl std::fmt::Display) -> CapsError {
        match self.parser {
            "" => self.error(field, problem),
            parser => self.error(field, format!("{problem}: put {parser} in front")),
        }
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.structure.get(field).ok()
    }

    fn int(&self, field: &str) -> Option<i32> {
        self.structure.get(field).ok()
    }

    /// A number above 0.
    fn count(&self, field: &str) -> Option<u32> {
        let value = u32::try_from(self.int(field)?).ok()?;
        (value > 0).then_some(value)
    }

    fn fraction(&self, field: &str) -> Option<gst::Fraction> {
        self.structure.get(field).ok()
    }

    fn is_false(&self, field: &str) -> bool {
        self.structure.get::<bool>(field) == Ok(false)
    }

    fn buffer(&self, field: &str) -> Option<Bytes> {
        let buffer = self.structure.get::<gst::Buffer>(field).ok()?;
        readable(&buffer)
    }

    /// The first buffer of an array.
    fn first_buffer(&self, field: &str) -> Option<Bytes> {
        let buffers = self.structure.get::<gst::ArrayRef>(field).ok()?;
        let buffer = buffers.first()?.get::<gst::Buffer>().ok()?;
        readable(&buffer)
    }

    fn codec_data(&self) -> Result<Bytes, CapsError> {
        self.buffer("codec_data")
            .ok_or_else(|| self.unparsed("codec_data", "is missing"))
    }
}

fn readable(buffer: &gst::BufferRef) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&buffer.map_readable().ok()?))
}

/// Caps of pad templates; `None` for all kinds.
pub fn template(kind: Option<Kind>) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    for format in FORMATS {
        if kind.is_none_or(|kind| kind == format.kind) {
            caps.merge((format.caps)());
        }
    }
    caps
}

impl Stream {
    /// What fixed caps say.
    ///
    /// # Errors
    /// [`CapsError`], for a message on the bus.
    pub fn from_caps(caps: &gst::CapsRef) -> Result<Self, CapsError> {
        let structure = caps
            .structure(0)
            .ok_or_else(|| CapsError::Unsupported("A stream without caps".into()))?;
        let format = FORMATS
            .iter()
            .find(|format| format.matches(structure))
            .ok_or_else(|| {
                let version = structure.get::<i32>("mpegversion");
                let version =
                    version.map_or(String::new(), |version| format!(", mpegversion={version}"));
                CapsError::Unsupported(format!("{}{version}", structure.name()))
            })?;
        (format.from_caps)(&Fields {
            media_type: format.media_type,
            parser: format.parser,
            structure,
        })
    }
}

/// A fraction in lowest terms; `None` if it has a zero or does not fit.
fn reduced(numer: u64, denom: u64) -> Option<(u32, u32)> {
    let (mut a, mut b) = (numer, denom);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = (numer != 0 && denom != 0).then_some(a)?;
    Some((
        u32::try_from(numer / divisor).ok()?,
        u32::try_from(denom / divisor).ok()?,
    ))
}

#[cfg(test)]
mod tests;

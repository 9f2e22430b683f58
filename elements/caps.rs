//! Caps ↔ catalog renditions, both directions, one table.
//!
//! A row of `FORMATS` is a codec that can be carried. [`Stream::from_caps`] reads what moqsink is given, [`video_caps`] and
//! [`audio_caps`] write what moqsrc gives: caps that link straight to a decoder.

mod output;

use bytes::Bytes;

use crate::media::{
    catalog::{AudioRendition, Container, VideoRendition},
    codec::{Codec, Kind},
    h264::{Config, NalFormat},
    opus,
};

pub use output::{audio_caps, video_caps};

/// A codec in the terms of caps and of catalogs.
struct Format {
    kind: Kind,
    media_type: &'static str,
    /// What both elements accept and offer.
    caps: fn() -> gst::Caps,
    from_caps: fn(&gst::StructureRef) -> Result<Stream, CapsError>,
}

const FORMATS: &[Format] = &[
    Format {
        kind: Kind::Video,
        media_type: "video/x-h264",
        caps: h264_caps,
        from_caps: h264_from_caps,
    },
    Format {
        kind: Kind::Audio,
        media_type: "audio/x-opus",
        caps: opus_caps,
        from_caps: opus_from_caps,
    },
];

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

/// A stream as its caps describe it.
#[derive(Debug, Clone, PartialEq)]
pub enum Stream {
    H264(H264Stream),
    Opus(AudioRendition),
}

/// H.264 before and after its parameter sets are known.
#[derive(Debug, Clone, PartialEq)]
pub struct H264Stream {
    /// How NAL units are separated.
    pub format: NalFormat,
    /// Parameter sets; for byte-stream they come with the first key frame.
    pub config: Option<Config>,
    /// The avcC record; none for byte-stream.
    description: Option<Bytes>,
    framerate: Option<gst::Fraction>,
    pixel_aspect: Option<gst::Fraction>,
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
            .find(|format| format.media_type == structure.name().as_str())
            .ok_or_else(|| CapsError::Unsupported(structure.name().to_string()))?;
        (format.from_caps)(structure)
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::H264(_) => Kind::Video,
            Self::Opus(_) => Kind::Audio,
        }
    }

    /// What follows the number in the default name of a track.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::H264(H264Stream {
                description: None, ..
            }) => ".avc3",
            Self::H264(_) => ".avc1",
            Self::Opus(_) => ".opus",
        }
    }

    /// A track can go on from `self` to `next` with a new entry in the catalog: the codec is the same.
    pub fn can_become(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::H264(_), Self::H264(_)) | (Self::Opus(_), Self::Opus(_))
        )
    }
}

impl H264Stream {
    /// The catalog entry, once the parameter sets are known.
    pub fn rendition(&self) -> Option<VideoRendition> {
        let config = self.config.as_ref()?;
        let framerate = self.framerate(config);
        Some(VideoRendition {
            codec: config.codec_string(self.description.is_none()),
            description: self.description.clone(),
            coded_width: Some(config.width),
            coded_height: Some(config.height),
            display_aspect: self.display_aspect(config),
            framerate,
            // A frame is held until the next one at most.
            jitter_ms: framerate.map(|rate| (1000.0 / rate).ceil().clamp(1.0, 10_000.0) as u32),
            container: Container::Legacy,
            ..VideoRendition::default()
        })
    }

    fn framerate(&self, config: &Config) -> Option<f64> {
        let (numer, denom) = self
            .framerate
            .map(|rate| (f64::from(rate.numer()), f64::from(rate.denom())))
            .filter(|(numer, denom)| *numer > 0.0 && *denom > 0.0)
            .or_else(|| {
                config
                    .framerate
                    .map(|(numer, denom)| (f64::from(numer), f64::from(denom)))
            })?;
        Some(numer / denom)
    }

    fn display_aspect(&self, config: &Config) -> Option<(u32, u32)> {
        let pixel = self
            .pixel_aspect
            .and_then(|aspect| {
                Some((
                    u32::try_from(aspect.numer()).ok()?,
                    u32::try_from(aspect.denom()).ok()?,
                ))
            })
            .filter(|(numer, denom)| *numer > 0 && *denom > 0)
            .or(config.sample_aspect)?;
        let width = u64::from(config.width) * u64::from(pixel.0);
        let height = u64::from(config.height) * u64::from(pixel.1);
        reduced(width, height)
    }
}

fn h264_caps() -> gst::Caps {
    gst::Caps::builder("video/x-h264")
        .field("stream-format", gst::List::new(["byte-stream", "avc"]))
        .field("alignment", "au")
        .build()
}

fn h264_from_caps(caps: &gst::StructureRef) -> Result<Stream, CapsError> {
    const MEDIA_TYPE: &str = "video/x-h264";
    if caps.get::<&str>("alignment") != Ok("au") {
        return Err(CapsError::field(MEDIA_TYPE, "alignment", "is not au"));
    }
    let stream_format = caps.get::<&str>("stream-format").unwrap_or("missing");
    let (format, config, description) = match stream_format {
        "byte-stream" => (NalFormat::ByteStream, None, None),
        "avc" => {
            let record = caps
                .get::<gst::Buffer>("codec_data")
                .map_err(|_| CapsError::field(MEDIA_TYPE, "codec_data", "is missing"))?;
            let record = readable(&record)
                .ok_or_else(|| CapsError::field(MEDIA_TYPE, "codec_data", "cannot be read"))?;
            let config = Config::from_avcc(&record)
                .map_err(|err| CapsError::field(MEDIA_TYPE, "codec_data", err))?;
            (config.nal_format(), Some(config), Some(record))
        }
        other => {
            return Err(CapsError::field(
                MEDIA_TYPE,
                "stream-format",
                format!("is {other}"),
            ));
        }
    };
    Ok(Stream::H264(H264Stream {
        format,
        config,
        description,
        framerate: caps.get("framerate").ok(),
        pixel_aspect: caps.get("pixel-aspect-ratio").ok(),
    }))
}

fn opus_caps() -> gst::Caps {
    let mut caps = gst::Caps::builder("audio/x-opus")
        .field("channel-mapping-family", 0)
        .build();
    caps.merge(
        gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 1)
            .field("channels", gst::IntRange::new(1, 8))
            .field("stream-count", gst::IntRange::new(1, 8))
            .field("coupled-count", gst::IntRange::new(0, 8))
            .build(),
    );
    caps
}

fn opus_from_caps(caps: &gst::StructureRef) -> Result<Stream, CapsError> {
    const MEDIA_TYPE: &str = "audio/x-opus";
    let family = caps.get::<i32>("channel-mapping-family").unwrap_or(0);
    let channels = match caps.get::<i32>("channels") {
        Ok(channels) => u8::try_from(channels)
            .ok()
            .filter(|channels| (1..=8).contains(channels))
            .ok_or_else(|| CapsError::field(MEDIA_TYPE, "channels", format!("is {channels}")))?,
        Err(_) if family == 0 => 2,
        Err(_) => return Err(CapsError::field(MEDIA_TYPE, "channels", "is missing")),
    };
    let sample_rate = caps
        .get::<i32>("rate")
        .ok()
        .and_then(|rate| u32::try_from(rate).ok())
        .filter(|rate| *rate > 0)
        .unwrap_or(opus::CLOCK_RATE);
    let description = match family {
        // Raw packets say everything.
        0 if channels <= 2 => None,
        0 => {
            return Err(CapsError::field(
                MEDIA_TYPE,
                "channels",
                format!("is {channels}, more than mapping family 0 has"),
            ));
        }
        1 => Some(mapping_header(caps, channels, sample_rate)?),
        family => {
            return Err(CapsError::field(
                MEDIA_TYPE,
                "channel-mapping-family",
                format!("is {family}"),
            ));
        }
    };
    Ok(Stream::Opus(AudioRendition {
        codec: Codec::Opus.to_string(),
        sample_rate,
        channels: channels.into(),
        description,
        container: Container::Legacy,
        ..AudioRendition::default()
    }))
}

/// The OpusHead of mapping family 1: the stream header of the caps, or made from their fields.
fn mapping_header(
    caps: &gst::StructureRef,
    channels: u8,
    sample_rate: u32,
) -> Result<Bytes, CapsError> {
    const MEDIA_TYPE: &str = "audio/x-opus";
    if let Ok(headers) = caps.get::<gst::ArrayRef>("streamheader")
        && let Some(Ok(header)) = headers.first().map(|header| header.get::<gst::Buffer>())
        && let Some(header) = readable(&header)
        && opus::Head::parse(&header).is_ok()
    {
        return Ok(header);
    }
    let byte = |field: &'static str| {
        caps.get::<i32>(field)
            .ok()
            .and_then(|value| u8::try_from(value).ok())
            .ok_or_else(|| CapsError::field(MEDIA_TYPE, field, "is missing"))
    };
    let table = match caps.get::<gst::ArrayRef>("channel-mapping") {
        Ok(table) => table
            .iter()
            .filter_map(|channel| u8::try_from(channel.get::<i32>().ok()?).ok())
            .collect(),
        Err(_) => (0..channels).collect(),
    };
    opus::Head {
        channels,
        pre_skip: 0,
        input_sample_rate: sample_rate,
        output_gain: 0,
        mapping: Some(opus::Mapping {
            streams: byte("stream-count")?,
            coupled: byte("coupled-count")?,
            table,
        }),
    }
    .write()
    .map_err(|err| CapsError::field(MEDIA_TYPE, "channel-mapping", err))
}

fn readable(buffer: &gst::BufferRef) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&buffer.map_readable().ok()?))
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

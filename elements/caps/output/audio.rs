//! Caps of sound.

use super::CapsError;
use crate::media::{aac, catalog::AudioRendition, codec::Codec, flac, opus};

pub(super) fn template() -> gst::Caps {
    let opus = gst::Structure::builder("audio/x-opus");
    [
        opus.field("channel-mapping-family", 0).build(),
        gst::Structure::builder("audio/x-opus")
            .field("channel-mapping-family", 1)
            .field("channels", gst::IntRange::new(1, 8))
            .field("stream-count", gst::IntRange::new(1, 8))
            .field("coupled-count", gst::IntRange::new(0, 8))
            .build(),
        gst::Structure::builder("audio/mpeg")
            .field("mpegversion", 4)
            .field("stream-format", "raw")
            .field("framed", true)
            .build(),
        gst::Structure::builder("audio/mpeg")
            .field("mpegversion", 1)
            .field("layer", 3)
            .field("parsed", true)
            .build(),
        gst::Structure::builder("audio/x-flac")
            .field("framed", true)
            .build(),
    ]
    .into_iter()
    .collect()
}

/// The caps of a rendition that is complete: what an init segment says is in it.
pub(super) fn caps(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    match Codec::parse(&rendition.codec) {
        Codec::Opus => opus(rendition),
        Codec::Aac { object_type } => aac(rendition, object_type),
        Codec::Mp3 => mp3(rendition),
        Codec::Flac => flac(rendition),
        _ => Err(CapsError::Unsupported(rendition.codec.clone())),
    }
}

/// How many channels the catalog lists, of at most so many.
fn channels(
    rendition: &AudioRendition,
    media_type: &'static str,
    most: i32,
) -> Result<i32, CapsError> {
    i32::try_from(rendition.channels)
        .ok()
        .filter(|channels| (1..=most).contains(channels))
        .ok_or_else(|| {
            CapsError::field(media_type, "channels", format!("is {}", rendition.channels))
        })
}

fn rate(rate: u32, media_type: &'static str) -> Result<i32, CapsError> {
    i32::try_from(rate)
        .ok()
        .filter(|rate| *rate > 0)
        .ok_or_else(|| CapsError::field(media_type, "rate", format!("is {rate}")))
}

fn opus(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    const MEDIA_TYPE: &str = "audio/x-opus";
    let channels = channels(rendition, MEDIA_TYPE, 8)?;
    let caps = gst::Caps::builder(MEDIA_TYPE)
        // Opus decodes at 48 kHz whatever was captured (RFC 6716 §1); decoders do not take any other rate.
        .field("rate", opus::CLOCK_RATE as i32)
        .field("channels", channels);
    let head = rendition
        .description
        .as_ref()
        .map(|description| opus::Head::parse(description))
        .transpose()
        .map_err(|err| CapsError::field(MEDIA_TYPE, "streamheader", err))?;
    let caps = match head.and_then(|head| head.mapping) {
        None if channels <= 2 => caps.field("channel-mapping-family", 0),
        None => {
            return Err(CapsError::field(
                MEDIA_TYPE,
                "channels",
                format!("is {channels} without a channel mapping"),
            ));
        }
        Some(mapping) if mapping.table.len() != rendition.channels as usize => {
            return Err(CapsError::field(
                MEDIA_TYPE,
                "channels",
                format!(
                    "is {channels}, and the channel mapping has {}",
                    mapping.table.len()
                ),
            ));
        }
        Some(mapping) => caps
            .field("channel-mapping-family", 1)
            .field("stream-count", i32::from(mapping.streams))
            .field("coupled-count", i32::from(mapping.coupled))
            .field(
                "channel-mapping",
                gst::Array::new(mapping.table.iter().map(|channel| i32::from(*channel))),
            ),
    };
    Ok(caps.build())
}

fn aac(rendition: &AudioRendition, object_type: u8) -> Result<gst::Caps, CapsError> {
    const MEDIA_TYPE: &str = "audio/mpeg";
    let described = rendition
        .description
        .as_ref()
        .map(|asc| aac::Config::parse(asc).map(|config| (config, asc.clone())))
        .transpose()
        .map_err(|err| CapsError::field(MEDIA_TYPE, "codec_data", err))?;
    let (config, asc) = match described {
        Some(described) => described,
        None => undescribed_aac(rendition, object_type).ok_or_else(|| {
            CapsError::field(
                MEDIA_TYPE,
                "codec_data",
                "is missing, and codec, rate and channels do not tell it",
            )
        })?,
    };
    let profile = (config.sbr_rate.is_none())
        .then(|| profile(config.object_type))
        .flatten();
    Ok(gst::Caps::builder(MEDIA_TYPE)
        .field("mpegversion", 4)
        .field("stream-format", "raw")
        .field("framed", true)
        .field("codec_data", gst::Buffer::from_slice(asc))
        .field("rate", rate(config.sample_rate(), MEDIA_TYPE)?)
        .field("channels", i32::from(config.output_channels()))
        .field_if_some("profile", profile)
        .field_if_some("base-profile", profile)
        .field_if_some("level", profile.and_then(|_| level(&config)))
        .build())
}

/// The configuration of AAC LC at this rate, in which decoders find band replication by themselves (ISO/IEC 14496-3
/// §1.6.5, implicit signalling): it doubles the rate of the core, and parametric stereo makes two channels of one.
fn undescribed_aac(
    rendition: &AudioRendition,
    object_type: u8,
) -> Option<(aac::Config, bytes::Bytes)> {
    let channels = u8::try_from(rendition.channels).ok()?;
    let (core_rate, core_channels) = match object_type {
        aac::object_type::LC => (rendition.sample_rate, channels),
        aac::object_type::SBR => (rendition.sample_rate / 2, channels),
        aac::object_type::PS => (rendition.sample_rate / 2, 1),
        _ => return None,
    };
    let mut config = aac::Config::low_complexity(core_rate, core_channels)?;
    let asc = config.to_asc()?;
    if object_type != aac::object_type::LC {
        config.sbr_rate = Some(rendition.sample_rate);
        config.ps = object_type == aac::object_type::PS;
    }
    Some((config, asc))
}

/// The value of `profile` for an audio object type (ISO/IEC 14496-3 Table 1.17).
fn profile(object_type: u8) -> Option<&'static str> {
    match object_type {
        1 => Some("main"),
        2 => Some("lc"),
        3 => Some("ssr"),
        4 => Some("ltp"),
        _ => None,
    }
}

/// The lowest level of the AAC profile that allows this (ISO/IEC 14496-3 Table 1.10).
fn level(config: &aac::Config) -> Option<&'static str> {
    match (config.output_channels(), config.sample_rate()) {
        (0..=2, 0..=24_000) => Some("1"),
        (0..=2, 24_001..=48_000) => Some("2"),
        (0..=6, 0..=48_000) => Some("4"),
        (0..=6, 48_001..=96_000) => Some("5"),
        (7..=8, 0..=48_000) => Some("6"),
        (7..=8, 48_001..=96_000) => Some("7"),
        _ => None,
    }
}

fn mp3(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    const MEDIA_TYPE: &str = "audio/mpeg";
    let rate = rate(rendition.sample_rate, MEDIA_TYPE)?;
    // MPEG 2 halves the rates of MPEG 1, MPEG 2.5 halves them again.
    let version = match rate {
        32_000.. => 1,
        16_000..32_000 => 2,
        _ => 3,
    };
    Ok(gst::Caps::builder(MEDIA_TYPE)
        .field("mpegversion", 1)
        .field("mpegaudioversion", version)
        .field("layer", 3)
        .field("parsed", true)
        .field("rate", rate)
        .field("channels", channels(rendition, MEDIA_TYPE, 2)?)
        .build())
}

fn flac(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    const MEDIA_TYPE: &str = "audio/x-flac";
    let missing = || CapsError::field(MEDIA_TYPE, "streamheader", "is missing");
    let description = rendition.description.as_ref().ok_or_else(missing)?;
    let info = flac::StreamInfo::from_description(description)
        .map_err(|err| CapsError::field(MEDIA_TYPE, "streamheader", err))?;
    Ok(gst::Caps::builder(MEDIA_TYPE)
        .field("framed", true)
        .field("rate", rate(info.sample_rate, MEDIA_TYPE)?)
        .field("channels", i32::from(info.channels))
        .field("streamheader", stream_header(&info))
        .build())
}

/// The header packets of FLAC in Ogg, which is how caps have them (RFC 9639 §10.1): STREAMINFO behind a marker, and a
/// comment, which has to be there and says nothing here.
fn stream_header(info: &flac::StreamInfo) -> gst::Array {
    const OGG_MARKER: &[u8] = b"\x7fFLAC\x01\x00\x00\x01";
    /// VORBIS_COMMENT, the last block: no vendor, no comments.
    const COMMENT: [u8; 12] = [0x84, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    const NOT_LAST: u8 = 0x7f;
    let mut first = [OGG_MARKER, &info.description()[..]].concat();
    first[OGG_MARKER.len() + 4] &= NOT_LAST;
    gst::Array::new([
        gst::Buffer::from_mut_slice(first),
        gst::Buffer::from_slice(COMMENT),
    ])
}

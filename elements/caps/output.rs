//! Renditions → caps that link straight to a decoder.

use super::{CapsError, reduced};
use crate::media::{
    catalog::{AudioRendition, Container, VideoRendition},
    codec::Codec,
    h264::Config,
    opus,
};

/// Caps for a video track, such that a decoder takes them as they are.
///
/// # Errors
/// [`CapsError`] for a codec, container or description that cannot be played.
pub fn video_caps(rendition: &VideoRendition) -> Result<gst::Caps, CapsError> {
    playable(&rendition.container)?;
    match Codec::parse(&rendition.codec) {
        Codec::H264(_) => h264_to_caps(rendition),
        _ => Err(CapsError::Unsupported(rendition.codec.clone())),
    }
}

/// Caps for an audio track, such that a decoder takes them as they are.
///
/// # Errors
/// As [`video_caps`].
pub fn audio_caps(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    playable(&rendition.container)?;
    match Codec::parse(&rendition.codec) {
        Codec::Opus => opus_to_caps(rendition),
        _ => Err(CapsError::Unsupported(rendition.codec.clone())),
    }
}

fn playable(container: &Container) -> Result<(), CapsError> {
    match container {
        Container::Legacy => Ok(()),
        Container::Loc => Err(CapsError::Unsupported("The container loc".into())),
        Container::Cmaf { .. } => Err(CapsError::Unsupported("The container cmaf".into())),
    }
}

fn h264_to_caps(rendition: &VideoRendition) -> Result<gst::Caps, CapsError> {
    let mut caps = gst::Caps::builder("video/x-h264")
        .field("alignment", "au")
        .field("parsed", true);
    let mut size = rendition.coded_width.zip(rendition.coded_height);
    caps = match &rendition.description {
        Some(record) => {
            let config = Config::from_avcc(record)
                .map_err(|err| CapsError::field("video/x-h264", "codec_data", err))?;
            size = Some((config.width, config.height));
            caps.field("stream-format", "avc")
                .field("codec_data", gst::Buffer::from_slice(record.clone()))
        }
        None => caps.field("stream-format", "byte-stream"),
    };
    if let Codec::H264(codec) = Codec::parse(&rendition.codec) {
        caps = caps
            .field_if_some("profile", codec.profile())
            .field_if_some("level", codec.level());
    }
    if let Some((width, height)) = size
        && let (Ok(width), Ok(height)) = (i32::try_from(width), i32::try_from(height))
        && width > 0
        && height > 0
    {
        caps = caps.field("width", width).field("height", height);
        if let Some(aspect) = pixel_aspect(rendition.display_aspect, width, height) {
            caps = caps.field("pixel-aspect-ratio", aspect);
        }
    }
    if let Some(rate) = rendition.framerate.and_then(framerate) {
        caps = caps.field("framerate", rate);
    }
    Ok(caps.build())
}

/// The shape of one pixel, from the shape of the picture.
fn pixel_aspect(display: Option<(u32, u32)>, width: i32, height: i32) -> Option<gst::Fraction> {
    let (display_width, display_height) = display?;
    let (numer, denom) = reduced(
        u64::from(display_width) * u64::from(height.unsigned_abs()),
        u64::from(display_height) * u64::from(width.unsigned_abs()),
    )?;
    Some(gst::Fraction::new(
        i32::try_from(numer).ok()?,
        i32::try_from(denom).ok()?,
    ))
}

/// The usual fraction for a frame rate of a catalog: NTSC rates are n·1000/1001, others have at most three decimals.
pub(super) fn framerate(rate: f64) -> Option<gst::Fraction> {
    if !(0.001..=10_000.0).contains(&rate) {
        return None;
    }
    let ntsc = (rate * 1.001).round();
    if ntsc >= 1.0
        && (ntsc * 1000.0 / 1001.0 - rate).abs() < 1e-3
        && (rate.round() - rate).abs() > 1e-3
    {
        return Some(gst::Fraction::new(ntsc as i32 * 1000, 1001));
    }
    let (numer, denom) = reduced((rate * 1000.0).round() as u64, 1000)?;
    Some(gst::Fraction::new(
        i32::try_from(numer).ok()?,
        i32::try_from(denom).ok()?,
    ))
}

fn opus_to_caps(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    const MEDIA_TYPE: &str = "audio/x-opus";
    let channels = i32::try_from(rendition.channels)
        .ok()
        .filter(|channels| (1..=8).contains(channels))
        .ok_or_else(|| {
            CapsError::field(MEDIA_TYPE, "channels", format!("is {}", rendition.channels))
        })?;
    let mut caps = gst::Caps::builder(MEDIA_TYPE)
        // Opus decodes at 48 kHz whatever was captured (RFC 6716 §1); decoders do not take any other rate.
        .field("rate", opus::CLOCK_RATE as i32)
        .field("channels", channels);
    let head = rendition
        .description
        .as_ref()
        .map(|description| opus::Head::parse(description))
        .transpose()
        .map_err(|err| CapsError::field(MEDIA_TYPE, "streamheader", err))?;
    caps = match head.and_then(|head| head.mapping) {
        None if channels <= 2 => caps.field("channel-mapping-family", 0),
        None => {
            return Err(CapsError::field(
                MEDIA_TYPE,
                "channels",
                format!("is {channels} without a channel mapping"),
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

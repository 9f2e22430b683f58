//! Renditions → caps that link straight to a decoder, one file for each kind.
//!
//! Nothing is invented: a field is there if the catalog, the description or the init segment of CMAF says it.

mod audio;
mod video;

use super::{CapsError, reduced};
use crate::media::{
    catalog::{AudioRendition, Container, Rendition, VideoRendition},
    codec::Kind,
    container::cmaf,
};

/// Caps of the pads of moqsrc: every form that [`video_caps`] and [`audio_caps`] give.
pub fn output_template(kind: Kind) -> gst::Caps {
    match kind {
        Kind::Video => video::template(),
        Kind::Audio => audio::template(),
    }
}

/// Caps for a video track, such that a decoder takes them as they are.
///
/// # Errors
/// [`CapsError`] for a codec, description or init segment that cannot be played.
pub fn video_caps(rendition: &VideoRendition) -> Result<gst::Caps, CapsError> {
    match init_rendition(&rendition.container)? {
        None => video::caps(rendition),
        Some(Rendition::Video(init)) => video::caps(&VideoRendition {
            description: rendition.description.clone().or(init.description),
            coded_width: rendition.coded_width.or(init.coded_width),
            coded_height: rendition.coded_height.or(init.coded_height),
            display_aspect: rendition.display_aspect.or(init.display_aspect),
            ..rendition.clone()
        }),
        Some(Rendition::Audio(_)) => Err(CapsError::Unsupported(
            "Video with the init segment of sound".into(),
        )),
    }
}

/// Caps for an audio track, such that a decoder takes them as they are.
///
/// # Errors
/// As [`video_caps`].
pub fn audio_caps(rendition: &AudioRendition) -> Result<gst::Caps, CapsError> {
    match init_rendition(&rendition.container)? {
        None => audio::caps(rendition),
        Some(Rendition::Audio(init)) => audio::caps(&AudioRendition {
            description: rendition.description.clone().or(init.description),
            ..rendition.clone()
        }),
        Some(Rendition::Video(_)) => Err(CapsError::Unsupported(
            "Sound with the init segment of video".into(),
        )),
    }
}

/// What a CMAF init segment says; `None` for the other containers, which have none.
fn init_rendition(container: &Container) -> Result<Option<Rendition>, CapsError> {
    match container {
        Container::Legacy | Container::Loc => Ok(None),
        Container::Cmaf { init } => match cmaf::Init::parse(init) {
            Ok(init) => Ok(Some(init.rendition)),
            Err(err) => Err(CapsError::Unsupported(format!(
                "CMAF with this init segment ({err})"
            ))),
        },
    }
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
    fraction(reduced((rate * 1000.0).round() as u64, 1000)?)
}

fn fraction((numer, denom): (u32, u32)) -> Option<gst::Fraction> {
    Some(gst::Fraction::new(
        i32::try_from(numer).ok()?,
        i32::try_from(denom).ok()?,
    ))
}

#[cfg(test)]
mod tests;

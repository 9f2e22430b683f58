//! Caps of pictures.

use bytes::Bytes;

use super::{CapsError, fraction, framerate, reduced};
use crate::media::{
    av1::Av1C,
    catalog::VideoRendition,
    codec::{Av1, Codec, H264, H265, Vp9},
    h264, h265,
};

type Builder = gst::caps::Builder<gst::caps::NoFeature>;

pub(super) fn template() -> gst::Caps {
    let units = |media_type: &str, formats: &[&str]| {
        gst::Structure::builder(media_type)
            .field("stream-format", gst::List::new(formats.iter().copied()))
            .field("alignment", "au")
            .build()
    };
    [
        units("video/x-h264", &["byte-stream", "avc"]),
        units("video/x-h265", &["byte-stream", "hvc1", "hev1"]),
        gst::Structure::new_empty("video/x-vp8"),
        gst::Structure::new_empty("video/x-vp9"),
        gst::Structure::builder("video/x-av1")
            .field("stream-format", "obu-stream")
            .field("alignment", "tu")
            .build(),
    ]
    .into_iter()
    .collect()
}

/// The caps of a rendition that is complete: what an init segment says is in it.
pub(super) fn caps(rendition: &VideoRendition) -> Result<gst::Caps, CapsError> {
    let (mut builder, stated) = match Codec::parse(&rendition.codec) {
        Codec::H264(codec) => h264(&codec, rendition.description.as_ref())?,
        Codec::H265(codec) => h265(&codec, rendition.description.as_ref())?,
        Codec::Vp8 => (gst::Caps::builder("video/x-vp8"), None),
        Codec::Vp9(codec) => (vp9(&codec), None),
        Codec::Av1(codec) => av1(&codec, rendition.description.as_ref())?,
        _ => return Err(CapsError::Unsupported(rendition.codec.clone())),
    };
    let size = stated.or(rendition.coded_width.zip(rendition.coded_height));
    if let Some((width, height)) = size
        && let (Ok(width), Ok(height)) = (i32::try_from(width), i32::try_from(height))
        && width > 0
        && height > 0
    {
        builder = builder
            .field("width", width)
            .field("height", height)
            .field_if_some(
                "pixel-aspect-ratio",
                pixel_aspect(rendition.display_aspect, width, height),
            );
    }
    Ok(builder
        .field_if_some("framerate", rendition.framerate.and_then(framerate))
        .build())
}

/// The shape of one pixel, from the shape of the picture.
fn pixel_aspect(display: Option<(u32, u32)>, width: i32, height: i32) -> Option<gst::Fraction> {
    let (display_width, display_height) = display?;
    fraction(reduced(
        u64::from(display_width) * u64::from(height.unsigned_abs()),
        u64::from(display_height) * u64::from(width.unsigned_abs()),
    )?)
}

/// What a codec's part of the caps is, and the size where the configuration states it.
type Coded = (Builder, Option<(u32, u32)>);

fn codec_data(builder: Builder, record: &Bytes) -> Builder {
    builder.field("codec_data", gst::Buffer::from_slice(record.clone()))
}

/// A record without parameter sets, as `avc3` may have it, is a record all the same: access units have lengths. Without a
/// record they have start codes, whatever the codec string says: browsers publish `avc1` so.
fn h264(codec: &H264, record: Option<&Bytes>) -> Result<Coded, CapsError> {
    const MEDIA_TYPE: &str = "video/x-h264";
    let builder = gst::Caps::builder(MEDIA_TYPE)
        .field("alignment", "au")
        .field("parsed", true)
        .field_if_some("profile", codec.profile())
        .field_if_some("level", codec.level());
    let Some(record) = record else {
        return Ok((builder.field("stream-format", "byte-stream"), None));
    };
    h264::AvcC::parse(record).map_err(|err| CapsError::field(MEDIA_TYPE, "codec_data", err))?;
    let size = match h264::Config::from_avcc(record) {
        Ok(config) => Some((config.width, config.height)),
        Err(h264::ParameterSetError::NoSps) => None,
        Err(err) => return Err(CapsError::field(MEDIA_TYPE, "codec_data", err)),
    };
    let builder = builder.field("stream-format", "avc");
    Ok((codec_data(builder, record), size))
}

fn h265(codec: &H265, record: Option<&Bytes>) -> Result<Coded, CapsError> {
    const MEDIA_TYPE: &str = "video/x-h265";
    let builder = gst::Caps::builder(MEDIA_TYPE)
        .field("alignment", "au")
        .field("parsed", true)
        .field_if_some("profile", codec.profile())
        .field_if_some("level", codec.level())
        .field("tier", codec.tier());
    let Some(record) = record else {
        return Ok((builder.field("stream-format", "byte-stream"), None));
    };
    h265::HvcC::parse(record).map_err(|err| CapsError::field(MEDIA_TYPE, "codec_data", err))?;
    let size = match h265::Config::from_hvcc(record) {
        Ok(config) => Some(config.size()),
        Err(h265::ParameterSetError::NoSps) => None,
        Err(err) => return Err(CapsError::field(MEDIA_TYPE, "codec_data", err)),
    };
    let format = if codec.inline { "hev1" } else { "hvc1" };
    let builder = builder.field("stream-format", format);
    Ok((codec_data(builder, record), size))
}

/// Packets are superframes that show one picture each. Of the chroma, profiles 0 and 2 say what it is, 1 and 3 only what it is
/// not.
fn vp9(codec: &Vp9) -> Builder {
    gst::Caps::builder("video/x-vp9")
        .field("alignment", "super-frame")
        .field("profile", codec.profile())
        .field_if_some(
            "chroma-format",
            codec.profile.is_multiple_of(2).then_some("4:2:0"),
        )
        .field("bit-depth-luma", u32::from(codec.bit_depth))
        .field("bit-depth-chroma", u32::from(codec.bit_depth))
}

fn av1(codec: &Av1, record: Option<&Bytes>) -> Result<Coded, CapsError> {
    const MEDIA_TYPE: &str = "video/x-av1";
    let mut builder = gst::Caps::builder(MEDIA_TYPE)
        .field("stream-format", "obu-stream")
        .field("alignment", "tu")
        .field("parsed", true)
        .field_if_some("profile", codec.profile())
        .field("tier", codec.tier())
        .field("bit-depth-luma", u32::from(codec.bit_depth))
        .field("bit-depth-chroma", u32::from(codec.bit_depth));
    let mut size = None;
    if let Some(record) = record {
        let av1c =
            Av1C::parse(record).map_err(|err| CapsError::field(MEDIA_TYPE, "codec_data", err))?;
        size = av1c
            .sequence_header
            .map(|sequence| (sequence.width, sequence.height));
        builder = codec_data(builder, record);
    }
    Ok((builder, size))
}

//! Caps of video → streams.

use super::{Av1Stream, CapsError, Fields, NalStream, Stream, VideoCoding, VideoStream};
use crate::media::{av1, h264, h264::NalFormat, h265};

fn stream(fields: &Fields<'_>, coding: VideoCoding) -> Stream {
    let positive = |fraction: &gst::Fraction| fraction.numer() > 0 && fraction.denom() > 0;
    Stream::Video(VideoStream {
        coding,
        size: fields.count("width").zip(fields.count("height")),
        framerate: fields.fraction("framerate").filter(positive),
        pixel_aspect: fields.fraction("pixel-aspect-ratio").filter(positive),
    })
}

fn nal_caps(media_type: &str, formats: [&'static str; 3]) -> gst::Caps {
    gst::Caps::builder(media_type)
        .field("stream-format", gst::List::new(formats))
        .field("alignment", "au")
        .build()
}

pub(super) fn h264_caps() -> gst::Caps {
    nal_caps("video/x-h264", ["byte-stream", "avc", "avc3"])
}

pub(super) fn h265_caps() -> gst::Caps {
    nal_caps("video/x-h265", ["byte-stream", "hvc1", "hev1"])
}

/// Whole access units, and how their NAL units are separated.
fn nal_format<'a>(fields: &'a Fields<'_>) -> Result<&'a str, CapsError> {
    match fields.text("alignment") {
        Some("au") => {}
        Some(_) => return Err(fields.unparsed("alignment", "is not au")),
        None => return Err(fields.unparsed("alignment", "is missing")),
    }
    fields
        .text("stream-format")
        .ok_or_else(|| fields.unparsed("stream-format", "is missing"))
}

pub(super) fn h264(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    let invalid = |err| fields.error("codec_data", err);
    let nal = match nal_format(fields)? {
        "byte-stream" => NalStream::byte_stream(),
        "avc" => {
            let record = fields.codec_data()?;
            let config = h264::Config::from_avcc(&record).map_err(invalid)?;
            NalStream {
                format: config.nal_format(),
                inline: false,
                config: Some(config),
                record: Some(record),
            }
        }
        "avc3" => {
            let record = fields.codec_data()?;
            NalStream {
                format: h264::AvcC::parse(&record).map_err(invalid)?.nal_format(),
                inline: true,
                config: h264::Config::from_avcc(&record).ok(),
                record: Some(record),
            }
        }
        other => return Err(fields.unparsed("stream-format", format!("is {other}"))),
    };
    Ok(stream(fields, VideoCoding::H264(nal)))
}

pub(super) fn h265(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    let invalid = |err| fields.error("codec_data", err);
    let nal = match nal_format(fields)? {
        "byte-stream" => NalStream::byte_stream(),
        "hvc1" => {
            let record = fields.codec_data()?;
            let config = h265::Config::from_hvcc(&record).map_err(invalid)?;
            NalStream {
                format: config.nal_format(),
                inline: false,
                config: Some(config),
                record: Some(record),
            }
        }
        "hev1" => {
            let record = fields.codec_data()?;
            NalStream {
                format: h265::HvcC::parse(&record).map_err(invalid)?.nal_format(),
                inline: true,
                config: h265::Config::from_hvcc(&record).ok(),
                record: Some(record),
            }
        }
        other => return Err(fields.unparsed("stream-format", format!("is {other}"))),
    };
    Ok(stream(fields, VideoCoding::H265(nal)))
}

impl<C> NalStream<C> {
    fn byte_stream() -> Self {
        Self {
            format: NalFormat::ByteStream,
            inline: true,
            config: None,
            record: None,
        }
    }
}

/// av1enc and some demuxers do not name the stream format: then it is the only one that anybody uses.
pub(super) fn av1_caps() -> gst::Caps {
    let mut caps = gst::Caps::builder("video/x-av1")
        .field("stream-format", "obu-stream")
        .field("alignment", "tu")
        .build();
    let unnamed = gst::Caps::builder("video/x-av1").field("alignment", "tu");
    // Not merged: preferred formats stay first.
    caps.make_mut().append(unnamed.build());
    caps
}

pub(super) fn av1(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    match fields.text("alignment") {
        Some("tu") => {}
        Some(_) => return Err(fields.unparsed("alignment", "is not tu")),
        None => return Err(fields.unparsed("alignment", "is missing")),
    }
    match fields.text("stream-format") {
        None | Some("obu-stream") => {}
        Some(other) => return Err(fields.unparsed("stream-format", format!("is {other}"))),
    }
    // A record without a sequence header says nothing that the stream does not.
    let known = fields.buffer("codec_data").and_then(|record| {
        let header = av1::Av1C::parse(&record).ok()?.sequence_header?;
        Some((header, record))
    });
    Ok(stream(fields, VideoCoding::Av1(Av1Stream { known })))
}

/// vp9enc does not name the alignment: its packets are superframes.
pub(super) fn vp9_caps() -> gst::Caps {
    let mut caps = gst::Caps::builder("video/x-vp9")
        .field("alignment", "super-frame")
        .build();
    caps.make_mut()
        .append(gst::Caps::new_empty_simple("video/x-vp9"));
    caps
}

pub(super) fn vp9(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    match fields.text("alignment") {
        None | Some("super-frame") => Ok(stream(fields, VideoCoding::Vp9(None))),
        Some(_) => Err(fields.unparsed("alignment", "is not super-frame")),
    }
}

pub(super) fn vp8_caps() -> gst::Caps {
    gst::Caps::new_empty_simple("video/x-vp8")
}

pub(super) fn vp8(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    Ok(stream(fields, VideoCoding::Vp8(None)))
}

//! Caps of audio → streams.

use bytes::Bytes;

use super::{AudioCoding, AudioStream, CapsError, Fields, Stream};
use crate::media::{aac::Config, catalog::AudioRendition, codec::Codec, flac::StreamInfo, opus};

fn known(coding: AudioCoding, rendition: AudioRendition) -> Stream {
    Stream::Audio(AudioStream {
        coding,
        rendition: Some(rendition),
    })
}

pub(super) fn opus_caps() -> gst::Caps {
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

pub(super) fn opus(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    let family = fields.int("channel-mapping-family").unwrap_or(0);
    let channels = match fields.int("channels") {
        Some(channels) => u8::try_from(channels)
            .ok()
            .filter(|channels| (1..=8).contains(channels))
            .ok_or_else(|| fields.error("channels", format!("is {channels}")))?,
        None if family == 0 => 2,
        None => return Err(fields.unparsed("channels", "is missing")),
    };
    let sample_rate = fields.count("rate").unwrap_or(opus::CLOCK_RATE);
    let description = match family {
        // Raw packets say everything.
        0 if channels <= 2 => None,
        0 => {
            let problem = format!("is {channels}, more than mapping family 0 has");
            return Err(fields.error("channels", problem));
        }
        1 => Some(mapping_header(fields, channels, sample_rate)?),
        family => return Err(fields.error("channel-mapping-family", format!("is {family}"))),
    };
    let rendition = AudioRendition {
        codec: Codec::Opus.to_string(),
        sample_rate,
        channels: channels.into(),
        description,
        ..AudioRendition::default()
    };
    Ok(known(AudioCoding::Opus, rendition))
}

/// The OpusHead of mapping family 1: the stream header of the caps, or made from their fields.
fn mapping_header(fields: &Fields<'_>, channels: u8, sample_rate: u32) -> Result<Bytes, CapsError> {
    if let Some(header) = fields.first_buffer("streamheader")
        && opus::Head::parse(&header).is_ok()
    {
        return Ok(header);
    }
    let byte = |field: &'static str| {
        fields
            .int(field)
            .and_then(|value| u8::try_from(value).ok())
            .ok_or_else(|| fields.unparsed(field, "is missing"))
    };
    let table = match fields.structure.get::<gst::ArrayRef>("channel-mapping") {
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
    .map_err(|err| fields.error("channel-mapping", err))
}

pub(super) fn aac_caps() -> gst::Caps {
    gst::Caps::builder("audio/mpeg")
        .field("mpegversion", gst::List::new([2, 4]))
        .field("stream-format", gst::List::new(["raw", "adts"]))
        .build()
}

pub(super) fn aac(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    if fields.is_false("framed") {
        return Err(fields.unparsed("framed", "is false"));
    }
    match fields.text("stream-format") {
        Some("raw") => {
            let description = fields.codec_data()?;
            let config =
                Config::parse(&description).map_err(|err| fields.error("codec_data", err))?;
            let rendition = aac_rendition(&config, description);
            Ok(known(AudioCoding::Aac { adts: None }, rendition))
        }
        // Its frames say what it is.
        Some("adts") => Ok(Stream::Audio(AudioStream {
            coding: AudioCoding::Aac { adts: Some(None) },
            rendition: None,
        })),
        Some(other) => Err(fields.unparsed("stream-format", format!("is {other}"))),
        None => Err(fields.unparsed("stream-format", "is missing")),
    }
}

/// Of AAC with this AudioSpecificConfig.
pub(super) fn aac_rendition(config: &Config, description: Bytes) -> AudioRendition {
    let codec = Codec::Aac {
        object_type: config.codec_object_type(),
    };
    AudioRendition {
        codec: codec.to_string(),
        sample_rate: config.sample_rate(),
        channels: config.output_channels().into(),
        description: Some(description),
        ..AudioRendition::default()
    }
}

pub(super) fn mp3_caps() -> gst::Caps {
    gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 1)
        .field("layer", 3)
        .build()
}

pub(super) fn mp3(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    if fields.is_false("parsed") {
        return Err(fields.unparsed("parsed", "is false"));
    }
    match fields.int("layer") {
        // Its frames say what it is.
        Some(3) => Ok(Stream::Audio(AudioStream {
            coding: AudioCoding::Mp3 { header: None },
            rendition: None,
        })),
        Some(other) => Err(fields.error("layer", format!("is {other}"))),
        None => Err(fields.unparsed("layer", "is missing")),
    }
}

pub(super) fn flac_caps() -> gst::Caps {
    gst::Caps::new_empty_simple("audio/x-flac")
}

pub(super) fn flac(fields: &Fields<'_>) -> Result<Stream, CapsError> {
    /// Packet type, signature, version and packet count before the native stream (Ogg FLAC mapping 1.0).
    const OGG_LEN: usize = 9;
    if fields.is_false("framed") {
        return Err(fields.unparsed("framed", "is false"));
    }
    let header = fields
        .first_buffer("streamheader")
        .ok_or_else(|| fields.unparsed("streamheader", "is missing"))?;
    let native = header.get(OGG_LEN..).unwrap_or_default();
    let info =
        StreamInfo::from_description(native).map_err(|err| fields.error("streamheader", err))?;
    let rendition = AudioRendition {
        codec: Codec::Flac.to_string(),
        sample_rate: info.sample_rate,
        channels: info.channels.into(),
        description: Some(info.description()),
        ..AudioRendition::default()
    };
    Ok(known(AudioCoding::Flac, rendition))
}

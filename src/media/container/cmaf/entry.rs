//! Sample entries: what a track is coded with. Both ways, by hand: mp4-atom knows neither `avc3` nor Opus of more than two
//! channels, and takes descriptions apart that have to stay as they are.

use bytes::{BufMut, Bytes};
use mp4_atom::{Audio, Decode, Encode, Pasp, Visual};

use super::boxes::Mp4Box;
use super::write::{WriteError, full_box, plain_box};
use crate::media::av1::Av1C;
use crate::media::catalog::{AudioRendition, Container, Rendition, VideoRendition};
use crate::media::codec::{Codec, Vp9};
use crate::media::container::ContainerError;
use crate::media::h264::AvcC;
use crate::media::h265::HvcC;
use crate::media::ratio::reduce;
use crate::media::{aac, codec, flac, opus};

/// Of a VisualSampleEntry without its header (ISO/IEC 14496-12 §12.1.3.2).
const VISUAL_LEN: usize = 78;

/// objectTypeIndication (ISO/IEC 14496-1 Table 5) of AAC and of MP3.
const AAC: u8 = 0x40;
const MPEG_2_AAC: std::ops::RangeInclusive<u8> = 0x66..=0x68;
const MP3: u8 = 0x6b;
const MPEG_2_MP3: u8 = 0x69;

const UNKNOWN: ContainerError = ContainerError::Box("stsd");

/// The first sample entry of an stsd box.
pub(super) fn read(
    stsd: &Mp4Box<'_>,
    is_audio: bool,
    container: Container,
) -> Result<Rendition, ContainerError> {
    // Version, flags and the number of entries come before them.
    let entry = stsd.children(8).next().ok_or(UNKNOWN)?;
    if is_audio {
        read_audio(&entry, container).map(Rendition::Audio)
    } else {
        read_video(&entry, container).map(Rendition::Video)
    }
}

fn read_video(entry: &Mp4Box<'_>, container: Container) -> Result<VideoRendition, ContainerError> {
    let pixels = |at| {
        let bytes = entry.body.get(at..at + 2)?.try_into().ok()?;
        Some(u32::from(u16::from_be_bytes(bytes))).filter(|pixels| *pixels > 0)
    };
    let (coded_width, coded_height) = (pixels(24), pixels(26));
    let config = |kind: &'static str| {
        super::boxes::find(entry.children(VISUAL_LEN), kind).map(|found| found.body)
    };
    let (codec, description) = match entry.kind {
        kind @ (b"avc1" | b"avc3") => {
            let record = config("avcC")?;
            let avcc = AvcC::parse(record).map_err(|_| ContainerError::Box("avcC"))?;
            let codec = Codec::H264(codec::H264 {
                inline: kind == b"avc3",
                profile_idc: avcc.profile_idc,
                constraints: avcc.constraints,
                level_idc: avcc.level_idc,
            });
            (codec, Some(record))
        }
        kind @ (b"hvc1" | b"hev1") => {
            let record = config("hvcC")?;
            let hvcc = HvcC::parse(record).map_err(|_| ContainerError::Box("hvcC"))?;
            let inline = kind == b"hev1";
            (
                Codec::H265(codec::H265 {
                    inline,
                    ..hvcc.codec
                }),
                Some(record),
            )
        }
        b"av01" => {
            // mp4mux leaves it empty for streams that have their sequence header in band alone.
            let record = Some(config("av1C")?).filter(|body| body.iter().any(|byte| *byte != 0));
            let av1c = Av1C::parse(record.unwrap_or(&[0x81, 0, 0, 0]));
            let av1c = av1c.map_err(|_| ContainerError::Box("av1C"))?;
            let codec = Codec::Av1(codec::Av1 {
                profile: av1c.profile,
                level: av1c.level,
                high_tier: av1c.high_tier,
                bit_depth: av1c.bit_depth,
            });
            (codec, record)
        }
        b"vp08" => (Codec::Vp8, None),
        b"vp09" => (Codec::Vp9(read_vpcc(config("vpcC")?)?), None),
        _ => return Err(UNKNOWN),
    };
    let pasp = config("pasp").ok().and_then(read_pasp);
    Ok(VideoRendition {
        codec: codec.to_string(),
        description: description.map(Bytes::copy_from_slice),
        coded_width,
        coded_height,
        display_aspect: pasp.zip(coded_width.zip(coded_height)).map(
            |((horizontal, vertical), (width, height))| {
                reduce(
                    u64::from(width) * u64::from(horizontal),
                    u64::from(height) * u64::from(vertical),
                )
            },
        ),
        container,
        ..VideoRendition::default()
    })
}

/// VP Codec ISO Media File Format Binding, "VP Codec Configuration Box".
fn read_vpcc(body: &[u8]) -> Result<Vp9, ContainerError> {
    match *body {
        [1, _, _, _, profile @ 0..=3, level @ 0..=99, format, ..] => Ok(Vp9 {
            profile,
            level,
            bit_depth: format >> 4,
        }),
        _ => Err(ContainerError::Box("vpcC")),
    }
}

fn read_pasp(body: &[u8]) -> Option<(u32, u32)> {
    let (horizontal, rest) = body.split_first_chunk()?;
    let (vertical, _) = rest.split_first_chunk()?;
    let ratio = (
        u32::from_be_bytes(*horizontal),
        u32::from_be_bytes(*vertical),
    );
    (ratio.0 > 0 && ratio.1 > 0).then_some(ratio)
}

fn read_audio(entry: &Mp4Box<'_>, container: Container) -> Result<AudioRendition, ContainerError> {
    let mut rest = entry.body;
    let audio = Audio::decode(&mut rest).map_err(|_| UNKNOWN)?;
    let children = || super::boxes::boxes(rest);
    let config = |kind: &'static str| super::boxes::find(children(), kind).map(|found| found.body);
    let mut rendition = AudioRendition {
        sample_rate: audio.sample_rate.integer().into(),
        channels: audio.channel_count.into(),
        container,
        ..AudioRendition::default()
    };
    let codec = match entry.kind {
        b"Opus" => {
            let head = read_dops(config("dOps")?).ok_or(ContainerError::Box("dOps"))?;
            rendition.sample_rate = opus::CLOCK_RATE;
            rendition.channels = head.channels.into();
            rendition.description = head.write().ok();
            Codec::Opus
        }
        b"fLaC" => {
            let blocks = config("dfLa")?.get(4..).unwrap_or_default();
            let description: Bytes = [b"fLaC", blocks].concat().into();
            let info = flac::StreamInfo::from_description(&description)
                .map_err(|_| ContainerError::Box("dfLa"))?;
            rendition.sample_rate = info.sample_rate;
            rendition.channels = info.channels.into();
            rendition.description = Some(description);
            Codec::Flac
        }
        b"mp4a" => match read_esds(config("esds")?).ok_or(ContainerError::Box("esds"))? {
            (MP3 | MPEG_2_MP3, _) => Codec::Mp3,
            (AAC, Some(asc)) => {
                let config = aac::Config::parse(asc).map_err(|_| ContainerError::Box("esds"))?;
                rendition.sample_rate = config.sample_rate();
                rendition.channels = config.output_channels().into();
                rendition.description = Some(Bytes::copy_from_slice(asc));
                Codec::Aac {
                    object_type: config.codec_object_type(),
                }
            }
            (AAC, None) => Codec::Aac {
                object_type: aac::object_type::LC,
            },
            (indication, _) if MPEG_2_AAC.contains(&indication) => Codec::Aac {
                object_type: aac::object_type::LC,
            },
            _ => return Err(UNKNOWN),
        },
        _ => return Err(UNKNOWN),
    };
    rendition.codec = codec.to_string();
    Ok(rendition)
}

/// Encapsulation of Opus in ISO Base Media File Format §4.3.2: an OpusHead in big endian.
fn read_dops(body: &[u8]) -> Option<opus::Head> {
    let (&[0, channels, s0, s1, r0, r1, r2, r3, g0, g1, family], table) =
        body.split_first_chunk()?
    else {
        return None;
    };
    let mut head = b"OpusHead\x01".to_vec();
    head.extend([channels, s1, s0, r3, r2, r1, r0, g1, g0, family]);
    head.extend(table);
    opus::Head::parse(&head).ok()
}

/// objectTypeIndication and DecoderSpecificInfo of an esds box (ISO/IEC 14496-1 §7.2.6).
fn read_esds(body: &[u8]) -> Option<(u8, Option<&[u8]>)> {
    let es = descriptor(body.get(4..)?, 3)?;
    let (&[_, _, flags], mut rest) = es.split_first_chunk()?;
    if flags & 0x80 != 0 {
        rest = rest.get(2..)?;
    }
    if flags & 0x40 != 0 {
        let (len, url) = rest.split_first()?;
        rest = url.get(usize::from(*len)..)?;
    }
    if flags & 0x20 != 0 {
        rest = rest.get(2..)?;
    }
    let config = descriptor(rest, 4)?;
    let specific = config.get(13..).and_then(|rest| descriptor(rest, 5));
    Some((*config.first()?, specific.filter(|asc| !asc.is_empty())))
}

/// The body of the first descriptor with a tag among those side by side.
fn descriptor(mut bytes: &[u8], tag: u8) -> Option<&[u8]> {
    loop {
        let (found, mut rest) = bytes.split_first()?;
        let mut len = 0usize;
        for index in 0.. {
            let (byte, after) = rest.split_first()?;
            rest = after;
            len = len << 7 | usize::from(byte & 0x7f);
            match (byte & 0x80, index) {
                (0, _) => break,
                (_, 3) => return None,
                _ => {}
            }
        }
        let (body, after) = rest.split_at_checked(len)?;
        if *found == tag {
            return Some(body);
        }
        bytes = after;
    }
}

/// Writes the sample entry of a rendition.
pub(super) fn write(out: &mut Vec<u8>, rendition: &Rendition) -> Result<(), WriteError> {
    match rendition {
        Rendition::Video(video) => write_video(out, video),
        Rendition::Audio(audio) => write_audio(out, audio),
    }
}

fn write_video(out: &mut Vec<u8>, video: &VideoRendition) -> Result<(), WriteError> {
    let pixels = |pixels: Option<u32>| {
        let pixels = pixels.and_then(|pixels| u16::try_from(pixels).ok());
        pixels.ok_or(ContainerError::Init("a coded size"))
    };
    let (width, height) = (pixels(video.coded_width)?, pixels(video.coded_height)?);
    let codec = Codec::parse(&video.codec);
    let (kind, config) = match &codec {
        Codec::H264(h264) if h264.inline => (b"avc3", b"avcC"),
        Codec::H264(_) => (b"avc1", b"avcC"),
        Codec::H265(h265) if h265.inline => (b"hev1", b"hvcC"),
        Codec::H265(_) => (b"hvc1", b"hvcC"),
        Codec::Av1(_) => (b"av01", b"av1C"),
        Codec::Vp8 => (b"vp08", b"vpcC"),
        Codec::Vp9(_) => (b"vp09", b"vpcC"),
        _ => return Err(ContainerError::Init("a codec that MP4 has").into()),
    };
    plain_box(out, kind, |out| {
        let visual = Visual {
            data_reference_index: 1,
            width,
            height,
            ..Visual::default()
        };
        visual.encode(out)?;
        match codec {
            Codec::Vp8 => write_vpcc(out, 0, 0, 8),
            Codec::Vp9(vp9) => write_vpcc(out, vp9.profile, vp9.level, vp9.bit_depth),
            _ => {
                let record = video.description.as_deref();
                let record = record.ok_or(ContainerError::Init("a description"))?;
                plain_box(out, config, |out| {
                    out.put_slice(record);
                    Ok(())
                })
            }
        }?;
        if let Some((aspect_width, aspect_height)) = video.display_aspect {
            let (h_spacing, v_spacing) = reduce(
                u64::from(aspect_width) * u64::from(height),
                u64::from(aspect_height) * u64::from(width),
            );
            Pasp {
                h_spacing,
                v_spacing,
            }
            .encode(out)?;
        }
        Ok(())
    })
}

fn write_vpcc(out: &mut Vec<u8>, profile: u8, level: u8, bit_depth: u8) -> Result<(), WriteError> {
    full_box(out, b"vpcC", 1, |out| {
        // 4:2:0 with chroma at the luma sample where the profile has no choice, 4:4:4 otherwise; colours that are not known.
        let subsampling = if profile & 1 == 0 { 1 } else { 3 };
        out.put_slice(&[
            profile,
            level,
            bit_depth << 4 | subsampling << 1,
            2,
            2,
            2,
            0,
            0,
        ]);
        Ok(())
    })
}

fn write_audio(out: &mut Vec<u8>, audio: &AudioRendition) -> Result<(), WriteError> {
    let description = audio
        .description
        .as_deref()
        .ok_or(ContainerError::Init("a description"));
    let codec = Codec::parse(&audio.codec);
    let kind = match codec {
        Codec::Opus => b"Opus",
        Codec::Flac => b"fLaC",
        Codec::Aac { .. } | Codec::Mp3 => b"mp4a",
        _ => return Err(ContainerError::Init("a codec that MP4 has").into()),
    };
    plain_box(out, kind, |out| {
        let entry = Audio {
            data_reference_index: 1,
            channel_count: u16::try_from(audio.channels).unwrap_or(u16::MAX),
            sample_size: 16,
            // What does not fit is in the configuration.
            sample_rate: u16::try_from(audio.sample_rate).unwrap_or(0).into(),
        };
        entry.encode(out)?;
        match codec {
            Codec::Opus => write_dops(out, audio),
            Codec::Flac => {
                let blocks = description?
                    .strip_prefix(b"fLaC")
                    .ok_or(ContainerError::Init("a FLAC description"))?;
                full_box(out, b"dfLa", 0, |out| {
                    out.put_slice(blocks);
                    Ok(())
                })
            }
            Codec::Aac { .. } => write_esds(out, AAC, Some(description?), audio.bitrate),
            _ => write_esds(out, MP3, None, audio.bitrate),
        }
    })
}

fn write_dops(out: &mut Vec<u8>, audio: &AudioRendition) -> Result<(), WriteError> {
    let head = match audio.description.as_deref() {
        Some(description) => opus::Head::parse(description),
        None => u8::try_from(audio.channels)
            .map_err(|_| opus::OpusError::Head("channel count outside of its mapping family"))
            .and_then(|channels| opus::Head::simple(channels, audio.sample_rate)),
    };
    let head = head.map_err(|_| ContainerError::Init("an Opus description"))?;
    plain_box(out, b"dOps", |out| {
        out.put_slice(&[0, head.channels]);
        out.put_u16(head.pre_skip);
        out.put_u32(head.input_sample_rate);
        out.put_i16(head.output_gain);
        out.put_u8(head.mapping.is_some().into());
        if let Some(mapping) = &head.mapping {
            out.put_slice(&[mapping.streams, mapping.coupled]);
            out.put_slice(&mapping.table);
        }
        Ok(())
    })
}

fn write_esds(
    out: &mut Vec<u8>,
    indication: u8,
    asc: Option<&[u8]>,
    bitrate: Option<u64>,
) -> Result<(), WriteError> {
    use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, Esds, SLConfig};

    const AUDIO_STREAM: u8 = 5;
    let bitrate = u32::try_from(bitrate.unwrap_or(0)).unwrap_or(0);
    let esds = Esds {
        es_desc: EsDescriptor {
            es_id: 1,
            dec_config: DecoderConfig {
                object_type_indication: indication,
                stream_type: AUDIO_STREAM,
                max_bitrate: bitrate,
                avg_bitrate: bitrate,
                dec_specific: asc.map(|asc| DecoderSpecific {
                    raw: asc.to_vec(),
                    ..DecoderSpecific::default()
                }),
                ..DecoderConfig::default()
            },
            sl_config: SLConfig::default(),
            ..EsDescriptor::default()
        },
    };
    Ok(esds.encode(out)?)
}

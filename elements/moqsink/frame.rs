//! Access units: what they are, and how they are written. A function for each question, a row for each codec.

use std::fmt::Display;

use bytes::Bytes;

use super::stats::Drop as Lost;
use crate::{
    elements::caps::{
        AudioCoding, AudioStream, Av1Stream, NalStream, Packaging, Stream, VideoCoding,
    },
    media::{
        aac, av1,
        container::{Encoder, Sample},
        flac,
        h264::{self, KeyKind, NalFormat},
        h265, mp3,
        nal::{LengthPrefixed, Parts},
        vp8, vp9,
    },
    net::error::{Cause, Error},
    policy::{backlog::Amount, group::Key},
};

/// One buffer.
pub(super) struct Unit<'a> {
    /// Presentation, running time in ns; negative before the segment.
    pub running: i64,
    /// Decoding, likewise, if the buffer says.
    pub dts: Option<i64>,
    /// ns
    pub duration: Option<i64>,
    /// Running time of the pipeline, ns.
    pub now: Option<i64>,
    pub delta: bool,
    pub discont: bool,
    pub parts: &'a [&'a [u8]],
}

impl Unit<'_> {
    /// What is lost with it.
    pub fn amount(&self) -> Amount {
        Amount {
            groups: 0,
            frames: 1,
            bytes: self.parts.iter().map(|part| part.len() as u64).sum(),
        }
    }
}

/// What becomes of a frame that is not written.
pub(super) enum Problem {
    Lost(Lost),
    /// The track cannot go on; the others do.
    Broken(Error),
    /// The element cannot go on.
    Fatal(Error),
}

fn broken(codec: &str, why: impl Display) -> Problem {
    Problem::Broken(Error::new(
        Cause::Codec,
        format!("The {codec} stream cannot be read: {why}"),
    ))
}

/// What an access unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub key: Key,
    /// See [`crate::policy::group::Unit::leading`].
    pub leading: Option<bool>,
    /// It can be a group by itself.
    pub alone: bool,
    /// It said something of the stream that was not known.
    pub learned: bool,
}

impl Look {
    const DELTA: Self = Self {
        key: Key::None,
        leading: None,
        alone: false,
        learned: false,
    };

    fn audio(learned: bool) -> Self {
        Self {
            key: Key::Idr,
            alone: true,
            learned,
            ..Self::DELTA
        }
    }

    fn key(learned: bool) -> Self {
        Self {
            key: Key::Idr,
            learned,
            ..Self::DELTA
        }
    }
}

/// Whether an access unit has to be in one piece for [`look`] and [`payload`]. Of others they read the first memory alone.
pub(super) fn is_read_whole(stream: &Stream, packaging: Packaging, delta: bool) -> bool {
    let is_changed = |format: NalFormat, inline: bool| match format {
        NalFormat::ByteStream => packaging == Packaging::Cmaf,
        NalFormat::Length { .. } => inline && packaging != Packaging::Cmaf,
    };
    match stream {
        Stream::Audio(audio) => matches!(audio.coding, AudioCoding::Aac { adts: Some(_) }),
        Stream::Video(video) => match &video.coding {
            _ if !delta => true,
            VideoCoding::H264(nal) => is_changed(nal.format, nal.inline),
            VideoCoding::H265(nal) => is_changed(nal.format, nal.inline),
            _ => false,
        },
    }
}

/// Looks what an access unit is, and learns from it what the caps do not say.
pub(super) fn look(stream: &mut Stream, delta: bool, au: &[u8]) -> Result<Look, Problem> {
    match stream {
        Stream::Audio(audio) => look_at_audio(audio, au),
        Stream::Video(video) => match &mut video.coding {
            VideoCoding::H265(nal) => look_at_h265(nal, delta, au),
            _ if delta => Ok(Look::DELTA),
            VideoCoding::H264(nal) => look_at_h264(nal, au),
            VideoCoding::Vp8(last) => match vp8::KeyFrame::parse(au) {
                Some(key) => Ok(Look::key(last.replace(key) != Some(key))),
                // The bit that says so is 1 in all others.
                None if au.first().is_some_and(|tag| tag & 1 == 0) => {
                    Err(broken("VP8", "a key frame without its header"))
                }
                None => Ok(Look::DELTA),
            },
            VideoCoding::Vp9(last) => match vp9::Frame::parse(au) {
                Some(vp9::Frame::Key(key)) => Ok(Look::key(last.replace(key) != Some(key))),
                Some(_) => Ok(Look::DELTA),
                None => Err(broken("VP9", "a frame without its header")),
            },
            VideoCoding::Av1(av1) => look_at_av1(av1, au),
        },
    }
}

fn look_at_audio(audio: &mut AudioStream, au: &[u8]) -> Result<Look, Problem> {
    match &audio.coding {
        AudioCoding::Opus | AudioCoding::Aac { adts: None } => Ok(Look::audio(false)),
        AudioCoding::Aac { adts: Some(_) } => {
            let header = aac::Adts::parse(au).map_err(|err| broken("AAC", err))?;
            let learned = audio.learn_adts(&header);
            learned.map(Look::audio).map_err(|err| broken("AAC", err))
        }
        AudioCoding::Mp3 { .. } => match mp3::Header::parse(au) {
            Some(header) if header.layer == 3 => Ok(Look::audio(audio.learn_mp3(&header))),
            Some(header) => Err(broken("MP3", format!("it is of layer {}", header.layer))),
            None => Err(broken("MP3", "a frame without its header")),
        },
        AudioCoding::Flac if flac::FrameHeader::parse(au).is_none() => {
            Err(Problem::Lost(Lost::Corrupted))
        }
        AudioCoding::Flac => Ok(Look::audio(false)),
    }
}

fn look_at_h264(nal: &mut NalStream<h264::Config>, au: &[u8]) -> Result<Look, Problem> {
    let said = match nal.inline {
        true => h264::Config::from_access_unit(au, nal.format),
        false => Ok(None),
    };
    let learned = learn(&mut nal.config, said.map_err(|err| broken("H.264", err))?);
    let Some(config) = &nal.config else {
        return Err(Problem::Lost(Lost::NoKeyFrame));
    };
    let kind = h264::key_kind(au, nal.format);
    let key = if kind.is_closed(config.reorder_depth) {
        Key::Idr
    } else if kind == (KeyKind::RecoveryPoint { recovery_frames: 0 }) {
        Key::Open
    } else {
        Key::None
    };
    Ok(Look {
        key,
        learned,
        ..Look::DELTA
    })
}

fn look_at_h265(
    nal: &mut NalStream<h265::Config>,
    delta: bool,
    au: &[u8],
) -> Result<Look, Problem> {
    let picture = h265::picture(au, nal.format);
    let leading = picture.map(|picture| picture == h265::Picture::Rasl);
    if delta {
        return Ok(Look {
            leading,
            ..Look::DELTA
        });
    }
    let said = match nal.inline {
        true => h265::Config::from_access_unit(au, nal.format),
        false => Ok(None),
    };
    let learned = learn(&mut nal.config, said.map_err(|err| broken("H.265", err))?);
    let Some(config) = &nal.config else {
        return Err(Problem::Lost(Lost::NoKeyFrame));
    };
    let key = match picture {
        Some(picture) if picture.is_closed(config.reorder_depth()) => Key::Idr,
        Some(h265::Picture::Cra) => Key::Open,
        _ => Key::None,
    };
    Ok(Look {
        key,
        leading,
        learned,
        ..Look::DELTA
    })
}

/// True if `said` is something new.
fn learn<C: PartialEq>(known: &mut Option<C>, said: Option<C>) -> bool {
    let is_new = said.is_some() && *known != said;
    if is_new {
        *known = said;
    }
    is_new
}

fn look_at_av1(stream: &mut Av1Stream, unit: &[u8]) -> Result<Look, Problem> {
    let found = av1::TemporalUnit::parse(unit);
    if !found.key_frame {
        return Ok(Look::DELTA);
    }
    let said = av1::sequence_header(unit).map_err(|err| broken("AV1", err))?;
    let record = av1::Av1C::from_temporal_unit(unit).map_err(|err| broken("AV1", err))?;
    let learned = learn(&mut stream.known, said.zip(record));
    if stream.known.is_none() {
        return Err(Problem::Lost(Lost::NoKeyFrame));
    }
    Ok(Look::key(learned))
}

/// What is written of an access unit.
pub(super) enum Payload<'a> {
    /// All of it.
    Whole,
    Parts(Parts<'a>),
    Slices(Vec<&'a [u8]>),
    Lengths(LengthPrefixed<'a>),
}

/// What is written of an access unit in these `parts`: as players of the catalog's codec string expect it.
pub(super) fn payload<'a>(
    stream: &'a Stream,
    packaging: Packaging,
    key: Key,
    parts: &[&'a [u8]],
) -> Result<Payload<'a>, Problem> {
    let au = parts.first().copied().unwrap_or_default();
    let is_cmaf = packaging == Packaging::Cmaf;
    let is_key = key != Key::None;
    let video = match stream {
        Stream::Audio(audio) => return audio_payload(audio, au),
        Stream::Video(video) => video,
    };
    Ok(match &video.coding {
        VideoCoding::H264(nal) if nal.inline => match (nal.format, &nal.config) {
            (NalFormat::ByteStream, _) if is_cmaf => Payload::Lengths(h264::length_prefixed(au)),
            (NalFormat::ByteStream, Some(config)) if is_key => {
                h264::prepend_parameter_sets(au, config).map_or(Payload::Whole, Payload::Parts)
            }
            (NalFormat::Length { .. }, config) if !is_cmaf => {
                let config = config.as_ref().filter(|_| is_key);
                Payload::Parts(h264::byte_stream(au, nal.format, config))
            }
            _ => Payload::Whole,
        },
        VideoCoding::H265(nal) if nal.inline => match (nal.format, &nal.config) {
            (NalFormat::ByteStream, _) if is_cmaf => Payload::Lengths(h265::length_prefixed(au)),
            (NalFormat::ByteStream, Some(config)) if is_key => {
                h265::prepend_parameter_sets(au, config).map_or(Payload::Whole, Payload::Parts)
            }
            (NalFormat::Length { .. }, config) if !is_cmaf => {
                let config = config.as_ref().filter(|_| is_key);
                Payload::Parts(h265::byte_stream(au, nal.format, config))
            }
            _ => Payload::Whole,
        },
        VideoCoding::Av1(av1) => av1_payload(av1, is_key, parts),
        _ => Payload::Whole,
    })
}

/// Without the temporal delimiter, and with a sequence header in each key frame.
fn av1_payload<'a>(stream: &'a Av1Stream, is_key: bool, parts: &[&'a [u8]]) -> Payload<'a> {
    let Some((first, rest)) = parts.split_first() else {
        return Payload::Whole;
    };
    let delimiter_len = av1::delimiter_len(first);
    let header = stream
        .sequence_header()
        .filter(|_| is_key && !av1::TemporalUnit::parse(first).sequence_header);
    if delimiter_len == 0 && header.is_none() {
        return Payload::Whole;
    }
    let mut slices: Vec<_> = header.into_iter().collect();
    slices.push(&first[delimiter_len..]);
    slices.extend(rest);
    Payload::Slices(slices)
}

fn audio_payload<'a>(audio: &AudioStream, au: &'a [u8]) -> Result<Payload<'a>, Problem> {
    if !matches!(audio.coding, AudioCoding::Aac { adts: Some(_) }) {
        return Ok(Payload::Whole);
    }
    let packet = aac::Adts::parse(au).and_then(|header| header.payload(au));
    packet
        .map(|packet| Payload::Slices(vec![packet]))
        .map_err(|err| broken("AAC", err))
}

/// The times of a frame in µs of media time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub pts: u64,
    /// If it is another one.
    pub dts: Option<u64>,
    pub duration: Option<u64>,
}

/// The object with this payload: one allocation, one copy.
pub(super) fn object(
    encoder: &mut Encoder,
    payload: &Payload<'_>,
    parts: &[&[u8]],
    key: Key,
    times: Times,
) -> Result<Bytes, Problem> {
    let mut encode = |parts: &[&[u8]]| {
        encoder.encode(&Sample {
            pts_us: times.pts,
            dts_us: times.dts,
            duration_us: times.duration,
            key: key != Key::None,
            parts,
        })
    };
    use crate::media::container::ContainerError::TimestampTooLarge;
    let encoded = match payload {
        Payload::Whole => encode(parts),
        Payload::Parts(parts) => encode(parts.as_slice()),
        Payload::Slices(parts) => encode(parts),
        Payload::Lengths(units) => encode(units.parts().as_slice()),
    };
    encoded.map_err(|err| match err {
        TimestampTooLarge => Problem::Lost(Lost::NoTimestamp),
        // Nothing was left of it.
        _ => Problem::Lost(Lost::Corrupted),
    })
}

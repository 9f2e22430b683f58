//! A stream as moqsink knows it: from its caps, and from what its frames add to them.

use bytes::Bytes;

use super::{audio::aac_rendition, reduced};
use crate::media::{
    aac,
    av1::SequenceHeader,
    catalog::{AudioRendition, Container, Rendition, VideoRendition},
    codec::{Codec, Kind},
    container::{ContainerError, cmaf},
    h264::{self, NalFormat},
    h265, mp3, vp8, vp9,
};

/// VP9 has to state a level, and a stream without a frame rate must have some.
const ASSUMED_FRAMERATE: f64 = 30.0;

/// How frames are laid out in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packaging {
    #[default]
    Legacy,
    Loc,
    Cmaf,
}

/// A stream as its caps and its frames describe it.
#[derive(Debug, Clone, PartialEq)]
pub enum Stream {
    Video(VideoStream),
    Audio(AudioStream),
}

#[derive(Debug, Clone, PartialEq)]
pub struct VideoStream {
    pub coding: VideoCoding,
    /// In pixels.
    pub(super) size: Option<(u32, u32)>,
    pub(super) framerate: Option<gst::Fraction>,
    pub(super) pixel_aspect: Option<gst::Fraction>,
}

/// A codec, and what the newest key frame said.
#[derive(Debug, Clone, PartialEq)]
pub enum VideoCoding {
    H264(NalStream<h264::Config>),
    H265(NalStream<h265::Config>),
    Vp8(Option<vp8::KeyFrame>),
    Vp9(Option<vp9::KeyFrame>),
    Av1(Av1Stream),
}

/// H.264 or H.265.
#[derive(Debug, Clone, PartialEq)]
pub struct NalStream<C> {
    /// How NAL units are separated at the pad.
    pub format: NalFormat,
    /// Parameter sets are in the stream, not only in the caps.
    pub inline: bool,
    /// Parameter sets; for byte-stream they come with the first key frame.
    pub config: Option<C>,
    /// The decoder configuration record of the caps; none for byte-stream.
    pub(super) record: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Av1Stream {
    /// The sequence header, and the av1C record that has it.
    pub known: Option<(SequenceHeader, Bytes)>,
}

impl Av1Stream {
    /// The sequence header as an OBU, as key frames have to have it.
    pub fn sequence_header(&self) -> Option<&[u8]> {
        // Four bytes of an av1C come before its OBUs.
        self.known.as_ref().and_then(|(_, record)| record.get(4..))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct AudioStream {
    pub coding: AudioCoding,
    /// What is known before frames come.
    pub(super) rendition: Option<AudioRendition>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AudioCoding {
    Opus,
    Aac {
        /// With ADTS headers, the newest of them.
        adts: Option<Option<aac::Config>>,
    },
    Mp3 {
        /// What the newest frame said of rate and channels.
        header: Option<(u32, u8)>,
    },
    Flac,
}

impl AudioStream {
    /// An ADTS header; true if it says something new.
    ///
    /// # Errors
    /// One that no AudioSpecificConfig can be made of.
    pub fn learn_adts(&mut self, header: &aac::Adts) -> Result<bool, aac::AacError> {
        let config = header.config;
        if matches!(&self.coding, AudioCoding::Aac { adts: Some(Some(last)) } if *last == config) {
            return Ok(false);
        }
        let description = config
            .to_asc()
            .ok_or(aac::AacError::Invalid("configuration"))?;
        self.rendition = Some(aac_rendition(&config, description));
        self.coding = AudioCoding::Aac {
            adts: Some(Some(config)),
        };
        Ok(true)
    }

    /// The header of an MP3 frame; true if it says something new.
    pub fn learn_mp3(&mut self, header: &mp3::Header) -> bool {
        let says = (header.sample_rate, header.channels);
        if matches!(&self.coding, AudioCoding::Mp3 { header: Some(last) } if *last == says) {
            return false;
        }
        self.rendition = Some(AudioRendition {
            codec: Codec::Mp3.to_string(),
            sample_rate: header.sample_rate,
            channels: header.channels.into(),
            ..AudioRendition::default()
        });
        self.coding = AudioCoding::Mp3 { header: Some(says) };
        true
    }
}

impl Stream {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Video(_) => Kind::Video,
            Self::Audio(_) => Kind::Audio,
        }
    }

    /// A track can go on from `self` to `next` with a new entry in the catalog: the codec is the same.
    pub fn can_become(&self, next: &Self) -> bool {
        use std::mem::discriminant;
        match (self, next) {
            (Self::Video(a), Self::Video(b)) => discriminant(&a.coding) == discriminant(&b.coding),
            (Self::Audio(a), Self::Audio(b)) => discriminant(&a.coding) == discriminant(&b.coding),
            _ => false,
        }
    }

    /// The catalog entry, without what tags say; `None` until the frames have said what the caps do not.
    ///
    /// # Errors
    /// An init segment that cannot be made.
    pub fn rendition(&self, packaging: Packaging) -> Result<Option<Rendition>, ContainerError> {
        let rendition = match self {
            Self::Video(video) => video.rendition(packaging).map(Rendition::Video),
            Self::Audio(audio) => audio.rendition.clone().map(Rendition::Audio),
        };
        let Some(mut rendition) = rendition else {
            return Ok(None);
        };
        let container = match packaging {
            Packaging::Legacy => Container::Legacy,
            Packaging::Loc => Container::Loc,
            Packaging::Cmaf => Container::Cmaf {
                init: cmaf::init_segment(&rendition)?,
            },
        };
        match &mut rendition {
            Rendition::Video(video) => video.container = container,
            Rendition::Audio(audio) => audio.container = container,
        }
        Ok(Some(rendition))
    }
}

/// What follows the number in the default name of a track.
pub fn suffix(rendition: &Rendition) -> String {
    let family = rendition.codec().split('.').next().unwrap_or_default();
    let name = match family {
        "av01" => "av1",
        "vp09" => "vp9",
        "mp4a" => "aac",
        other => other,
    };
    format!(".{name}")
}

impl VideoStream {
    /// How many pictures may come before a picture in decoding order and after it in presentation order.
    pub fn reorder_depth(&self) -> usize {
        let depth = match &self.coding {
            VideoCoding::H264(nal) => nal.config.as_ref().map(|it| it.reorder_depth),
            VideoCoding::H265(nal) => nal.config.as_ref().map(h265::Config::reorder_depth),
            // Their packets come in the order in which they are shown.
            VideoCoding::Vp8(_) | VideoCoding::Vp9(_) | VideoCoding::Av1(_) => None,
        };
        depth.unwrap_or(0).into()
    }

    /// How long a picture is shown, in ns, if the stream says.
    pub fn picture_duration(&self) -> Option<i64> {
        let rate = self.framerate()?;
        Some((1e9 / rate) as i64)
    }

    fn rendition(&self, packaging: Packaging) -> Option<VideoRendition> {
        let (codec, description) = self.codec(packaging)?;
        let size = self.size()?;
        let framerate = self.framerate();
        Some(VideoRendition {
            codec: codec.to_string(),
            description,
            coded_width: Some(size.0),
            coded_height: Some(size.1),
            display_aspect: self.display_aspect(size),
            framerate,
            // A frame is held until the next one at most.
            jitter_ms: framerate.map(|rate| (1000.0 / rate).ceil().clamp(1.0, 10_000.0) as u32),
            ..VideoRendition::default()
        })
    }

    /// Codec and description, once the stream has said them.
    fn codec(&self, packaging: Packaging) -> Option<(Codec, Option<Bytes>)> {
        let is_cmaf = packaging == Packaging::Cmaf;
        Some(match &self.coding {
            VideoCoding::H264(nal) => {
                let config = nal.config.as_ref()?;
                let codec = Codec::H264(config.codec(nal.is_inline(is_cmaf)));
                (codec, nal.description(is_cmaf, || config.to_avcc()))
            }
            VideoCoding::H265(nal) => {
                let config = nal.config.as_ref()?;
                let codec = Codec::H265(config.codec(nal.is_inline(is_cmaf)));
                (codec, nal.description(is_cmaf, || config.to_hvcc()))
            }
            VideoCoding::Vp8(key) => {
                key.as_ref()?;
                (Codec::Vp8, None)
            }
            VideoCoding::Vp9(key) => {
                let rate = self.framerate().unwrap_or(ASSUMED_FRAMERATE);
                (Codec::Vp9(key.as_ref()?.codec(rate, None)), None)
            }
            VideoCoding::Av1(av1) => {
                let (header, record) = av1.known.as_ref()?;
                // Elsewhere key frames have it in band.
                let description = is_cmaf.then(|| record.clone());
                (Codec::Av1(header.codec()), description)
            }
        })
    }

    /// What the parameter sets of H.264 and H.265 say, otherwise the caps, otherwise the key frame.
    fn size(&self) -> Option<(u32, u32)> {
        let coded = match &self.coding {
            VideoCoding::H264(nal) => return nal.config.as_ref().map(|it| (it.width, it.height)),
            VideoCoding::H265(nal) => return nal.config.as_ref().map(h265::Config::size),
            VideoCoding::Vp8(key) => key.map(|key| (key.width.into(), key.height.into())),
            VideoCoding::Vp9(key) => key.map(|key| (key.width, key.height)),
            VideoCoding::Av1(av1) => av1.known.as_ref().map(|(it, _)| (it.width, it.height)),
        };
        self.size.or(coded)
    }

    /// Frames a second: the caps', otherwise the stream's.
    pub fn framerate(&self) -> Option<f64> {
        let coded = match &self.coding {
            VideoCoding::H264(nal) => nal.config.as_ref()?.framerate,
            VideoCoding::H265(nal) => nal.config.as_ref()?.framerate(),
            VideoCoding::Av1(av1) => av1.known.as_ref()?.0.framerate,
            VideoCoding::Vp8(_) | VideoCoding::Vp9(_) => None,
        };
        let stated = self.framerate;
        let stated = stated.map(|rate| f64::from(rate.numer()) / f64::from(rate.denom()));
        stated.or(coded.map(|(numer, denom)| f64::from(numer) / f64::from(denom)))
    }

    fn display_aspect(&self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let stated = self.pixel_aspect.and_then(|aspect| {
            let (width, height) = (aspect.numer(), aspect.denom());
            Some((u32::try_from(width).ok()?, u32::try_from(height).ok()?))
        });
        let coded = match &self.coding {
            VideoCoding::H264(nal) => nal.config.as_ref().and_then(|it| it.sample_aspect),
            VideoCoding::H265(nal) => nal.config.as_ref().and_then(h265::Config::sample_aspect),
            _ => None,
        };
        let (pixel_width, pixel_height) = stated.or(coded)?;
        reduced(
            u64::from(width) * u64::from(pixel_width),
            u64::from(height) * u64::from(pixel_height),
        )
    }
}

impl<C> NalStream<C> {
    /// Whether it is written with parameter sets in band: byte-stream becomes length-prefixed in CMAF, and has them in the
    /// description then.
    fn is_inline(&self, is_cmaf: bool) -> bool {
        self.inline && !(is_cmaf && self.format == NalFormat::ByteStream)
    }

    /// Without one, NAL units have start codes.
    fn description(&self, is_cmaf: bool, written: impl FnOnce() -> Bytes) -> Option<Bytes> {
        match (self.format, &self.record) {
            (_, record) if !self.inline => record.clone(),
            _ if !is_cmaf => None,
            (NalFormat::ByteStream | NalFormat::Length { size: 4 }, _) => Some(written()),
            // Lengths of other sizes are written as they came.
            (NalFormat::Length { .. }, record) => record.clone(),
        }
    }
}

#[cfg(test)]
mod tests;

//! How long packets last and how deep pictures are reordered, whatever the codec: what a player needs to stamp frames.

#![forbid(unsafe_code)]

use super::catalog::{AudioRendition, VideoRendition};
use super::codec::Codec;
use super::h264::NalFormat;
use super::{aac, catalog, flac, h264, h265, mp3, opus};

/// How long the packets of an audio track last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketTiming {
    Opus,
    /// Every packet the same.
    Fixed {
        ns: u64,
    },
    Mp3,
    Flac(flac::StreamInfo),
    /// Interleaved samples.
    Pcm {
        bytes_a_second: u64,
    },
    /// Nothing says.
    Unknown,
}

impl PacketTiming {
    /// By a rendition's codec and description.
    pub fn new(rendition: &AudioRendition) -> Self {
        match Codec::parse(&rendition.codec) {
            Codec::Opus => Self::Opus,
            Codec::Aac { .. } => Self::Fixed {
                ns: aac_duration_ns(rendition),
            },
            Codec::Mp3 => Self::Mp3,
            Codec::Flac => rendition
                .decoder_description()
                .and_then(|record| flac::StreamInfo::from_description(&record).ok())
                .map_or(Self::Unknown, Self::Flac),
            Codec::Pcm => Self::Pcm {
                bytes_a_second: 4
                    * u64::from(rendition.channels)
                    * u64::from(rendition.sample_rate),
            },
            _ => Self::Unknown,
        }
    }

    /// Duration of a packet in ns, rounded down; `None` if it does not say, or is none of its codec.
    pub fn duration_ns(&self, packet: &[u8]) -> Option<u64> {
        match self {
            Self::Opus => opus::packet_duration_ns(packet).ok(),
            Self::Fixed { ns } => Some(*ns).filter(|ns| *ns > 0),
            Self::Mp3 => mp3::Header::parse(packet).map(|header| header.duration_ns()),
            Self::Flac(info) => info.duration_ns(packet),
            Self::Pcm { bytes_a_second } => {
                (packet.len() as u64 * 1_000_000_000).checked_div(*bytes_a_second)
            }
            Self::Unknown => None,
        }
    }
}

/// Without a description, what nearly all streams are: 1024 samples at the rate of the catalog, which is the output's.
fn aac_duration_ns(rendition: &AudioRendition) -> u64 {
    let config = rendition
        .decoder_description()
        .and_then(|asc| aac::Config::parse(&asc).ok());
    config.map_or_else(
        || {
            let packet = match Codec::parse(&rendition.codec) {
                Codec::Aac {
                    object_type: aac::object_type::SBR | aac::object_type::PS,
                } => 2_048,
                _ => 1_024,
            };
            (packet * 1_000_000_000u64)
                .checked_div(rendition.sample_rate.into())
                .unwrap_or(0)
        },
        |config| config.packet_duration_ns(),
    )
}

/// How many pictures come before a picture in decoding order and after it in presentation order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reordering {
    /// At most this many; 0 without reordering.
    pub depth: u8,
    /// The stream states or implies it; otherwise it is an assumption.
    pub stated: bool,
}

impl Reordering {
    const NONE: Self = Self {
        depth: 0,
        stated: true,
    };

    /// By a rendition's codec and description; `None` where only the stream says ([`Reordering::of_key_frame`]).
    pub fn new(rendition: &VideoRendition) -> Option<Self> {
        let record = || rendition.decoder_description();
        match Codec::parse(&rendition.codec) {
            Codec::H264(_) => h264::Config::from_avcc(&record()?).ok().map(Self::from),
            Codec::H265(_) => h265::Config::from_hvcc(&record()?).ok().map(Self::from),
            // Nothing else shows pictures in another order than that of their packets.
            _ => Some(Self::NONE),
        }
    }

    /// By the parameter sets in a key frame; `None` if it has none.
    pub fn of_key_frame(rendition: &VideoRendition, frame: &[u8]) -> Option<Self> {
        let format = nal_format(rendition);
        match Codec::parse(&rendition.codec) {
            Codec::H264(_) => h264::Config::from_access_unit(frame, format)
                .ok()?
                .map(Self::from),
            Codec::H265(_) => h265::Config::from_access_unit(frame, format)
                .ok()?
                .map(Self::from),
            _ => Some(Self::NONE),
        }
    }
}

impl From<h264::Config> for Reordering {
    fn from(config: h264::Config) -> Self {
        Self {
            depth: config.reorder_depth,
            stated: config.reorder_depth_stated,
        }
    }
}

impl From<h265::Config> for Reordering {
    fn from(config: h265::Config) -> Self {
        Self {
            depth: config.reorder_depth(),
            stated: true,
        }
    }
}

/// How the NAL units of an H.264 or H.265 rendition's frames are separated: by lengths with a description (in CMAF, that of
/// the init segment), otherwise by start codes.
pub fn nal_format(rendition: &VideoRendition) -> NalFormat {
    let format =
        rendition
            .decoder_description()
            .and_then(|record| match Codec::parse(&rendition.codec) {
                Codec::H264(_) => Some(h264::AvcC::parse(&record).ok()?.nal_format()),
                Codec::H265(_) => Some(h265::HvcC::parse(&record).ok()?.nal_format()),
                _ => None,
            });
    match format {
        Some(format) => format,
        // CMAF has no start codes; lengths of four bytes are all but universal.
        None if matches!(rendition.container, catalog::Container::Cmaf { .. }) => {
            NalFormat::Length { size: 4 }
        }
        None => NalFormat::ByteStream,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::catalog::{Container, Rendition};
    use crate::media::container::cmaf;

    fn audio(codec: &str, description: Option<&str>) -> AudioRendition {
        AudioRendition {
            codec: codec.into(),
            sample_rate: 48_000,
            channels: 2,
            description: description.map(|hex| hex::decode(hex).unwrap().into()),
            ..Default::default()
        }
    }

    #[test]
    fn packets_of_every_codec_have_a_duration() {
        let of = |rendition: &AudioRendition, packet: &[u8]| {
            PacketTiming::new(rendition).duration_ns(packet)
        };
        assert_eq!(of(&audio("opus", None), &[31 << 3]), Some(20_000_000));
        assert_eq!(of(&audio("opus", None), &[]), None);
        assert_eq!(of(&audio("mp4a.40.2", None), &[0]), Some(21_333_333));
        assert_eq!(of(&audio("mp4a.40.5", None), &[0]), Some(42_666_666));
        // 1024 samples at the core's 24 kHz.
        assert_eq!(
            of(&audio("mp4a.40.5", Some("2b118800")), &[0]),
            Some(42_666_666)
        );
        assert_eq!(
            of(&audio("mp3", None), &[0xff, 0xfb, 0x90, 0x64]),
            Some(26_122_448)
        );
        assert_eq!(of(&audio("mp3", None), b"ID3"), None);
        assert_eq!(of(&audio("pcm", None), &[0; 3_840]), Some(10_000_000));
        let mut flac = audio("flac", Some("664c614380000022120012000000000000000ac442f0"));
        assert_eq!(of(&flac, &[0xff, 0xf8, 0x59, 0x88, 0]), None);
        let mut whole = flac.description.unwrap().to_vec();
        whole.resize(42, 0);
        flac.description = Some(whole.into());
        assert_eq!(of(&flac, &[0xff, 0xf8, 0x59, 0x88, 0]), Some(104_489_795));
        let silent = AudioRendition {
            sample_rate: 0,
            channels: 0,
            ..audio("pcm", None)
        };
        assert_eq!(of(&silent, &[0]), None);
        assert_eq!(of(&audio("ac-3", None), &[0]), None);
    }

    /// x265 with two B-frames, in a record and in band.
    #[test]
    fn reordering_is_known_by_description_or_by_key_frame() {
        const SETS: [&str; 3] = [
            "40010c01ffff01600000030090000003000003003f959009",
            "42010101600000030090000003000003003fa028831659592e4cafff000100016a0c0c0c0800001f480003a98040",
            "4401c173d189",
        ];
        let mut frame = Vec::new();
        for set in SETS {
            frame.extend([0, 0, 0, 1]);
            frame.extend(hex::decode(set).unwrap());
        }
        frame.extend([0, 0, 0, 1, 0x28, 1, 0xaf]);
        let config = h265::Config::from_access_unit(&frame, NalFormat::ByteStream);
        let record = config.unwrap().unwrap().to_hvcc();
        let mut video = VideoRendition {
            codec: "hev1.1.6.L63.90".into(),
            coded_width: Some(80),
            coded_height: Some(48),
            ..Default::default()
        };
        let two = Some(Reordering {
            depth: 2,
            stated: true,
        });
        assert_eq!(Reordering::new(&video), None);
        assert_eq!(Reordering::of_key_frame(&video, &frame), two);
        assert_eq!(nal_format(&video), NalFormat::ByteStream);
        video.description = Some(record);
        assert_eq!(Reordering::new(&video), two);
        assert_eq!(nal_format(&video), NalFormat::Length { size: 4 });
        // In CMAF, the init segment has it.
        let init = cmaf::init_segment(&Rendition::Video(video.clone())).unwrap();
        video.container = Container::Cmaf { init };
        video.description = None;
        assert_eq!(Reordering::new(&video), two);
        assert_eq!(nal_format(&video), NalFormat::Length { size: 4 });
        video.container = Container::Cmaf { init: Bytes::new() };
        assert_eq!(
            (Reordering::new(&video), nal_format(&video)),
            (None, NalFormat::Length { size: 4 })
        );
    }

    #[test]
    fn codecs_that_show_pictures_in_decoding_order_say_so() {
        for codec in ["vp8", "vp09.00.10.08", "av01.0.04M.08"] {
            let video = VideoRendition {
                codec: codec.into(),
                ..Default::default()
            };
            assert_eq!(
                Reordering::new(&video),
                Some(Reordering {
                    depth: 0,
                    stated: true
                })
            );
            assert_eq!(
                Reordering::of_key_frame(&video, &[]),
                Reordering::new(&video)
            );
        }
    }
}

//! Codec strings of catalogs, and the profile and level names that caps use for them.

#![forbid(unsafe_code)]

mod av1;
mod h264;
mod h265;
mod vp9;

use std::fmt;

pub use av1::Av1;
pub use h264::{H264, h264_level, h264_profile};
pub use h265::H265;
pub use vp9::Vp9;

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Video,
    Audio,
}

/// A codec string, taken apart as far as elements need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codec {
    H264(H264),
    H265(H265),
    Av1(Av1),
    Vp8,
    Vp9(Vp9),
    Opus,
    /// `mp4a.40.x`
    Aac {
        /// MPEG-4 audio object type, 2 for AAC LC.
        object_type: u8,
    },
    Mp3,
    Flac,
    /// 32-bit float little endian, interleaved.
    Pcm,
    /// Anything else, malformed strings of known codecs included.
    Unknown(String),
}

impl Codec {
    /// Takes a codec string apart. Never fails: what is not known is [`Codec::Unknown`].
    pub fn parse(codec: &str) -> Self {
        let (family, rest) = codec.split_once('.').unwrap_or((codec, ""));
        let known = match family {
            "avc1" | "avc3" => H264::parse_parameters(family == "avc3", rest).map(Self::H264),
            "hev1" | "hvc1" => H265::parse_parameters(family == "hev1", rest).map(Self::H265),
            "av01" => Av1::parse_parameters(rest).map(Self::Av1),
            "vp09" => Vp9::parse_parameters(rest).map(Self::Vp9),
            "mp4a" => parse_aac(rest),
            _ => None,
        };
        known.unwrap_or_else(|| match codec {
            "vp8" => Self::Vp8,
            "opus" => Self::Opus,
            "mp3" => Self::Mp3,
            "flac" => Self::Flac,
            "pcm" => Self::Pcm,
            _ => Self::Unknown(codec.into()),
        })
    }

    /// What it codes; `None` if the codec is unknown.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::H264(_) | Self::H265(_) | Self::Av1(_) | Self::Vp8 | Self::Vp9(_) => {
                Some(Kind::Video)
            }
            Self::Opus | Self::Aac { .. } | Self::Mp3 | Self::Flac | Self::Pcm => Some(Kind::Audio),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::H264(h264) => h264.fmt(f),
            Self::H265(h265) => h265.fmt(f),
            Self::Av1(av1) => av1.fmt(f),
            Self::Vp9(vp9) => vp9.fmt(f),
            Self::Unknown(codec) => f.write_str(codec),
            Self::Vp8 => f.write_str("vp8"),
            Self::Opus => f.write_str("opus"),
            Self::Aac { object_type } => write!(f, "mp4a.40.{object_type}"),
            Self::Mp3 => f.write_str("mp3"),
            Self::Flac => f.write_str("flac"),
            Self::Pcm => f.write_str("pcm"),
        }
    }
}

fn parse_aac(parameters: &str) -> Option<Codec> {
    let object_type = parameters.strip_prefix("40.")?;
    if !object_type.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let object_type = object_type
        .parse()
        .ok()
        .filter(|object_type| *object_type > 0)?;
    Some(Codec::Aac { object_type })
}

/// A number of exactly two digits.
fn two_digits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + ones - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codec_strings_of_catalogs_are_known() {
        let h264 = Codec::parse("avc3.64001F");
        assert_eq!(
            h264,
            Codec::H264(H264 {
                inline: true,
                profile_idc: 100,
                constraints: 0,
                level_idc: 31
            })
        );
        assert_eq!(h264.to_string(), "avc3.64001f");
        for (codec, kind) in [
            ("avc1.42e01e", Kind::Video),
            ("hev1.1.6.L93.B0", Kind::Video),
            ("hvc1.1.6.L93.B0", Kind::Video),
            ("av01.0.04M.08", Kind::Video),
            ("vp8", Kind::Video),
            ("vp09.00.10.08", Kind::Video),
            ("opus", Kind::Audio),
            ("mp4a.40.2", Kind::Audio),
            ("mp3", Kind::Audio),
            ("flac", Kind::Audio),
            ("pcm", Kind::Audio),
        ] {
            assert_eq!(Codec::parse(codec).kind(), Some(kind), "{codec}");
            assert_eq!(Codec::parse(codec).to_string(), codec);
        }
    }

    #[test]
    fn malformed_strings_are_unknown() {
        for codec in [
            "",
            ".",
            "avc1",
            "avc1.",
            "avc1.64001",
            "avc1.64001ff",
            "avc1.64+01f",
            "avc3.é0001",
            "opus.",
            "mp4a.40",
            "mp4a.40.",
            "mp4a.40.+2",
            "mp4a.40.0",
            "mp4a.40.999",
            "mp4a.6b",
            "vp09",
            "vp09.",
            "vp09.0.10.08",
            "vp09.00.10.08.é",
            "hev1",
            "hvc1.1.6",
            "hev1.1.6.X93",
            "hev1.1.6.L93.B0.0.0.0.0.0.0",
            "hev1.32.6.L93",
            "av01.0.04M",
            "av01.0.04X.08",
            "av01.8.04M.08",
            "OPUS",
            "h264",
        ] {
            assert_eq!(Codec::parse(codec), Codec::Unknown(codec.into()));
            assert_eq!(Codec::parse(codec).kind(), None);
        }
    }

    #[test]
    fn profiles_and_levels_are_named_as_caps_name_them() {
        let names = |codec: &str| match Codec::parse(codec) {
            Codec::H264(h264) => (h264.profile(), h264.level()),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            names("avc1.42e01e"),
            (Some("constrained-baseline"), Some("3"))
        );
        assert_eq!(names("avc1.42001e"), (Some("baseline"), Some("3")));
        assert_eq!(names("avc1.4d401f"), (Some("main"), Some("3.1")));
        assert_eq!(names("avc1.640029"), (Some("high"), Some("4.1")));
        assert_eq!(names("avc1.640c28"), (Some("constrained-high"), Some("4")));
        assert_eq!(names("avc1.6e0033"), (Some("high-10"), Some("5.1")));
        assert_eq!(
            names("avc1.7a1033"),
            (Some("high-4:2:2-intra"), Some("5.1"))
        );
        assert_eq!(
            names("avc1.42f00b"),
            (Some("constrained-baseline"), Some("1b"))
        );
        assert_eq!(names("avc1.64000b"), (Some("high"), Some("1.1")));
        assert_eq!(names("avc1.ff00ff"), (None, None));
    }

    proptest! {
        #[test]
        fn any_string_survives_parsing(codec in "\\PC{0,24}") {
            let parsed = Codec::parse(&codec);
            let printed = parsed.to_string();
            prop_assert_eq!(Codec::parse(&printed), parsed);
        }

        #[test]
        fn hang_agrees_on_h265(
            inline: bool,
            profile_space in 0u8..4,
            profile_idc in 0u8..32,
            compatibility: u32,
            high_tier: bool,
            level_idc: u8,
            constraints: [u8; 6],
        ) {
            let ours = H265 {
                inline, profile_space, profile_idc, compatibility, high_tier, level_idc, constraints,
            };
            prop_assert_eq!(Codec::parse(&ours.to_string()), Codec::H265(ours));
            let theirs: hang::catalog::H265 = ours.to_string().parse().unwrap();
            prop_assert_eq!(theirs.to_string().to_lowercase(), ours.to_string().to_lowercase());
            prop_assert_eq!(Codec::parse(&theirs.to_string()), Codec::H265(ours));
        }

        #[test]
        fn hang_agrees_on_vp9(profile in 0u8..4, level in 0u8..100, bit_depth in 8u8..=12) {
            let ours = Vp9 { profile, level, bit_depth };
            prop_assert_eq!(Codec::parse(&ours.to_string()), Codec::Vp9(ours));
            let theirs: hang::catalog::VP9 = ours.to_string().parse().unwrap();
            prop_assert_eq!((theirs.profile, theirs.level, theirs.bit_depth), (profile, level, bit_depth));
            prop_assert_eq!(Codec::parse(&theirs.to_string()), Codec::Vp9(ours));
        }

        #[test]
        fn hang_agrees_on_av1(profile in 0u8..3, level in 0u8..24, high_tier: bool, bit_depth in 8u8..=12) {
            let ours = Av1 { profile, level, high_tier, bit_depth };
            prop_assert_eq!(Codec::parse(&ours.to_string()), Codec::Av1(ours));
            let theirs: hang::catalog::AV1 = ours.to_string().parse().unwrap();
            prop_assert_eq!((theirs.profile, theirs.level, theirs.bitdepth), (profile, level, bit_depth));
            prop_assert_eq!(Codec::parse(&theirs.to_string()), Codec::Av1(ours));
        }

        #[test]
        fn hang_agrees_on_h264(inline: bool, profile_idc: u8, constraints: u8, level_idc: u8) {
            let ours = H264 { inline, profile_idc, constraints, level_idc };
            let theirs: hang::catalog::H264 = ours.to_string().parse().unwrap();
            prop_assert_eq!(theirs.to_string(), ours.to_string());
            prop_assert_eq!(Codec::parse(&theirs.to_string()), Codec::H264(ours));
        }
    }
}

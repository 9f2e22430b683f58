//! Codec strings of catalogs, and the profile and level names that caps use for them.

#![forbid(unsafe_code)]

use std::fmt;

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Video,
    Audio,
}

/// A codec string, taken apart as far as elements need it. Codecs whose parameters are not looked at keep their
/// whole string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codec {
    H264(H264),
    /// `hev1.…` or `hvc1.…`
    H265(String),
    /// `av01.…`
    Av1(String),
    Vp8,
    /// `vp09.…`
    Vp9(String),
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

/// Parameters of `avc1.PPCCLL` and `avc3.PPCCLL` (RFC 6381 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H264 {
    /// Parameter sets are in the stream (`avc3`), not only in the description (`avc1`).
    pub inline: bool,
    pub profile_idc: u8,
    /// The byte after `profile_idc` of the SPS: constraint_set0_flag is its top bit.
    pub constraints: u8,
    pub level_idc: u8,
}

impl Codec {
    /// Takes a codec string apart. Never fails: what is not known is [`Codec::Unknown`].
    pub fn parse(codec: &str) -> Self {
        let (family, rest) = codec.split_once('.').unwrap_or((codec, ""));
        let known = match family {
            "avc1" | "avc3" => H264::parse_parameters(family == "avc3", rest).map(Self::H264),
            "hev1" | "hvc1" if !rest.is_empty() => Some(Self::H265(codec.into())),
            "av01" if !rest.is_empty() => Some(Self::Av1(codec.into())),
            "vp09" if !rest.is_empty() => Some(Self::Vp9(codec.into())),
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
            Self::H265(codec) | Self::Av1(codec) | Self::Vp9(codec) | Self::Unknown(codec) => {
                f.write_str(codec)
            }
            Self::Vp8 => f.write_str("vp8"),
            Self::Opus => f.write_str("opus"),
            Self::Aac { object_type } => write!(f, "mp4a.40.{object_type}"),
            Self::Mp3 => f.write_str("mp3"),
            Self::Flac => f.write_str("flac"),
            Self::Pcm => f.write_str("pcm"),
        }
    }
}

impl H264 {
    fn parse_parameters(inline: bool, parameters: &str) -> Option<Self> {
        let mut bytes = [0; 3];
        hex::decode_to_slice(parameters, &mut bytes).ok()?;
        let [profile_idc, constraints, level_idc] = bytes;
        Some(Self {
            inline,
            profile_idc,
            constraints,
            level_idc,
        })
    }

    /// The value of `profile` in `video/x-h264` caps; see [`h264_profile`].
    pub fn profile(&self) -> Option<&'static str> {
        h264_profile(self.profile_idc, self.constraints)
    }

    /// The value of `level` in `video/x-h264` caps; see [`h264_level`].
    pub fn level(&self) -> Option<&'static str> {
        h264_level(self.constraints, self.level_idc)
    }
}

impl fmt::Display for H264 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.inline { "avc3" } else { "avc1" };
        let (profile, constraints, level) = (self.profile_idc, self.constraints, self.level_idc);
        write!(f, "{family}.{profile:02x}{constraints:02x}{level:02x}")
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

/// Name of an H.264 profile as caps spell it (ITU-T H.264 Annex A, G and H; `constraints` as in [`H264`]). `None` for
/// profiles that caps have no name for.
pub fn h264_profile(profile_idc: u8, constraints: u8) -> Option<&'static str> {
    let set = |flag: u8| constraints & (0x80 >> flag) != 0;
    Some(match profile_idc {
        66 if set(1) => "constrained-baseline",
        66 => "baseline",
        77 => "main",
        88 => "extended",
        100 if set(4) && set(5) => "constrained-high",
        100 if set(4) => "progressive-high",
        100 => "high",
        110 if set(3) => "high-10-intra",
        110 if set(4) => "progressive-high-10",
        110 => "high-10",
        122 if set(3) => "high-4:2:2-intra",
        122 => "high-4:2:2",
        244 if set(3) => "high-4:4:4-intra",
        244 => "high-4:4:4",
        44 => "cavlc-4:4:4-intra",
        118 => "multiview-high",
        128 => "stereo-high",
        83 if set(5) => "scalable-constrained-baseline",
        83 => "scalable-baseline",
        86 if set(3) => "scalable-high-intra",
        86 if set(5) => "scalable-constrained-high",
        86 => "scalable-high",
        _ => return None,
    })
}

/// Name of an H.264 level as caps spell it: `4` and not `4.0`, `1b` where constraint_set3_flag says so. `None` for levels
/// that Table A-1 of ITU-T H.264 does not have.
pub fn h264_level(constraints: u8, level_idc: u8) -> Option<&'static str> {
    Some(match level_idc {
        9 => "1b",
        11 if constraints & 0x10 != 0 => "1b",
        10 => "1",
        11 => "1.1",
        12 => "1.2",
        13 => "1.3",
        20 => "2",
        21 => "2.1",
        22 => "2.2",
        30 => "3",
        31 => "3.1",
        32 => "3.2",
        40 => "4",
        41 => "4.1",
        42 => "4.2",
        50 => "5",
        51 => "5.1",
        52 => "5.2",
        60 => "6",
        61 => "6.1",
        62 => "6.2",
        _ => return None,
    })
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
            let is_aac = matches!(parsed, Codec::Aac { .. });
            prop_assert!(is_aac || parsed.to_string().eq_ignore_ascii_case(&codec));
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

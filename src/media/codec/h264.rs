//! `avc1` and `avc3`.

use std::fmt;

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

impl H264 {
    pub(super) fn parse_parameters(inline: bool, parameters: &str) -> Option<Self> {
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

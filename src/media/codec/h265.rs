//! `hev1` and `hvc1`.

use std::fmt;

/// Parameters of `hev1.…` and `hvc1.…` (ISO/IEC 14496-15 §E.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H265 {
    /// Parameter sets are in the stream (`hev1`), not only in the description (`hvc1`).
    pub inline: bool,
    /// 0 to 3; everything that exists is in 0.
    pub profile_space: u8,
    pub profile_idc: u8,
    /// general_profile_compatibility_flag\[0\] is the top bit, as in the bitstream.
    pub compatibility: u32,
    pub high_tier: bool,
    /// 30 times the level.
    pub level_idc: u8,
    /// The six bytes from general_progressive_source_flag on.
    pub constraints: [u8; 6],
}

impl H265 {
    pub(super) fn parse_parameters(inline: bool, parameters: &str) -> Option<Self> {
        let mut fields = parameters.split('.');
        let profile = fields.next()?;
        let (profile_space, idc) = match profile.as_bytes().first()? {
            letter @ b'A'..=b'C' => (letter - b'A' + 1, &profile[1..]),
            _ => (0, profile),
        };
        let profile_idc = decimal(idc).filter(|idc| *idc < 32)?;
        let compatibility = u32::from_str_radix(unsigned(fields.next()?)?, 16).ok()?;
        let tier = fields.next()?;
        let high_tier = match tier.as_bytes().first()? {
            b'L' => false,
            b'H' => true,
            _ => return None,
        };
        let level_idc = decimal(&tier[1..])?;
        let mut constraints = [0; 6];
        let mut places = constraints.iter_mut();
        for field in fields {
            *places.next()? = u8::from_str_radix(unsigned(field)?, 16).ok()?;
        }
        Some(Self {
            inline,
            profile_space,
            profile_idc,
            compatibility: compatibility.reverse_bits(),
            high_tier,
            level_idc,
            constraints,
        })
    }

    /// The value of `profile` in `video/x-h265` caps (ITU-T H.265 Annex A); `None` for profiles without a name there.
    pub fn profile(&self) -> Option<&'static str> {
        let compatible = |idc: u8| self.compatibility & (0x8000_0000 >> idc) != 0;
        match self.profile_idc {
            1 => Some("main"),
            2 => Some("main-10"),
            3 => Some("main-still-picture"),
            4 => self.format_range_profile(),
            0 if compatible(1) => Some("main"),
            0 if compatible(2) => Some("main-10"),
            _ => None,
        }
    }

    /// ITU-T H.265 Table A.2: the constraint flags tell which one it is.
    fn format_range_profile(&self) -> Option<&'static str> {
        let [first, second, ..] = self.constraints;
        // max_12bit, max_10bit, max_8bit, max_422chroma; max_420chroma, max_monochrome, intra.
        Some(match (first & 0xf, second >> 5) {
            (0b1111, 0b110) => "monochrome",
            (0b1101, 0b110) => "monochrome-10",
            (0b1001, 0b110) => "monochrome-12",
            (0b1001, 0b100) => "main-12",
            (0b1101, 0b000) => "main-422-10",
            (0b1001, 0b000) => "main-422-12",
            (0b1110, 0b000) => "main-444",
            (0b1100, 0b000) => "main-444-10",
            (0b1000, 0b000) => "main-444-12",
            (0b1111, 0b101) => "main-intra",
            (0b1101, 0b101) => "main-10-intra",
            (0b1001, 0b101) => "main-12-intra",
            (0b1101, 0b001) => "main-422-10-intra",
            (0b1001, 0b001) => "main-422-12-intra",
            (0b1110, 0b001) => "main-444-intra",
            (0b1100, 0b001) => "main-444-10-intra",
            (0b1000, 0b001) => "main-444-12-intra",
            _ => return None,
        })
    }

    /// The value of `tier` in `video/x-h265` caps.
    pub fn tier(&self) -> &'static str {
        if self.high_tier { "high" } else { "main" }
    }

    /// The value of `level` in `video/x-h265` caps; `None` for levels that Table A.8 of ITU-T H.265 does not have.
    pub fn level(&self) -> Option<&'static str> {
        Some(match self.level_idc {
            30 => "1",
            60 => "2",
            63 => "2.1",
            90 => "3",
            93 => "3.1",
            120 => "4",
            123 => "4.1",
            150 => "5",
            153 => "5.1",
            156 => "5.2",
            180 => "6",
            183 => "6.1",
            186 => "6.2",
            _ => return None,
        })
    }
}

impl fmt::Display for H265 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inline { "hev1." } else { "hvc1." })?;
        f.write_str(["", "A", "B", "C"][usize::from(self.profile_space & 3)])?;
        let compatibility = self.compatibility.reverse_bits();
        let tier = if self.high_tier { 'H' } else { 'L' };
        let (profile, level) = (self.profile_idc, self.level_idc);
        write!(f, "{profile}.{compatibility:X}.{tier}{level}")?;
        let written = self.constraints.iter().rposition(|byte| *byte != 0);
        for byte in &self.constraints[..written.map_or(0, |last| last + 1)] {
            write!(f, ".{byte:X}")?;
        }
        Ok(())
    }
}

/// Digits alone: the parsers of the standard library take a sign, too.
fn unsigned(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(text)
}

fn decimal(text: &str) -> Option<u8> {
    unsigned(text)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parameters: &str) -> (Option<&'static str>, &'static str, Option<&'static str>) {
        let parsed = H265::parse_parameters(true, parameters).unwrap();
        (parsed.profile(), parsed.tier(), parsed.level())
    }

    #[test]
    fn profiles_tiers_and_levels_are_named_as_caps_name_them() {
        assert_eq!(names("1.6.L93.B0"), (Some("main"), "main", Some("3.1")));
        assert_eq!(names("2.4.H153.B0"), (Some("main-10"), "high", Some("5.1")));
        assert_eq!(
            names("4.10.L120.9E.8"),
            (Some("main-444"), "main", Some("4"))
        );
        assert_eq!(
            names("4.10.L120.9D.8"),
            (Some("main-422-10"), "main", Some("4"))
        );
        assert_eq!(names("9.6.L1"), (None, "main", None));
    }

    #[test]
    fn fields_are_what_the_bitstream_has() {
        let parsed = H265::parse_parameters(false, "A1.6.L93.B0.00.05").unwrap();
        assert_eq!(parsed.profile_space, 1);
        assert_eq!(parsed.compatibility, 0x6000_0000);
        assert_eq!(parsed.constraints, [0xb0, 0, 5, 0, 0, 0]);
        assert_eq!(parsed.to_string(), "hvc1.A1.6.L93.B0.0.5");
    }
}

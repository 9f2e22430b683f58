//! `av01`.

use std::fmt;

use super::two_digits;

/// Parameters of `av01.P.LLT.DD` (AV1 Codec ISO Media File Format Binding §5); what may follow, the colours, is in the
/// stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Av1 {
    /// seq_profile: 0 main, 1 high, 2 professional.
    pub profile: u8,
    /// seq_level_idx: level X.Y is 4 · (X − 2) + Y; 31 is no limit.
    pub level: u8,
    pub high_tier: bool,
    /// 8, 10 or 12.
    pub bit_depth: u8,
}

impl Av1 {
    pub(super) fn parse_parameters(parameters: &str) -> Option<Self> {
        let mut fields = parameters.split('.');
        let profile = match fields.next()?.as_bytes() {
            [digit @ b'0'..=b'2'] => digit - b'0',
            _ => return None,
        };
        let level = fields.next()?;
        let (level, high_tier) = match level.as_bytes() {
            [_, _, b'M'] => (&level[..2], false),
            [_, _, b'H'] => (&level[..2], true),
            _ => return None,
        };
        let parsed = Self {
            profile,
            level: two_digits(level).filter(|level| *level < 32)?,
            high_tier,
            bit_depth: two_digits(fields.next()?).filter(|depth| (8..=16).contains(depth))?,
        };
        let is_number = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
        fields.all(is_number).then_some(parsed)
    }

    /// The value of `profile` in `video/x-av1` caps.
    pub fn profile(&self) -> Option<&'static str> {
        ["main", "high", "professional"]
            .get(usize::from(self.profile))
            .copied()
    }

    /// The value of `tier` in `video/x-av1` caps.
    pub fn tier(&self) -> &'static str {
        if self.high_tier { "high" } else { "main" }
    }
}

impl fmt::Display for Av1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tier = if self.high_tier { 'H' } else { 'M' };
        let (profile, level, depth) = (self.profile, self.level, self.bit_depth);
        write!(f, "av01.{profile}.{level:02}{tier}.{depth:02}")
    }
}

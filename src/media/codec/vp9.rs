//! `vp09`.

use std::fmt;

use super::two_digits;

/// Parameters of `vp09.PP.LL.DD` (VP Codec ISO Media File Format Binding, "Codecs Parameter String"); what may follow, the
/// colours, is in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9 {
    /// 0 to 3.
    pub profile: u8,
    /// Ten times the level.
    pub level: u8,
    /// 8, 10 or 12.
    pub bit_depth: u8,
}

impl Vp9 {
    pub(super) fn parse_parameters(parameters: &str) -> Option<Self> {
        let mut fields = parameters.split('.');
        let parsed = Self {
            profile: two_digits(fields.next()?).filter(|profile| *profile < 4)?,
            level: two_digits(fields.next()?)?,
            bit_depth: two_digits(fields.next()?).filter(|depth| (8..=16).contains(depth))?,
        };
        // Colours are two digits each, too.
        fields
            .all(|field| two_digits(field).is_some())
            .then_some(parsed)
    }

    /// The value of `profile` in `video/x-vp9` caps.
    pub fn profile(&self) -> &'static str {
        ["0", "1", "2", "3"][usize::from(self.profile & 3)]
    }
}

impl fmt::Display for Vp9 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (profile, level, depth) = (self.profile, self.level, self.bit_depth);
        write!(f, "vp09.{profile:02}.{level:02}.{depth:02}")
    }
}

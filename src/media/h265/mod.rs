//! H.265 as far as a publisher and a player need it: NAL units, parameter sets, key pictures.
//!
//! As in [`h264`](super::h264), only what is in front of the first slice is read.

#![forbid(unsafe_code)]

mod config;
mod hvcc;
mod sps;

pub use super::nal::{LengthPrefixed, NalFormat, ParameterSetError, Parts};
pub use config::Config;
pub use hvcc::HvcC;

use super::nal as units;

/// NAL unit types, ITU-T H.265 Table 7-1.
pub mod nal_type {
    pub const RADL_N: u8 = 6;
    pub const RADL_R: u8 = 7;
    pub const RASL_N: u8 = 8;
    pub const RASL_R: u8 = 9;
    pub const BLA_W_LP: u8 = 16;
    pub const BLA_N_LP: u8 = 18;
    pub const IDR_W_RADL: u8 = 19;
    pub const IDR_N_LP: u8 = 20;
    pub const CRA: u8 = 21;
    /// The last type that is a slice.
    pub const VCL_LAST: u8 = 31;
    pub const VPS: u8 = 32;
    pub const SPS: u8 = 33;
    pub const PPS: u8 = 34;
    pub const AUD: u8 = 35;
}

/// What kind of picture an access unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// Nothing after it refers to anything before it.
    Idr,
    /// As IDR: decoders drop the leading pictures that reach back.
    Bla,
    /// Decoding can start here, but leading pictures may reach back.
    Cra,
    /// A leading picture that refers to what is before its CRA or BLA: it cannot be decoded after joining there.
    Rasl,
    /// A leading picture that can be decoded after joining.
    Radl,
    Trailing,
}

impl Picture {
    /// A group may start here: whoever joins at it misses nothing. `reorder_depth` is [`Config::reorder_depth`]: a stream
    /// without reordering has no leading pictures.
    pub fn is_closed(self, reorder_depth: u8) -> bool {
        match self {
            Self::Idr | Self::Bla => true,
            Self::Cra => reorder_depth == 0,
            Self::Rasl | Self::Radl | Self::Trailing => false,
        }
    }
}

/// What kind of picture this access unit is; `None` without a slice.
pub fn picture(au: &[u8], format: NalFormat) -> Option<Picture> {
    let slice = leading_nals(au, format)
        .map(|nal| kind(nal[0]))
        .find(|kind| *kind <= nal_type::VCL_LAST)?;
    Some(match slice {
        nal_type::BLA_W_LP..=nal_type::BLA_N_LP => Picture::Bla,
        nal_type::IDR_W_RADL | nal_type::IDR_N_LP => Picture::Idr,
        nal_type::CRA => Picture::Cra,
        nal_type::RASL_N | nal_type::RASL_R => Picture::Rasl,
        nal_type::RADL_N | nal_type::RADL_R => Picture::Radl,
        _ => Picture::Trailing,
    })
}

/// Whether the access unit brings VPS, SPS and PPS along.
pub fn has_parameter_sets(au: &[u8], format: NalFormat) -> bool {
    let found = leading_nals(au, format).fold(0u8, |found, nal| match kind(nal[0]) {
        set @ nal_type::VPS..=nal_type::PPS => found | 1 << (set - nal_type::VPS),
        _ => found,
    });
    found == 0b111
}

/// What a byte-stream key picture has to become so that a player may join at it: `None` if it already has its parameter
/// sets, otherwise its parts with those of `config` put in front. Copies nothing.
pub fn prepend_parameter_sets<'a>(au: &'a [u8], config: &'a Config) -> Option<Parts<'a>> {
    if has_parameter_sets(au, NalFormat::ByteStream) {
        return None;
    }
    let delimiter_len = units::delimiter_len(au, |header| kind(header) == nal_type::AUD);
    Some(units::prepend(au, delimiter_len, config.parameter_sets()))
}

/// A length-prefixed access unit as byte-stream; `config`, for a key picture, is put in front where its parameter sets are
/// missing. Copies nothing.
pub fn byte_stream<'a>(au: &'a [u8], format: NalFormat, config: Option<&'a Config>) -> Parts<'a> {
    let config = config.filter(|_| !has_parameter_sets(au, format));
    let sets = config.into_iter().flat_map(Config::parameter_sets);
    let is_delimiter = |header| kind(header) == nal_type::AUD;
    units::byte_stream(au, format, is_delimiter, sets)
}

/// A byte-stream access unit as `hvc1` wants it: lengths instead of start codes, and neither parameter sets, which are in
/// the description, nor access unit delimiters (ISO/IEC 14496-15 §8.3.2).
pub fn length_prefixed(au: &[u8]) -> LengthPrefixed<'_> {
    LengthPrefixed::new(au, |header| {
        !(nal_type::VPS..=nal_type::AUD).contains(&kind(header))
    })
}

fn leading_nals(au: &[u8], format: NalFormat) -> units::Nals<'_> {
    units::leading_nals(au, format, |header| kind(header) <= nal_type::VCL_LAST)
}

/// The type in the first byte of a NAL unit.
fn kind(header: u8) -> u8 {
    header >> 1 & 0x3f
}

#[cfg(test)]
mod tests;

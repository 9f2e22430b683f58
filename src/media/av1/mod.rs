//! AV1 as far as a publisher and a player need it: OBUs, the sequence header, key frames. References are to the AV1 Bitstream
//! & Decoding Process Specification. Temporal units are shown in the order in which they are decoded.

#![forbid(unsafe_code)]

mod av1c;
mod obu;
mod sequence;

pub use av1c::Av1C;
pub use obu::{Obu, obus};
pub use sequence::SequenceHeader;

use super::bits::BitReader;
use obu::obu_type;

/// Why a sequence header or a configuration record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Av1Error {
    #[error("{0} is truncated")]
    Truncated(&'static str),
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// What a temporal unit is for whoever joins at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TemporalUnit {
    /// It has a sequence header.
    pub sequence_header: bool,
    /// Its first frame is a key frame that is shown.
    pub key_frame: bool,
}

impl TemporalUnit {
    /// Looks at the OBUs up to the first frame header.
    pub fn parse(unit: &[u8]) -> Self {
        let mut found = Self::default();
        for obu in obus(unit) {
            match obu.kind {
                obu_type::SEQUENCE_HEADER => found.sequence_header = true,
                obu_type::FRAME | obu_type::FRAME_HEADER => {
                    found.key_frame = is_shown_key_frame(obu.payload);
                    break;
                }
                _ => {}
            }
        }
        found
    }
}

/// §5.9.2. Reduced still picture headers, which have no such fields, are of images and not of streams.
fn is_shown_key_frame(header: &[u8]) -> bool {
    let read = |bits: &mut BitReader<'_>| {
        let show_existing = bits.flag()?;
        let (kind, shown) = (bits.bits(2)?, bits.flag()?);
        Some(!show_existing && kind == 0 && shown)
    };
    read(&mut BitReader::new(header)).unwrap_or(false)
}

/// The first sequence header of a temporal unit, if it has one.
///
/// # Errors
/// What is wrong with it.
pub fn sequence_header(unit: &[u8]) -> Result<Option<SequenceHeader>, Av1Error> {
    match obus(unit).find(|obu| obu.kind == obu_type::SEQUENCE_HEADER) {
        Some(obu) => SequenceHeader::parse(obu.payload).map(Some),
        None => Ok(None),
    }
}

/// Bytes of the temporal delimiter that opens a temporal unit; 0 without one. ISO files and WebCodecs leave it out (AV1
/// Codec ISO Media File Format Binding §2.4).
pub fn delimiter_len(unit: &[u8]) -> usize {
    let first = obus(unit).next();
    first
        .filter(|obu| obu.kind == obu_type::TEMPORAL_DELIMITER)
        .map_or(0, |obu| obu.bytes.len())
}

#[cfg(test)]
mod tests;

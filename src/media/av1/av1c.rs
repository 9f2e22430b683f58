//! The codec configuration record.

use bytes::{BufMut, Bytes};

use super::obu::{obu_type, obus};
use super::{Av1Error, SequenceHeader};

const AV1C: &str = "av1C";

/// An AV1CodecConfigurationRecord (AV1 Codec ISO Media File Format Binding §2.3.3), `codec_data` in caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Av1C {
    /// What its sequence header says; `None` for a record without one, whose stream has it.
    pub sequence_header: Option<SequenceHeader>,
    /// seq_profile, 0 to 2.
    pub profile: u8,
    pub level: u8,
    pub high_tier: bool,
    /// 8, 10 or 12.
    pub bit_depth: u8,
}

impl Av1C {
    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(record: &[u8]) -> Result<Self, Av1Error> {
        let Some((&[marker, profile, format, _], obus_of_record)) = record.split_first_chunk()
        else {
            return Err(Av1Error::Truncated(AV1C));
        };
        if marker != 0x81 {
            return Err(Av1Error::Invalid("av1C version"));
        }
        if profile >> 5 > 2 {
            return Err(Av1Error::Invalid("profile"));
        }
        Ok(Self {
            sequence_header: super::sequence_header(obus_of_record)?,
            profile: profile >> 5,
            level: profile & 0x1f,
            high_tier: format & 0x80 != 0,
            bit_depth: match format >> 5 & 3 {
                0b11 => 12,
                0b10 => 10,
                _ => 8,
            },
        })
    }

    /// The record for a stream, from a temporal unit with a sequence header; `None` without one.
    ///
    /// # Errors
    /// What is wrong with the sequence header.
    pub fn from_temporal_unit(unit: &[u8]) -> Result<Option<Bytes>, Av1Error> {
        let Some(obu) = obus(unit).find(|obu| obu.kind == obu_type::SEQUENCE_HEADER) else {
            return Ok(None);
        };
        let header = SequenceHeader::parse(obu.payload)?;
        let mut record = Vec::with_capacity(16 + obu.payload.len());
        record.put_u8(0x81);
        record.put_u8(header.profile << 5 | header.level);
        record.put_u8(
            u8::from(header.high_tier) << 7
                | u8::from(header.bit_depth > 8) << 6
                | u8::from(header.bit_depth == 12) << 5
                | u8::from(header.monochrome) << 4
                | u8::from(header.subsampling.0) << 3
                | u8::from(header.subsampling.1) << 2
                | header.chroma_sample_position,
        );
        record.put_u8(0);
        // configOBUs have their sizes (§2.3.4 there).
        record.put_u8(obu_type::SEQUENCE_HEADER << 3 | 2);
        let mut len = obu.payload.len();
        while len > 0x7f {
            record.put_u8(0x80 | len as u8);
            len >>= 7;
        }
        record.put_u8(len as u8);
        record.put_slice(obu.payload);
        Ok(Some(record.into()))
    }
}

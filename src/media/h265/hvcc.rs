//! The decoder configuration record.

use super::{NalFormat, ParameterSetError, kind, nal_type};
use crate::media::codec;
use crate::media::nal::without_trailing_zeros;

const HVCC: &str = "hvcC";

/// Bytes before the parameter sets.
const FIXED_LEN: usize = 23;

/// An HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1), `codec_data` in caps, checked but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HvcC<'a> {
    /// `hvc1`: [`codec::H265::inline`] is false.
    pub codec: codec::H265,
    /// Bytes of the length before each NAL unit: 1, 2 or 4.
    pub length_size: u8,
    /// Each may be empty: then parameter sets are in the stream (`hev1`).
    pub vps: Vec<&'a [u8]>,
    pub sps: Vec<&'a [u8]>,
    pub pps: Vec<&'a [u8]>,
}

impl<'a> HvcC<'a> {
    /// Reads a record; SEI messages in it are not looked at.
    ///
    /// # Errors
    /// [`ParameterSetError::Truncated`] or [`ParameterSetError::Invalid`].
    pub fn parse(record: &'a [u8]) -> Result<Self, ParameterSetError> {
        let Some((fixed, mut rest)) = record.split_first_chunk::<FIXED_LEN>() else {
            return Err(ParameterSetError::Truncated(HVCC));
        };
        let &[
            version,
            profile,
            c0,
            c1,
            c2,
            c3,
            constraints @ ..,
            length_size,
            arrays,
        ] = fixed;
        let &[k0, k1, k2, k3, k4, k5, level_idc, ..] = &constraints;
        // Drafts of the standard wrote 0.
        if version > 1 {
            return Err(ParameterSetError::Invalid("hvcC version"));
        }
        let length_size = (length_size & 3) + 1;
        if length_size == 3 {
            return Err(ParameterSetError::Invalid("hvcC NAL unit length"));
        }
        let mut hvcc = Self {
            codec: codec::H265 {
                inline: false,
                profile_space: profile >> 6,
                profile_idc: profile & 0x1f,
                compatibility: u32::from_be_bytes([c0, c1, c2, c3]),
                high_tier: profile & 0x20 != 0,
                level_idc,
                constraints: [k0, k1, k2, k3, k4, k5],
            },
            length_size,
            vps: Vec::new(),
            sps: Vec::new(),
            pps: Vec::new(),
        };
        for _ in 0..arrays {
            rest = hvcc.read_array(rest)?;
        }
        Ok(hvcc)
    }

    fn read_array(&mut self, rest: &'a [u8]) -> Result<&'a [u8], ParameterSetError> {
        let truncated = || ParameterSetError::Truncated(HVCC);
        let (&[array, count0, count1], mut rest) =
            rest.split_first_chunk().ok_or_else(truncated)?;
        for _ in 0..u16::from_be_bytes([count0, count1]) {
            let (len, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
            let (set, after) = after
                .split_at_checked(u16::from_be_bytes(*len).into())
                .ok_or_else(truncated)?;
            rest = after;
            let sets = match array & 0x3f {
                nal_type::VPS => &mut self.vps,
                nal_type::SPS => &mut self.sps,
                nal_type::PPS => &mut self.pps,
                _ => continue,
            };
            check_set(set, array & 0x3f)?;
            sets.push(set);
        }
        Ok(rest)
    }

    pub fn nal_format(&self) -> NalFormat {
        NalFormat::Length {
            size: self.length_size,
        }
    }
}

/// A parameter set of its kind, header included.
pub(super) fn check_set(set: &[u8], expected: u8) -> Result<(), ParameterSetError> {
    let name = match expected {
        nal_type::VPS => "video parameter set",
        nal_type::SPS => "sequence parameter set",
        _ => "picture parameter set",
    };
    match *without_trailing_zeros(set) {
        [header, _, _, ..] if header & 0x80 != 0 || kind(header) != expected => {
            Err(ParameterSetError::Invalid(name))
        }
        [_, _, _, ..] if set.len() <= usize::from(u16::MAX) => Ok(()),
        [_, _, _, ..] => Err(ParameterSetError::Invalid(name)),
        _ => Err(ParameterSetError::Truncated(name)),
    }
}

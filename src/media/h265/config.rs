//! The decoder configuration: what the parameter sets say about a stream.

use bytes::{BufMut, Bytes};

use super::hvcc::check_set;
use super::sps::Sps;
use super::{HvcC, NalFormat, ParameterSetError, kind, nal_type};
use crate::media::codec;
use crate::media::nal::without_trailing_zeros;
use crate::media::ratio::{self, reduce};

/// What the first SPS says about a stream, with all parameter sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    sps: Sps,
    /// Bytes of the length before each NAL unit; `None` for byte-stream.
    pub length_size: Option<u8>,
    /// VPS, SPS and PPS, each in its order and without start codes.
    sets: [Vec<Bytes>; 3],
}

impl Config {
    /// From a decoder configuration record.
    ///
    /// # Errors
    /// [`ParameterSetError::NoSps`] for a record without one (use [`HvcC`] and the stream), otherwise what is wrong with it.
    pub fn from_hvcc(record: &[u8]) -> Result<Self, ParameterSetError> {
        let hvcc = HvcC::parse(record)?;
        let sps = Sps::parse(hvcc.sps.first().ok_or(ParameterSetError::NoSps)?)?;
        let copy = |sets: &[&[u8]]| sets.iter().map(|set| copy_set(set)).collect();
        Ok(Self {
            sps,
            length_size: Some(hvcc.length_size),
            sets: [copy(&hvcc.vps), copy(&hvcc.sps), copy(&hvcc.pps)],
        })
    }

    /// From the parameter sets in front of the first slice of an access unit; `None` if a VPS, SPS or PPS is missing.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_access_unit(
        au: &[u8],
        format: NalFormat,
    ) -> Result<Option<Self>, ParameterSetError> {
        let mut sets = [const { Vec::new() }; 3];
        for nal in super::leading_nals(au, format) {
            let kind = kind(nal[0]);
            if (nal_type::VPS..=nal_type::PPS).contains(&kind) {
                check_set(nal, kind)?;
                sets[usize::from(kind - nal_type::VPS)].push(copy_set(nal));
            }
        }
        if sets.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        Ok(Some(Self {
            sps: Sps::parse(&sets[1][0])?,
            length_size: match format {
                NalFormat::ByteStream => None,
                NalFormat::Length { size } => Some(size),
            },
            sets,
        }))
    }

    /// In pixels, after cropping.
    pub fn size(&self) -> (u32, u32) {
        (self.sps.width, self.sps.height)
    }

    /// Width to height of one pixel, if the VUI says.
    pub fn sample_aspect(&self) -> Option<(u32, u32)> {
        let (width, height) = self.sps.vui.sample_aspect?;
        Some(reduce(width.into(), height.into()))
    }

    /// Aspect ratio of the shown picture, reduced, if the pixels' is known.
    pub fn display_aspect(&self) -> Option<(u32, u32)> {
        let (width, height) = self.sample_aspect()?;
        Some(reduce(
            u64::from(self.sps.width) * u64::from(width),
            u64::from(self.sps.height) * u64::from(height),
        ))
    }

    /// Frames a second as a fraction, reduced, if the VUI says.
    pub fn framerate(&self) -> Option<(u32, u32)> {
        let (scale, units) = self.sps.vui.timing?;
        let pictures = if self.sps.vui.fields { 2 } else { 1 };
        ratio::framerate(scale.into(), u64::from(units) * pictures)
    }

    /// How many pictures at most come before a picture in decoding order and after it in output order:
    /// sps_max_num_reorder_pics of the highest sub-layer.
    pub fn reorder_depth(&self) -> u8 {
        self.sps.reorder_depth
    }

    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub fn chroma_format_idc(&self) -> u8 {
        self.sps.chroma_format_idc
    }

    /// Bits of a luma and of a chroma sample.
    pub fn bit_depths(&self) -> (u8, u8) {
        (self.sps.bit_depth_luma, self.sps.bit_depth_chroma)
    }

    /// Codec parameters for the catalog: `hev1.…` if `inline` (parameter sets in the stream), otherwise `hvc1.…`.
    pub fn codec(&self, inline: bool) -> codec::H265 {
        codec::H265 {
            inline,
            ..self.sps.codec
        }
    }

    pub fn nal_format(&self) -> NalFormat {
        match self.length_size {
            None => NalFormat::ByteStream,
            Some(size) => NalFormat::Length { size },
        }
    }

    /// VPS, SPS and PPS, each a NAL unit with its header and without start code.
    pub fn parameter_sets(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().flatten().map(|set| &set[..])
    }

    /// The record of this configuration, for access units with lengths of four bytes.
    pub fn to_hvcc(&self) -> Bytes {
        let sps = &self.sps;
        let codec = &sps.codec;
        let mut record =
            Vec::with_capacity(64 + self.parameter_sets().map(<[u8]>::len).sum::<usize>());
        record.put_u8(1);
        record
            .put_u8(codec.profile_space << 6 | u8::from(codec.high_tier) << 5 | codec.profile_idc);
        record.put_u32(codec.compatibility);
        record.put_slice(&codec.constraints);
        record.put_u8(codec.level_idc);
        // min_spatial_segmentation_idc and parallelismType are not known: 0. Reserved bits are ones.
        record.put_u16(0xf000);
        record.put_u8(0xfc);
        record.put_u8(0xfc | sps.chroma_format_idc);
        record.put_u8(0xf8 | ((sps.bit_depth_luma - 8) & 7));
        record.put_u8(0xf8 | ((sps.bit_depth_chroma - 8) & 7));
        record.put_u16(0);
        record.put_u8(sps.sub_layers << 3 | u8::from(sps.temporal_id_nested) << 2 | 3);
        record.put_u8(self.sets.len() as u8);
        for (kind, sets) in (nal_type::VPS..).zip(&self.sets) {
            record.put_u8(0x80 | kind);
            // Lengths and counts were checked when they were read: 16 bits each.
            record.put_u16(sets.len() as u16);
            for set in sets {
                record.put_u16(set.len() as u16);
                record.put_slice(set);
            }
        }
        record.into()
    }
}

fn copy_set(set: &[u8]) -> Bytes {
    Bytes::copy_from_slice(without_trailing_zeros(set))
}

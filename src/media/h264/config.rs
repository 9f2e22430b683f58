//! The decoder configuration: what the parameter sets say about a stream.

use bytes::{BufMut, Bytes};
use h264_reader::nal::sps::{ChromaFormat, FrameMbsFlags, PicOrderCntType, SeqParameterSet};
use h264_reader::nal::{Nal, RefNal};

use super::{NalFormat, ParameterSetError, nal_type};
use crate::media::{
    codec,
    nal::without_trailing_zeros,
    ratio::{framerate, reduce},
};

/// Largest width and height in pixels: √(8 · MaxFS) macroblocks of level 6.2 (ITU-T H.264 §A.3.1), rounded up.
pub const MAX_DIMENSION: u32 = 16_896;

/// Longest parameter set, as avcC counts it.
const MAX_SET_LEN: usize = u16::MAX as usize;

/// Deepest reordering that is assumed of a stream that does not say. MaxDpbFrames may be 16, but live encoders that
/// reorder and leave out bitstream_restriction use pyramids of this depth at most, and an assumption that is too
/// large moves every DTS back.
const MAX_ASSUMED_REORDER: u64 = 4;

/// An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1), `codec_data` in caps, checked but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcC<'a> {
    pub profile_idc: u8,
    pub constraints: u8,
    pub level_idc: u8,
    /// Bytes of the length before each NAL unit: 1, 2 or 4.
    pub length_size: u8,
    /// May be empty: then parameter sets are in the stream (`avc3`).
    pub sps: Vec<&'a [u8]>,
    pub pps: Vec<&'a [u8]>,
}

impl<'a> AvcC<'a> {
    /// Reads a record; what follows the PPS (chroma format and bit depths of high profiles) is not looked at.
    ///
    /// # Errors
    /// [`ParameterSetError::Truncated`] or [`ParameterSetError::Invalid`].
    pub fn parse(record: &'a [u8]) -> Result<Self, ParameterSetError> {
        let Some((
            &[
                version,
                profile_idc,
                constraints,
                level_idc,
                length_size,
                sps_count,
            ],
            rest,
        )) = record.split_first_chunk::<6>()
        else {
            return Err(ParameterSetError::Truncated("avcC"));
        };
        if version != 1 {
            return Err(ParameterSetError::Invalid("avcC version"));
        }
        let length_size = (length_size & 3) + 1;
        if length_size == 3 {
            return Err(ParameterSetError::Invalid("avcC NAL unit length"));
        }
        let (sps, rest) = read_sets(rest, sps_count & 0x1f, nal_type::SPS)?;
        let (&pps_count, rest) = rest
            .split_first()
            .ok_or(ParameterSetError::Truncated("avcC"))?;
        let (pps, _) = read_sets(rest, pps_count, nal_type::PPS)?;
        Ok(Self {
            profile_idc,
            constraints,
            level_idc,
            length_size,
            sps,
            pps,
        })
    }

    pub fn nal_format(&self) -> NalFormat {
        NalFormat::Length {
            size: self.length_size,
        }
    }
}

type Sets<'a> = (Vec<&'a [u8]>, &'a [u8]);

fn read_sets(mut rest: &[u8], count: u8, kind: u8) -> Result<Sets<'_>, ParameterSetError> {
    let truncated = || ParameterSetError::Truncated("avcC");
    let mut sets = Vec::new();
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        let (set, after) = after
            .split_at_checked(u16::from_be_bytes(*len).into())
            .ok_or_else(truncated)?;
        check_set(set, kind)?;
        sets.push(set);
        rest = after;
    }
    Ok((sets, rest))
}

/// A parameter set of its kind, header byte included.
fn check_set(set: &[u8], kind: u8) -> Result<(), ParameterSetError> {
    let name = if kind == nal_type::SPS {
        "sequence parameter set"
    } else {
        "picture parameter set"
    };
    let set = without_trailing_zeros(set);
    // An SPS has three fixed bytes after its header.
    let shortest = if kind == nal_type::SPS { 4 } else { 2 };
    match set.first() {
        Some(header) if header & 0x9f != kind => Err(ParameterSetError::Invalid(name)),
        Some(_) if set.len() > MAX_SET_LEN => Err(ParameterSetError::Invalid(name)),
        Some(_) if set.len() >= shortest => Ok(()),
        _ => Err(ParameterSetError::Truncated(name)),
    }
}

/// What the first SPS says about a stream, with all parameter sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub profile_idc: u8,
    /// constraint_set0_flag in the top bit, and so on.
    pub constraints: u8,
    pub level_idc: u8,
    /// In pixels, after cropping, at most [`MAX_DIMENSION`].
    pub width: u32,
    /// In pixels, after cropping, at most [`MAX_DIMENSION`].
    pub height: u32,
    /// Width to height of one pixel, if the VUI says.
    pub sample_aspect: Option<(u32, u32)>,
    /// Frames a second as a fraction, reduced, if the VUI says that it is fixed.
    pub framerate: Option<(u32, u32)>,
    /// Fields may be coded one by one.
    pub interlaced: bool,
    /// How many frames at most come before a frame in decoding order and after it in output order: 0 without reordering.
    /// max_num_reorder_frames where the SPS has it; otherwise 0 for profiles and picture order count types that
    /// exclude reordering, and else MaxDpbFrames of the level (ITU-T H.264 §A.3.1), but no more than 4.
    pub reorder_depth: u8,
    /// Whether that depth is what the SPS says or implies, not an assumption.
    pub reorder_depth_stated: bool,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format_idc: u8,
    /// Bits of a luma and of a chroma sample.
    pub bit_depths: (u8, u8),
    /// Bytes of the length before each NAL unit; `None` for byte-stream.
    pub length_size: Option<u8>,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

impl Config {
    /// From a decoder configuration record.
    ///
    /// # Errors
    /// [`ParameterSetError::NoSps`] for a record without one (use [`AvcC`] and the stream), otherwise what is wrong with it.
    pub fn from_avcc(record: &[u8]) -> Result<Self, ParameterSetError> {
        let avcc = AvcC::parse(record)?;
        let first = avcc.sps.first().ok_or(ParameterSetError::NoSps)?;
        let mut config = Self::from_sps(first)?;
        config.length_size = Some(avcc.length_size);
        config.sps = copy_sets(&avcc.sps);
        config.pps = copy_sets(&avcc.pps);
        Ok(config)
    }

    /// From the parameter sets of a stream, each a NAL unit with its header and without start code.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_parameter_sets(sps: &[u8], pps: &[u8]) -> Result<Self, ParameterSetError> {
        check_set(sps, nal_type::SPS)?;
        check_set(pps, nal_type::PPS)?;
        let mut config = Self::from_sps(sps)?;
        config.sps = copy_sets(&[sps]);
        config.pps = copy_sets(&[pps]);
        Ok(config)
    }

    /// From the first SPS and all PPS in front of the first slice of an access unit; `None` if one is missing.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_access_unit(
        au: &[u8],
        format: NalFormat,
    ) -> Result<Option<Self>, ParameterSetError> {
        let of =
            |kind: u8| super::leading_nals(au, format).filter(move |nal| nal[0] & 0x1f == kind);
        let (Some(sps), Some(pps)) = (of(nal_type::SPS).next(), of(nal_type::PPS).next()) else {
            return Ok(None);
        };
        let mut config = Self::from_parameter_sets(sps, pps)?;
        // The first ones are good; others are kept if they are.
        let good = |kind| of(kind).filter(move |set| check_set(set, kind).is_ok());
        config.sps = copy_sets(&good(nal_type::SPS).collect::<Vec<_>>());
        config.pps = copy_sets(&good(nal_type::PPS).collect::<Vec<_>>());
        if let NalFormat::Length { size } = format {
            config.length_size = Some(size);
        }
        Ok(Some(config))
    }

    fn from_sps(nal: &[u8]) -> Result<Self, ParameterSetError> {
        let nal = without_trailing_zeros(nal);
        let sps = SeqParameterSet::from_bits(RefNal::new(nal, &[], true).rbsp_bits())
            .map_err(|error| ParameterSetError::Sps(format!("{error:?}")))?;
        let (width, height) = cropped_size(&sps)?;
        let vui = sps.vui_parameters.as_ref();
        let sample_aspect = vui
            .and_then(|vui| vui.aspect_ratio_info.as_ref()?.get())
            .map(|(width, height)| reduce(width.into(), height.into()));
        Ok(Self {
            profile_idc: sps.profile_idc.into(),
            constraints: sps.constraint_flags.into(),
            level_idc: sps.level_idc,
            width,
            height,
            sample_aspect,
            framerate: fixed_framerate(&sps),
            interlaced: sps.frame_mbs_flags != FrameMbsFlags::Frames,
            reorder_depth: reorder_depth(&sps).unwrap_or_else(|| assumed_reorder_depth(&sps)),
            reorder_depth_stated: reorder_depth(&sps).is_some(),
            chroma_format_idc: chroma_format_idc(&sps),
            bit_depths: (
                8 + sps.chroma_info.bit_depth_luma_minus8,
                8 + sps.chroma_info.bit_depth_chroma_minus8,
            ),
            length_size: None,
            sps: Vec::new(),
            pps: Vec::new(),
        })
    }

    /// Codec parameters for the catalog: `avc3.…` if `inline` (parameter sets in the stream), otherwise `avc1.…`.
    pub fn codec(&self, inline: bool) -> codec::H264 {
        codec::H264 {
            inline,
            profile_idc: self.profile_idc,
            constraints: self.constraints,
            level_idc: self.level_idc,
        }
    }

    /// Aspect ratio of the shown picture, reduced, if the pixels' is known.
    pub fn display_aspect(&self) -> Option<(u32, u32)> {
        let (width, height) = self.sample_aspect?;
        // Below 2^15 · 2^16 each, so the products fit.
        let (width, height) = (
            u64::from(self.width * width),
            u64::from(self.height * height),
        );
        Some(reduce(width, height))
    }

    pub fn nal_format(&self) -> NalFormat {
        match self.length_size {
            None => NalFormat::ByteStream,
            Some(size) => NalFormat::Length { size },
        }
    }

    /// The record of this configuration, for access units with lengths of four bytes.
    pub fn to_avcc(&self) -> Bytes {
        let sets_len = self
            .sps
            .iter()
            .chain(&self.pps)
            .map(Bytes::len)
            .sum::<usize>();
        let mut record = Vec::with_capacity(32 + sets_len);
        record.put_slice(&[1, self.profile_idc, self.constraints, self.level_idc, 0xff]);
        // Counts of five and eight bits; lengths were checked when the sets were read.
        let (sps, pps) = (
            &self.sps[..self.sps.len().min(31)],
            &self.pps[..self.pps.len().min(255)],
        );
        record.put_u8(0xe0 | sps.len() as u8);
        put_sets(&mut record, sps);
        record.put_u8(pps.len() as u8);
        put_sets(&mut record, pps);
        // ISO/IEC 14496-15 §5.3.3.1.2: profiles without a choice of formats have no such fields.
        if !matches!(self.profile_idc, 66 | 77 | 88) {
            let (luma, chroma) = self.bit_depths;
            let fields = [
                0xfc | self.chroma_format_idc,
                0xf8 | (luma - 8) & 7,
                0xf8 | (chroma - 8) & 7,
                0,
            ];
            record.put_slice(&fields);
        }
        record.into()
    }

    /// Sequence parameter sets, each a NAL unit with its header and without start code. Never empty.
    pub fn sps(&self) -> &[Bytes] {
        &self.sps
    }

    /// Picture parameter sets, likewise; empty only for a record without any.
    pub fn pps(&self) -> &[Bytes] {
        &self.pps
    }
}

fn put_sets(record: &mut Vec<u8>, sets: &[Bytes]) {
    for set in sets {
        record.put_u16(set.len() as u16);
        record.put_slice(set);
    }
}

fn chroma_format_idc(sps: &SeqParameterSet) -> u8 {
    match sps.chroma_info.chroma_format {
        ChromaFormat::Monochrome => 0,
        ChromaFormat::YUV420 => 1,
        ChromaFormat::YUV422 => 2,
        _ => 3,
    }
}

fn copy_sets(sets: &[&[u8]]) -> Vec<Bytes> {
    let trimmed = |set: &&[u8]| Bytes::copy_from_slice(without_trailing_zeros(set));
    sets.iter().map(trimmed).collect()
}

/// Fields of a macroblock pair share the height of two map units (ITU-T H.264 §7.4.2.1.1).
fn fields(sps: &SeqParameterSet) -> u64 {
    if sps.frame_mbs_flags == FrameMbsFlags::Frames {
        1
    } else {
        2
    }
}

fn size_in_mbs(sps: &SeqParameterSet) -> (u64, u64) {
    let width = u64::from(sps.pic_width_in_mbs_minus1) + 1;
    let height = (u64::from(sps.pic_height_in_map_units_minus1) + 1) * fields(sps);
    (width, height)
}

/// ITU-T H.264 §7.4.2.1.1, equations 7-19 to 7-22.
fn cropped_size(sps: &SeqParameterSet) -> Result<(u32, u32), ParameterSetError> {
    let (mbs_wide, mbs_high) = size_in_mbs(sps);
    let (mut width, mut height) = (mbs_wide * 16, mbs_high * 16);
    let refused = |width, height| Err(ParameterSetError::Size { width, height });
    if width > u64::from(MAX_DIMENSION) || height > u64::from(MAX_DIMENSION) {
        return refused(width, height);
    }
    if let Some(crop) = &sps.frame_cropping {
        let (unit_x, unit_y) = match sps.chroma_info.chroma_format {
            _ if sps.chroma_info.separate_colour_plane_flag => (1, 1),
            ChromaFormat::YUV420 => (2, 2),
            ChromaFormat::YUV422 => (2, 1),
            _ => (1, 1),
        };
        let left_right = (u64::from(crop.left_offset) + u64::from(crop.right_offset)) * unit_x;
        let top_bottom =
            (u64::from(crop.top_offset) + u64::from(crop.bottom_offset)) * unit_y * fields(sps);
        width = width.saturating_sub(left_right);
        height = height.saturating_sub(top_bottom);
    }
    if width == 0 || height == 0 {
        return refused(width, height);
    }
    Ok((width as u32, height as u32))
}

/// time_scale counts fields, two to a frame (ITU-T H.264 §E.2.1).
fn fixed_framerate(sps: &SeqParameterSet) -> Option<(u32, u32)> {
    let timing = sps.vui_parameters.as_ref()?.timing_info.as_ref()?;
    if !timing.fixed_frame_rate_flag || timing.num_units_in_tick == 0 || timing.time_scale == 0 {
        return None;
    }
    let ticks = 2 * u64::from(timing.num_units_in_tick);
    framerate(timing.time_scale.into(), ticks)
}

/// The depth that the SPS states, or that its profile or picture order count implies.
fn reorder_depth(sps: &SeqParameterSet) -> Option<u8> {
    const BASELINE: u8 = 66;
    const CAVLC_444_INTRA: u8 = 44;

    let profile = u8::from(sps.profile_idc);
    let intra_only = profile == CAVLC_444_INTRA
        || (matches!(profile, 86 | 100 | 110 | 122 | 244) && sps.constraint_flags.flag3());
    let restrictions = sps
        .vui_parameters
        .as_ref()
        .and_then(|vui| vui.bitstream_restrictions.as_ref());
    let in_order =
        profile == BASELINE || intra_only || sps.pic_order_cnt == PicOrderCntType::TypeTwo;
    match restrictions {
        Some(restrictions) => Some(restrictions.max_num_reorder_frames.min(16) as u8),
        None => in_order.then_some(0),
    }
}

fn assumed_reorder_depth(sps: &SeqParameterSet) -> u8 {
    max_dpb_frames(sps).min(MAX_ASSUMED_REORDER) as u8
}

/// MaxDpbFrames = Min(MaxDpbMbs / picture size, 16), ITU-T H.264 §A.3.1 and Table A-1.
fn max_dpb_frames(sps: &SeqParameterSet) -> u64 {
    let max_dpb_mbs = match sps.level_idc {
        9 | 10 => 396,
        11 if sps.constraint_flags.flag3() => 396,
        11 => 900,
        12 | 13 | 20 => 2_376,
        21 => 4_752,
        22 | 30 => 8_100,
        31 => 18_000,
        32 => 20_480,
        40 | 41 => 32_768,
        42 => 34_816,
        50 => 110_400,
        51 | 52 => 184_320,
        _ => 696_320,
    };
    let (width, height) = size_in_mbs(sps);
    (max_dpb_mbs / (width * height)).min(16)
}

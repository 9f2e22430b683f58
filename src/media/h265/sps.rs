//! The sequence parameter set (ITU-T H.265 §7.3.2.2, Annex E).

use super::ParameterSetError;
use crate::media::bits::BitReader;
use crate::media::codec;
use crate::media::nal::Rbsp;

/// Largest width and height in pixels: √(8 · MaxLumaPs) of level 6.2 (ITU-T H.265 §A.4.1).
const MAX_DIMENSION: u64 = 16_888;

/// More than any parameter set needs; what a stranger appends is not looked at.
const MAX_RBSP_LEN: usize = 4_096;

const SPS: &str = "sequence parameter set";

/// What is read of a sequence parameter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) codec: codec::H265,
    pub(super) sub_layers: u8,
    pub(super) temporal_id_nested: bool,
    pub(super) chroma_format_idc: u8,
    pub(super) bit_depth_luma: u8,
    pub(super) bit_depth_chroma: u8,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) reorder_depth: u8,
    pub(super) vui: Vui,
}

/// Of the video usability information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Vui {
    pub(super) sample_aspect: Option<(u32, u32)>,
    /// time_scale and num_units_in_tick, if both are set.
    pub(super) timing: Option<(u32, u32)>,
    /// Each picture is a field.
    pub(super) fields: bool,
}

impl Sps {
    /// Reads a NAL unit, header included.
    pub(super) fn parse(nal: &[u8]) -> Result<Self, ParameterSetError> {
        let rbsp: Vec<u8> = Rbsp::new(nal.get(2..).unwrap_or_default())
            .take(MAX_RBSP_LEN)
            .collect();
        read(&mut BitReader::new(&rbsp))?.ok_or(ParameterSetError::Truncated(SPS))
    }
}

/// `Ok(None)` where the bits end.
fn read(bits: &mut BitReader<'_>) -> Result<Option<Sps>, ParameterSetError> {
    let Some(head) = Head::read(bits) else {
        return Ok(None);
    };
    let (width, height) = head.cropped_size()?;
    if head.chroma_format_idc > 3 || head.bit_depth_luma > 16 || head.bit_depth_chroma > 16 {
        return Err(ParameterSetError::Invalid(SPS));
    }
    // The rest is good to know, and long: what cannot be read of it is not there.
    let vui = read_tail(bits, &head).unwrap_or_default();
    Ok(Some(Sps {
        codec: head.codec,
        sub_layers: head.max_sub_layers_minus1 + 1,
        temporal_id_nested: head.temporal_id_nested,
        chroma_format_idc: head.chroma_format_idc,
        bit_depth_luma: head.bit_depth_luma,
        bit_depth_chroma: head.bit_depth_chroma,
        width,
        height,
        reorder_depth: head.reorder_depth,
        vui,
    }))
}

/// What every reader of a stream needs.
struct Head {
    codec: codec::H265,
    max_sub_layers_minus1: u8,
    temporal_id_nested: bool,
    chroma_format_idc: u8,
    width: u64,
    height: u64,
    /// left, right, top, bottom, in chroma samples.
    window: [u64; 4],
    bit_depth_luma: u8,
    bit_depth_chroma: u8,
    log2_max_poc_lsb: u32,
    reorder_depth: u8,
}

impl Head {
    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        bits.skip(4)?;
        let max_sub_layers_minus1 = bits.byte(3)?;
        let temporal_id_nested = bits.flag()?;
        let codec = profile_tier_level(bits, max_sub_layers_minus1)?;
        bits.ue()?;
        let chroma_format_idc = bits.ue()?.min(u8::MAX.into()) as u8;
        if chroma_format_idc == 3 {
            bits.skip(1)?;
        }
        let (width, height) = (bits.ue()?.into(), bits.ue()?.into());
        let mut window = [0; 4];
        if bits.flag()? {
            for offset in &mut window {
                *offset = bits.ue()?.into();
            }
        }
        let mut depth = || Some(bits.ue()?.min(64) as u8 + 8);
        let (bit_depth_luma, bit_depth_chroma) = (depth()?, depth()?);
        let log2_max_poc_lsb = bits.ue()?.min(12) + 4;
        let all_sub_layers = bits.flag()?;
        let mut reorder_depth = 0;
        // The last one is of the highest sub-layer: of the whole stream.
        let listed = if all_sub_layers {
            max_sub_layers_minus1 + 1
        } else {
            1
        };
        for _ in 0..listed {
            bits.ue()?;
            reorder_depth = bits.ue()?.min(16) as u8;
            bits.ue()?;
        }
        Some(Self {
            codec,
            max_sub_layers_minus1,
            temporal_id_nested,
            chroma_format_idc,
            width,
            height,
            window,
            bit_depth_luma,
            bit_depth_chroma,
            log2_max_poc_lsb,
            reorder_depth,
        })
    }

    /// ITU-T H.265 §7.4.3.2.1 and Table 6-1.
    fn cropped_size(&self) -> Result<(u32, u32), ParameterSetError> {
        let refused = |width, height| Err(ParameterSetError::Size { width, height });
        if self.width > MAX_DIMENSION || self.height > MAX_DIMENSION {
            return refused(self.width, self.height);
        }
        let (unit_x, unit_y) = match self.chroma_format_idc {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let [left, right, top, bottom] = self.window;
        let width = self.width.saturating_sub((left + right) * unit_x);
        let height = self.height.saturating_sub((top + bottom) * unit_y);
        if width == 0 || height == 0 {
            return refused(width, height);
        }
        Ok((width as u32, height as u32))
    }
}

/// ITU-T H.265 §7.3.3.
fn profile_tier_level(bits: &mut BitReader<'_>, max_sub_layers_minus1: u8) -> Option<codec::H265> {
    let profile_space = bits.byte(2)?;
    let high_tier = bits.flag()?;
    let profile_idc = bits.byte(5)?;
    let compatibility = bits.bits(32)?;
    let mut constraints = [0; 6];
    for byte in &mut constraints {
        *byte = bits.byte(8)?;
    }
    let level_idc = bits.byte(8)?;
    let mut sub_layer_bits = 0;
    for _ in 0..max_sub_layers_minus1 {
        sub_layer_bits += if bits.flag()? { 88 } else { 0 };
        sub_layer_bits += if bits.flag()? { 8 } else { 0 };
    }
    if max_sub_layers_minus1 > 0 {
        bits.skip(2 * usize::from(8 - max_sub_layers_minus1))?;
    }
    bits.skip(sub_layer_bits)?;
    Some(codec::H265 {
        inline: true,
        profile_space,
        profile_idc,
        compatibility,
        high_tier,
        level_idc,
        constraints,
    })
}

/// From log2_min_luma_coding_block_size_minus3 to the timing information.
fn read_tail(bits: &mut BitReader<'_>, head: &Head) -> Option<Vui> {
    for _ in 0..6 {
        bits.ue()?;
    }
    if bits.flag()? && bits.flag()? {
        scaling_list_data(bits)?;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    short_term_ref_pic_sets(bits)?;
    if bits.flag()? {
        let pictures = bits.ue().filter(|pictures| *pictures <= 32)?;
        bits.skip(pictures as usize * (head.log2_max_poc_lsb as usize + 1))?;
    }
    bits.skip(2)?;
    if bits.flag()? { read_vui(bits) } else { None }
}

/// ITU-T H.265 §7.3.4.
fn scaling_list_data(bits: &mut BitReader<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            if size > 1 {
                bits.skip_se()?;
            }
            for _ in 0..(64.min(1 << (4 + (size << 1)))) {
                bits.skip_se()?;
            }
        }
    }
    Some(())
}

/// ITU-T H.265 §7.3.7, of which only the number of pictures matters: it tells how long the next set is.
fn short_term_ref_pic_sets(bits: &mut BitReader<'_>) -> Option<()> {
    let sets = bits.ue().filter(|sets| *sets <= 64)?;
    let mut pictures = 0;
    for index in 0..sets {
        if index > 0 && bits.flag()? {
            bits.skip(1)?;
            bits.ue()?;
            let mut kept = 0;
            // Of the set before, which is the one that sets in an SPS refer to, and of the current picture.
            for _ in 0..=pictures {
                let used = bits.flag()?;
                if used || bits.flag()? {
                    kept += 1;
                }
            }
            pictures = kept;
        } else {
            let (negative, positive) = (bits.ue()?, bits.ue()?);
            pictures = negative.checked_add(positive).filter(|sum| *sum <= 32)?;
            for _ in 0..pictures {
                bits.ue()?;
                bits.skip(1)?;
            }
        }
        if pictures > 32 {
            return None;
        }
    }
    Some(())
}

/// ITU-T H.265 §E.2.1, as far as the timing information.
fn read_vui(bits: &mut BitReader<'_>) -> Option<Vui> {
    let sample_aspect = if bits.flag()? {
        sample_aspect(bits)?
    } else {
        None
    };
    let mut vui = Vui {
        sample_aspect,
        ..Vui::default()
    };
    vui.read_timing(bits);
    Some(vui)
}

impl Vui {
    fn read_timing(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        if bits.flag()? {
            bits.skip(1)?;
        }
        if bits.flag()? {
            bits.skip(4)?;
            if bits.flag()? {
                bits.skip(24)?;
            }
        }
        if bits.flag()? {
            bits.ue()?;
            bits.ue()?;
        }
        bits.skip(1)?;
        self.fields = bits.flag()?;
        bits.skip(1)?;
        if bits.flag()? {
            for _ in 0..4 {
                bits.ue()?;
            }
        }
        if bits.flag()? {
            let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
            self.timing = (units > 0 && scale > 0).then_some((scale, units));
        }
        Some(())
    }
}

/// ITU-T H.265 Table E.1; the inner `None` is unspecified.
fn sample_aspect(bits: &mut BitReader<'_>) -> Option<Option<(u32, u32)>> {
    const TABLE: [(u32, u32); 16] = [
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    Some(match bits.byte(8)? {
        255 => Some((bits.bits(16)?, bits.bits(16)?)).filter(|(w, h)| *w > 0 && *h > 0),
        0 => None,
        index => TABLE.get(usize::from(index) - 1).copied(),
    })
}

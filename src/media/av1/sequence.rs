//! The sequence header (§5.5).

use super::Av1Error;
use crate::media::bits::BitReader;
use crate::media::{codec, ratio};

/// What a sequence header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceHeader {
    /// seq_profile, 0 to 2.
    pub profile: u8,
    /// seq_level_idx of the first operating point, which has all layers.
    pub level: u8,
    pub high_tier: bool,
    /// Largest size of a frame in pixels, 1 to 65536.
    pub width: u32,
    /// Largest size of a frame in pixels, 1 to 65536.
    pub height: u32,
    /// 8, 10 or 12.
    pub bit_depth: u8,
    pub monochrome: bool,
    /// Each chroma plane has half the width, half the height.
    pub subsampling: (bool, bool),
    pub chroma_sample_position: u8,
    /// Frames a second as a fraction, reduced, if the stream says that it is fixed.
    pub framerate: Option<(u32, u32)>,
}

impl SequenceHeader {
    /// Reads the payload of an OBU.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(payload: &[u8]) -> Result<Self, Av1Error> {
        let header =
            read(&mut BitReader::new(payload)).ok_or(Av1Error::Truncated("sequence header"))?;
        if header.profile > 2 {
            return Err(Av1Error::Invalid("profile"));
        }
        Ok(header)
    }

    /// Codec parameters for the catalog.
    pub fn codec(&self) -> codec::Av1 {
        codec::Av1 {
            profile: self.profile,
            level: self.level,
            high_tier: self.high_tier,
            bit_depth: self.bit_depth,
        }
    }
}

fn read(bits: &mut BitReader<'_>) -> Option<SequenceHeader> {
    let profile = bits.byte(3)?;
    bits.skip(1)?;
    let reduced = bits.flag()?;
    let (mut level, mut high_tier, mut framerate) = (0, false, None);
    if reduced {
        level = bits.byte(5)?;
    } else {
        let mut decoder_model = None;
        if bits.flag()? {
            framerate = read_timing(bits)?;
            if bits.flag()? {
                let delay_len = bits.bits(5)? + 1;
                bits.skip(32 + 5 + 5)?;
                decoder_model = Some(delay_len);
            }
        }
        let initial_display_delay = bits.flag()?;
        for point in 0..=bits.bits(5)? {
            bits.skip(12)?;
            let index = bits.byte(5)?;
            let tier = index > 7 && bits.flag()?;
            if point == 0 {
                (level, high_tier) = (index, tier);
            }
            if let Some(delay_len) = decoder_model
                && bits.flag()?
            {
                bits.skip(2 * delay_len as usize + 1)?;
            }
            if initial_display_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
    }
    let (width_len, height_len) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
    let (width, height) = (bits.bits(width_len)? + 1, bits.bits(height_len)? + 1);
    skip_tools(bits, reduced)?;
    let color = Color::read(bits, profile)?;
    Some(SequenceHeader {
        profile,
        level,
        high_tier,
        width,
        height,
        bit_depth: color.bit_depth,
        monochrome: color.monochrome,
        subsampling: color.subsampling,
        chroma_sample_position: color.chroma_sample_position,
        framerate,
    })
}

/// timing_info (§5.5.3): the frame rate, where pictures have equal intervals.
fn read_timing(bits: &mut BitReader<'_>) -> Option<Option<(u32, u32)>> {
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    if !bits.flag()? {
        return Some(None);
    }
    // uvlc() (§4.10.3), below 2^31 in any stream that is meant to be shown.
    let ticks = u64::from(bits.ue()?) + 1;
    Some(ratio::framerate(scale.into(), u64::from(units) * ticks))
}

/// From frame_id_numbers_present_flag to enable_restoration.
fn skip_tools(bits: &mut BitReader<'_>, reduced: bool) -> Option<()> {
    if !reduced && bits.flag()? {
        bits.skip(4 + 3)?;
    }
    // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    bits.skip(3)?;
    if !reduced {
        // enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
        bits.skip(4)?;
        let order_hint = bits.flag()?;
        if order_hint {
            // enable_jnt_comp, enable_ref_frame_mvs
            bits.skip(2)?;
        }
        let choose_screen_content_tools = bits.flag()?;
        let screen_content_tools = choose_screen_content_tools || bits.flag()?;
        if screen_content_tools && !bits.flag()? {
            // seq_force_integer_mv
            bits.skip(1)?;
        }
        if order_hint {
            bits.skip(3)?;
        }
    }
    // enable_superres, enable_cdef, enable_restoration
    bits.skip(3)
}

/// color_config (§5.5.2).
struct Color {
    bit_depth: u8,
    monochrome: bool,
    subsampling: (bool, bool),
    chroma_sample_position: u8,
}

impl Color {
    fn read(bits: &mut BitReader<'_>, profile: u8) -> Option<Self> {
        const BT_709: u32 = 1;
        const SRGB: u32 = 13;
        const IDENTITY: u32 = 0;

        let high_bit_depth = bits.flag()?;
        let bit_depth = match (profile, high_bit_depth) {
            (2, true) if bits.flag()? => 12,
            (_, true) => 10,
            (_, false) => 8,
        };
        let monochrome = profile != 1 && bits.flag()?;
        let mut color = Self {
            bit_depth,
            monochrome,
            subsampling: (true, true),
            chroma_sample_position: 0,
        };
        let description = if bits.flag()? {
            (bits.bits(8)?, bits.bits(8)?, bits.bits(8)?)
        } else {
            (2, 2, 2)
        };
        if monochrome {
            bits.skip(1)?;
            return Some(color);
        }
        if description == (BT_709, SRGB, IDENTITY) {
            color.subsampling = (false, false);
            return Some(color);
        }
        bits.skip(1)?;
        color.subsampling = match (profile, bit_depth) {
            (0, _) => (true, true),
            (1, _) => (false, false),
            (_, 12) => {
                let x = bits.flag()?;
                (x, x && bits.flag()?)
            }
            _ => (true, false),
        };
        if color.subsampling == (true, true) {
            color.chroma_sample_position = bits.byte(2)?;
        }
        Some(color)
    }
}

//! What is read inside of H.264 NAL units.

use crate::media::{bits::BitReader, nal::Rbsp};

/// Coded slice of any kind (types 1 to 5): every leading NAL unit is before it.
pub(super) fn is_slice(header: u8) -> bool {
    (super::nal_type::SLICE..=super::nal_type::IDR).contains(&(header & 0x1f))
}

pub(super) fn is_delimiter(header: u8) -> bool {
    header & 0x1f == super::nal_type::AUD
}

/// recovery_frame_cnt of the recovery point message in an SEI NAL unit, if it has one (ITU-T H.264 §D.1.8).
pub(super) fn recovery_frame_count(nal: &[u8]) -> Option<u32> {
    const RECOVERY_POINT: u32 = 6;
    let mut rbsp = Rbsp::new(&nal[1..]);
    loop {
        let kind = rbsp.sei_number()?;
        let mut size = rbsp.sei_number()?;
        if kind == RECOVERY_POINT {
            // A count below 2^31 takes no more than these bytes.
            let head: Vec<u8> = rbsp.take(8).collect();
            return BitReader::new(&head).ue();
        }
        while size > 0 {
            rbsp.next()?;
            size -= 1;
        }
    }
}

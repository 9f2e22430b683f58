//! QUIC's variable-length integers (RFC 9000 §16).

use bytes::{Buf, Bytes};

/// First number that no longer fits: a varint carries 62 bits.
pub const LIMIT: u64 = 1 << 62;

/// Longest form in bytes.
pub const MAX_LEN: usize = 8;

/// An encoded number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varint {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Varint {
    /// The shortest form; `None` from 2^62 on.
    pub fn new(value: u64) -> Option<Self> {
        // The two top bits of the first byte are the base-2 logarithm of the length.
        let (len, tag) = match value {
            0..0x40 => (1, 0),
            0x40..0x4000 => (2, 1),
            0x4000..0x4000_0000 => (4, 2),
            0x4000_0000..LIMIT => (8, 3),
            _ => return None,
        };
        let aligned = value << (64 - 8 * len);
        let mut bytes = aligned.to_be_bytes();
        bytes[0] |= tag << 6;
        Some(Self { bytes, len })
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Takes a number from the front; longer forms than necessary are accepted. `None` if the bytes end inside of it.
pub(super) fn take(bytes: &mut Bytes) -> Option<u64> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let rest = bytes.get(1..len)?;
    let head = u64::from(first & 0x3f);
    let value = rest
        .iter()
        .fold(head, |value, byte| value << 8 | u64::from(*byte));
    bytes.advance(len);
    Some(value)
}

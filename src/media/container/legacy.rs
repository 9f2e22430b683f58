//! The legacy container of hang: a QUIC varint (RFC 9000 §16) with the timestamp in µs, then the codec's bytes.

#![forbid(unsafe_code)]

use bytes::Bytes;

use super::varint::{self, Varint};
use super::{ContainerError, Frame, gather};

/// The encoded header of one frame: its timestamp.
///
/// # Errors
/// [`ContainerError::TimestampTooLarge`] from 2^62 µs on.
pub fn header(pts_us: u64) -> Result<Varint, ContainerError> {
    Varint::new(pts_us).ok_or(ContainerError::TimestampTooLarge)
}

/// The object for one frame, gathered from `parts`: one allocation, one copy.
///
/// # Errors
/// [`ContainerError::TimestampTooLarge`] from 2^62 µs on.
pub fn encode(pts_us: u64, parts: &[&[u8]]) -> Result<Bytes, ContainerError> {
    Ok(gather(&[header(pts_us)?.as_slice()], parts))
}

/// The frame of one object. The payload shares the object's memory. Headers longer than necessary are accepted.
///
/// # Errors
/// [`ContainerError::Truncated`] if the object ends inside its header.
pub fn decode(mut object: Bytes) -> Result<Frame, ContainerError> {
    let pts_us = varint::take(&mut object).ok_or(ContainerError::Truncated)?;
    Ok(Frame::new(pts_us, object))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 §A.1.
    #[test]
    fn the_examples_of_the_rfc_decode() {
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            let frame = decode(Bytes::copy_from_slice(bytes)).unwrap();
            assert_eq!((frame.pts_us, frame.is_marker()), (value, true));
            assert_eq!(header(value).unwrap().as_slice(), bytes);
        }
        let longer = decode(Bytes::from_static(&[0x40, 0x25, 7])).unwrap();
        assert_eq!((longer.pts_us, &longer.payload[..]), (37, &[7][..]));
    }

    #[test]
    fn a_timestamp_of_63_bits_is_refused() {
        assert_eq!(
            header(varint::LIMIT),
            Err(ContainerError::TimestampTooLarge)
        );
        assert_eq!(
            encode(u64::MAX, &[]),
            Err(ContainerError::TimestampTooLarge)
        );
        assert_eq!(header(varint::LIMIT - 1).unwrap().as_slice(), [0xff; 8]);
    }

    #[test]
    fn an_object_that_ends_in_its_header_is_refused() {
        for first in [0x40u8, 0x80, 0xc0] {
            for len in 0..(1usize << (first >> 6)) {
                let mut object = vec![0; len];
                if let Some(byte) = object.first_mut() {
                    *byte = first;
                }
                assert_eq!(decode(object.into()), Err(ContainerError::Truncated));
            }
        }
    }

    /// Row 13.
    #[test]
    fn an_object_is_allocated_once_at_its_size() {
        let parts = [&b"start"[..], b"middle", b"", b"end"];
        let object = encode(1 << 40, &parts).unwrap();
        assert_eq!(&object[8..], b"startmiddleend");
        let owned = object.try_into_mut().unwrap();
        assert_eq!(owned.capacity(), owned.len());
    }

    #[test]
    fn decoding_shares_the_memory_of_the_object() {
        let object = encode(5, &[b"payload"]).unwrap();
        let at = object[1..].as_ptr();
        assert_eq!(decode(object).unwrap().payload.as_ptr(), at);
    }

    proptest! {
        #[test]
        fn frames_round_trip_and_hang_reads_them(
            pts_us in 0..varint::LIMIT,
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..5),
        ) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let object = encode(pts_us, &slices).unwrap();
            let frame = decode(object.clone()).unwrap();
            prop_assert_eq!(frame.pts_us, pts_us);
            prop_assert_eq!(&frame.payload[..], parts.concat());

            let theirs = hang::container::Frame::decode(object.clone()).unwrap();
            prop_assert_eq!(theirs.timestamp.value(), pts_us);
            prop_assert_eq!(&theirs.payload, &frame.payload);
            let mut again = Vec::new();
            theirs.encode(&mut again).unwrap();
            prop_assert_eq!(again, object);
        }

        #[test]
        fn hostile_objects_decode_or_fail(object in proptest::collection::vec(any::<u8>(), 0..32)) {
            let len = object.len();
            if let Ok(frame) = decode(object.into()) {
                prop_assert!(frame.pts_us < varint::LIMIT && frame.payload.len() < len);
            }
        }
    }
}

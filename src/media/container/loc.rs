//! The Low Overhead Container (draft-ietf-moq-loc-04, in the shape that moq-loc 0.2 puts inside of the object): the length of
//! the properties, the properties, the codec's bytes.
//!
//! Properties have types in ascending order, each written as the difference to the one before; even types hold a varint, odd
//! ones bytes with their length. Only the timestamp is written.

#![forbid(unsafe_code)]

use bytes::{Buf, Bytes};

use super::varint::{self, Varint};
use super::{ContainerError, Frame, gather, micros};

/// Units of the timestamp in a second; µs without it.
const TIMESCALE: u64 = 0x08;
const TIMESTAMP: u64 = 0x10;
/// What draft-03 called the timestamp in its table of properties. (Its text said 0x0a, which is something else today.)
const TIMESTAMP_DRAFT_03: u64 = 0x06;

/// The object for one frame, gathered from `parts`: one allocation, one copy.
///
/// # Errors
/// [`ContainerError::TimestampTooLarge`] from 2^62 µs on.
pub fn encode(pts_us: u64, parts: &[&[u8]]) -> Result<Bytes, ContainerError> {
    let timestamp = Varint::new(pts_us).ok_or(ContainerError::TimestampTooLarge)?;
    let timestamp = timestamp.as_slice();
    // At most nine, so that it is its own varint.
    let properties_len = [1 + timestamp.len() as u8];
    Ok(gather(
        &[&properties_len, &[TIMESTAMP as u8], timestamp],
        parts,
    ))
}

/// The frame of one object. The payload shares the object's memory. Properties that are not known are skipped.
///
/// # Errors
/// [`ContainerError::Truncated`], [`ContainerError::Properties`] and [`ContainerError::NoTimestamp`].
pub fn decode(mut object: Bytes) -> Result<Frame, ContainerError> {
    let len = varint::take(&mut object).ok_or(ContainerError::Truncated)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > object.len() {
        return Err(ContainerError::Truncated);
    }
    let mut properties = object.split_to(len);
    let (mut timestamp, mut timescale, mut kind) = (None, 1_000_000, 0u64);
    while !properties.is_empty() {
        let step = varint::take(&mut properties).ok_or(ContainerError::Properties)?;
        kind = kind.checked_add(step).ok_or(ContainerError::Properties)?;
        let value = varint::take(&mut properties).ok_or(ContainerError::Properties)?;
        match kind {
            TIMESTAMP => timestamp = Some(value),
            TIMESTAMP_DRAFT_03 => timestamp = timestamp.or(Some(value)),
            TIMESCALE => timescale = value,
            _ if kind.is_multiple_of(2) => {}
            _ => {
                let len = usize::try_from(value).unwrap_or(usize::MAX);
                if len > properties.len() {
                    return Err(ContainerError::Properties);
                }
                properties.advance(len);
            }
        }
    }
    let timestamp = timestamp.ok_or(ContainerError::NoTimestamp)?;
    let pts_us = micros(timestamp.into(), timescale)?;
    Ok(Frame::new(pts_us, object))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(bytes: &[u8]) -> Result<(u64, Vec<u8>), ContainerError> {
        decode(Bytes::copy_from_slice(bytes)).map(|frame| (frame.pts_us, frame.payload.to_vec()))
    }

    #[test]
    fn only_the_timestamp_is_written() {
        let object = encode(12_345, &[b"co", b"dec"]).unwrap();
        assert_eq!(&object[..], b"\x03\x10\x70\x39codec");
        let owned = object.try_into_mut().unwrap();
        assert_eq!(owned.capacity(), owned.len());
    }

    #[test]
    fn timescale_and_foreign_properties_are_understood() {
        // 0x08: 48000, 0x0d: three bytes, 0x10: 96000.
        let object = b"\x0f\x08\x80\0\xbb\x80\x05\x03abc\x03\x80\x01\x77\0payload";
        assert_eq!(decode_all(object), Ok((2_000_000, b"payload".to_vec())));
        // 0x06 of draft-03; 0x10 wins over it.
        assert_eq!(decode_all(b"\x02\x06\x07x"), Ok((7, b"x".to_vec())));
        assert_eq!(decode_all(b"\x04\x06\x07\x0a\x09x"), Ok((9, b"x".to_vec())));
        // 0x0a is no timestamp.
        assert_eq!(
            decode_all(b"\x02\x0a\x07x"),
            Err(ContainerError::NoTimestamp)
        );
        // The timescale may follow a timestamp of draft-03.
        assert_eq!(
            decode_all(b"\x05\x06\x02\x02\x43\xe8x"),
            Ok((2_000, b"x".to_vec()))
        );
    }

    #[test]
    fn malformed_properties_are_refused() {
        for (object, error) in [
            (&b""[..], ContainerError::Truncated),
            (b"\x40", ContainerError::Truncated),
            (b"\x05\x10\x01", ContainerError::Truncated),
            (b"\0payload", ContainerError::NoTimestamp),
            (b"\x01\x10", ContainerError::Properties),
            (b"\x02\x10\x40", ContainerError::Properties),
            (b"\x02\x01\x05x", ContainerError::Properties),
            (b"\x04\x08\0\x08\x01x", ContainerError::Timescale),
        ] {
            assert_eq!(decode_all(object), Err(error), "{object:?}");
        }
    }

    #[test]
    fn an_empty_payload_is_a_marker() {
        assert!(decode(encode(5, &[]).unwrap()).unwrap().is_marker());
    }

    proptest! {
        #[test]
        fn frames_round_trip_and_moq_loc_reads_them(
            pts_us in 0..varint::LIMIT,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let object = encode(pts_us, &[&payload]).unwrap();
            prop_assert_eq!(&object, &moq_loc::encode(pts_us, &payload).unwrap());
            let at = object[object.len() - payload.len()..].as_ptr();
            let theirs = moq_loc::decode(object.clone()).unwrap();
            prop_assert_eq!((theirs.timestamp, &theirs.payload[..]), (pts_us, &payload[..]));
            let frame = decode(object).unwrap();
            prop_assert_eq!((frame.pts_us, &frame.payload[..]), (pts_us, &payload[..]));
            prop_assert!(payload.is_empty() || frame.payload.as_ptr() == at);
        }

        /// Where both read an object, they read the same.
        #[test]
        fn hostile_objects_decode_as_moq_loc_decodes_them(
            tail in proptest::collection::vec(any::<u8>(), 0..32),
            len in 0u8..0x40,
        ) {
            let mut object = vec![len];
            object.extend(tail);
            let object = Bytes::from(object);
            match (decode(object.clone()), moq_loc::decode(object)) {
                (Ok(ours), Ok(theirs)) => {
                    prop_assert_eq!(ours.payload, theirs.payload);
                    prop_assert!(theirs.timescale.is_some() || ours.pts_us == theirs.timestamp);
                }
                (Err(_), Err(_)) => {}
                // Scaled up, it may not fit any more.
                (Err(ContainerError::TimestampTooLarge), Ok(theirs)) => {
                    prop_assert!(theirs.timescale.is_some());
                }
                (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
            }
        }
    }
}

//! Frames (an access unit, an audio packet) and their timestamps as objects.
//!
//! The media timestamp always travels in the container: several protocol versions lose the network's.
//!
//! | Container | Layout | Timestamp |
//! |---|---|---|
//! | [`legacy`] | varint, then the codec's bytes | µs |
//! | [`loc`] | properties, then the codec's bytes | µs, or as a property says |
//! | [`cmaf`] | moof and mdat, one or several samples | in the timescale of the init segment |

#![forbid(unsafe_code)]

pub mod cmaf;
pub mod legacy;
pub mod loc;
mod varint;

use bytes::Bytes;
use smallvec::SmallVec;

use super::catalog;

pub use varint::Varint;

/// Why an object or a timestamp does not fit its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// The object ends inside its own header.
    #[error("object ends inside its header")]
    Truncated,
    /// A timestamp before 0 or of 2^62 µs or more.
    #[error("timestamp does not fit the container")]
    TimestampTooLarge,
    /// LOC: the properties do not fit the length they have.
    #[error("properties are malformed")]
    Properties,
    /// LOC and CMAF: a frame without a timestamp.
    #[error("frame has no timestamp")]
    NoTimestamp,
    /// LOC and CMAF: a timescale of 0.
    #[error("timescale is 0")]
    Timescale,
    /// CMAF: a box that cannot be read, or is not where it has to be; names it.
    #[error("box {0} is missing or malformed")]
    Box(&'static str),
    /// CMAF: samples that are outside of their object, or too many.
    #[error("samples do not fit their object")]
    Samples,
    /// CMAF: an init segment cannot be made for this rendition; says what it lacks.
    #[error("no init segment can be made without {0}")]
    Init(&'static str),
}

/// What an object held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Presentation timestamp in µs of media time, below 2^62.
    pub pts_us: u64,
    /// How long it lasts, in µs, where the container says so: CMAF alone.
    pub duration_us: Option<u64>,
    /// Whether decoding can start here, where the container says so: CMAF alone. Elsewhere the first frame of a video
    /// group is a key frame, and every audio frame.
    pub key: Option<bool>,
    /// The codec's bytes.
    pub payload: Bytes,
}

impl Frame {
    fn new(pts_us: u64, payload: Bytes) -> Self {
        Self {
            pts_us,
            duration_us: None,
            key: None,
            payload,
        }
    }

    /// No media but a statement: the exclusive end of its group, or, alone in a group, a discontinuity.
    /// Never for a decoder.
    pub fn is_marker(&self) -> bool {
        self.payload.is_empty()
    }
}

/// A frame to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Presentation timestamp in µs of media time.
    pub pts_us: u64,
    /// Decoding timestamp in µs; `None` where it is the PTS. Legacy and LOC do not carry it.
    pub dts_us: Option<u64>,
    /// How long it lasts, in µs, if known. Legacy and LOC do not carry it.
    pub duration_us: Option<u64>,
    /// Decoding can start here. Legacy and LOC do not carry it.
    pub key: bool,
    /// The codec's bytes, in pieces. All of them empty make a marker in legacy and LOC; CMAF has none.
    pub parts: &'a [&'a [u8]],
}

/// Makes the objects of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoder {
    Legacy,
    Loc,
    Cmaf(cmaf::Encoder),
}

impl Encoder {
    /// The encoder for a rendition's container.
    ///
    /// # Errors
    /// For CMAF, what is wrong with its init segment.
    pub fn new(container: &catalog::Container) -> Result<Self, ContainerError> {
        Ok(match container {
            catalog::Container::Legacy => Self::Legacy,
            catalog::Container::Loc => Self::Loc,
            catalog::Container::Cmaf { init } => {
                Self::Cmaf(cmaf::Encoder::new(&cmaf::Init::parse(init)?))
            }
        })
    }

    /// The object for one frame, in one allocation and one copy of its parts.
    ///
    /// # Errors
    /// [`ContainerError::TimestampTooLarge`] and, for CMAF, [`ContainerError::Samples`].
    pub fn encode(&mut self, sample: &Sample<'_>) -> Result<Bytes, ContainerError> {
        match self {
            Self::Legacy => legacy::encode(sample.pts_us, sample.parts),
            Self::Loc => loc::encode(sample.pts_us, sample.parts),
            Self::Cmaf(encoder) => encoder.encode(sample),
        }
    }
}

/// Takes the objects of one track apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoder {
    Legacy,
    Loc,
    Cmaf(cmaf::Decoder),
}

impl Decoder {
    /// The decoder for a rendition's container.
    ///
    /// # Errors
    /// For CMAF, what is wrong with its init segment.
    pub fn new(container: &catalog::Container) -> Result<Self, ContainerError> {
        Ok(match container {
            catalog::Container::Legacy => Self::Legacy,
            catalog::Container::Loc => Self::Loc,
            catalog::Container::Cmaf { init } => {
                Self::Cmaf(cmaf::Decoder::new(&cmaf::Init::parse(init)?))
            }
        })
    }

    /// The frames of one object in decoding order, without a copy of their payloads: one in legacy and LOC, any number
    /// in CMAF.
    ///
    /// # Errors
    /// [`ContainerError`], all but [`ContainerError::Init`].
    pub fn decode(&self, object: Bytes) -> Result<Frames, ContainerError> {
        match self {
            Self::Legacy => legacy::decode(object).map(Frames::from),
            Self::Loc => loc::decode(object).map(Frames::from),
            Self::Cmaf(decoder) => decoder.decode(&object).map(Frames::from),
        }
    }
}

/// Most objects hold a single frame, for which no list is allocated.
type List<T> = SmallVec<[T; 1]>;

/// Iterator over the frames of one object.
#[derive(Debug, Clone)]
pub struct Frames(smallvec::IntoIter<[Frame; 1]>);

impl From<Frame> for Frames {
    fn from(frame: Frame) -> Self {
        Self::from(List::from([frame]))
    }
}

impl From<List<Frame>> for Frames {
    fn from(frames: List<Frame>) -> Self {
        Self(frames.into_iter())
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.0.next()
    }
}

/// All parts one behind the other.
fn gather(header: &[&[u8]], parts: &[&[u8]]) -> Bytes {
    let all = || header.iter().chain(parts);
    let mut object = Vec::with_capacity(all().map(|part| part.len()).sum());
    for part in all() {
        object.extend_from_slice(part);
    }
    Bytes::from(object)
}

/// A time in µs from one in units of a timescale, rounded down.
fn micros(time: i128, timescale: u64) -> Result<u64, ContainerError> {
    if timescale == 0 {
        return Err(ContainerError::Timescale);
    }
    let micros = time * 1_000_000 / i128::from(timescale);
    u64::try_from(micros)
        .ok()
        .filter(|micros| *micros < varint::LIMIT)
        .ok_or(ContainerError::TimestampTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_of_a_catalog_is_spoken() {
        let init = cmaf::tests::init("opus");
        for container in [
            catalog::Container::Legacy,
            catalog::Container::Loc,
            catalog::Container::Cmaf { init },
        ] {
            let sample = Sample {
                pts_us: 1_234_567,
                dts_us: None,
                duration_us: Some(20_000),
                key: true,
                parts: &[b"pay", b"load"],
            };
            let object = Encoder::new(&container).unwrap().encode(&sample).unwrap();
            let decoder = Decoder::new(&container).unwrap();
            let frames: Vec<_> = decoder.decode(object).unwrap().collect();
            assert_eq!(frames.len(), 1);
            assert_eq!(
                (frames[0].pts_us, &frames[0].payload[..]),
                (1_234_567, &b"payload"[..])
            );
        }
    }

    #[test]
    fn an_init_segment_that_cannot_be_read_is_refused() {
        let container = catalog::Container::Cmaf {
            init: Bytes::from_static(b"moov"),
        };
        assert_eq!(Decoder::new(&container), Err(ContainerError::Box("moov")));
        assert_eq!(Encoder::new(&container), Err(ContainerError::Box("moov")));
    }
}

//! One frame (an access unit, an audio packet) and its timestamp as one object.
//!
//! The media timestamp always travels in the container: several protocol versions lose the network's.

#![forbid(unsafe_code)]

pub mod legacy;

use bytes::Bytes;

use super::catalog;

/// Why an object or a timestamp does not fit its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// The object ends inside its own header.
    #[error("object ends inside its header")]
    Truncated,
    /// A timestamp of 2^62 µs or more.
    #[error("timestamp does not fit the container")]
    TimestampTooLarge,
    /// A container that the catalog may name and this version does not speak; names it.
    #[error("container {0} is not supported")]
    Unsupported(&'static str),
}

/// What an object held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Presentation timestamp in µs of media time, below 2^62.
    pub pts_us: u64,
    /// The codec's bytes.
    pub payload: Bytes,
}

impl Frame {
    /// No media but a statement: the exclusive end of its group, or, alone in a group, a discontinuity.
    /// Never for a decoder.
    pub fn is_marker(&self) -> bool {
        self.payload.is_empty()
    }
}

/// A container that this version speaks, ready to encode and decode objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Legacy,
}

impl Format {
    /// The format of a rendition.
    ///
    /// # Errors
    /// [`ContainerError::Unsupported`] for LOC and CMAF.
    pub fn from_catalog(container: &catalog::Container) -> Result<Self, ContainerError> {
        match container {
            catalog::Container::Legacy => Ok(Self::Legacy),
            catalog::Container::Loc => Err(ContainerError::Unsupported("loc")),
            catalog::Container::Cmaf { .. } => Err(ContainerError::Unsupported("cmaf")),
        }
    }

    /// How the catalog names this format.
    pub fn to_catalog(self) -> catalog::Container {
        match self {
            Self::Legacy => catalog::Container::Legacy,
        }
    }

    /// The object for one frame, gathered from `parts` (`total` bytes in sum) in one allocation and one copy.
    ///
    /// # Errors
    /// [`ContainerError::TimestampTooLarge`].
    pub fn encode<'a>(
        self,
        pts_us: u64,
        parts: impl IntoIterator<Item = &'a [u8]>,
        total: usize,
    ) -> Result<Bytes, ContainerError> {
        match self {
            Self::Legacy => legacy::encode(pts_us, parts, total),
        }
    }

    /// The frame of one object, without a copy.
    ///
    /// # Errors
    /// [`ContainerError::Truncated`].
    pub fn decode(self, object: Bytes) -> Result<Frame, ContainerError> {
        match self {
            Self::Legacy => legacy::decode(object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_that_are_not_spoken_are_refused_by_name() {
        assert_eq!(
            Format::from_catalog(&catalog::Container::Loc),
            Err(ContainerError::Unsupported("loc"))
        );
        let cmaf = catalog::Container::Cmaf { init: Bytes::new() };
        assert_eq!(
            Format::from_catalog(&cmaf),
            Err(ContainerError::Unsupported("cmaf"))
        );
        let legacy = Format::Legacy.to_catalog();
        assert_eq!(Format::from_catalog(&legacy), Ok(Format::Legacy));
    }
}

//! Boxes (ISO/IEC 14496-12 §4.2) side by side and within each other.

use mp4_atom::Decode;

use crate::media::container::ContainerError;

/// One box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mp4Box<'a> {
    pub(super) kind: &'a [u8; 4],
    /// Where it starts in what was walked.
    pub(super) start: usize,
    /// Where its body starts there.
    pub(super) body_start: usize,
    /// With its header.
    pub(super) bytes: &'a [u8],
    /// Without its header.
    pub(super) body: &'a [u8],
}

impl<'a> Mp4Box<'a> {
    /// The boxes in its body behind the first `skip` bytes.
    pub(super) fn children(&self, skip: usize) -> impl Iterator<Item = Mp4Box<'a>> {
        boxes(self.body.get(skip..).unwrap_or_default())
    }

    /// Its first child of a kind.
    ///
    /// # Errors
    /// [`ContainerError::Box`] with the name of the child.
    pub(super) fn child(&self, kind: &'static str) -> Result<Mp4Box<'a>, ContainerError> {
        find(self.children(0), kind)
    }

    /// Reads a box that holds no others.
    pub(super) fn decode<T: Decode>(&self, name: &'static str) -> Result<T, ContainerError> {
        T::decode(&mut { self.bytes }).map_err(|_| ContainerError::Box(name))
    }
}

/// The first box of a kind.
///
/// # Errors
/// [`ContainerError::Box`] with its name.
pub(super) fn find<'a>(
    mut boxes: impl Iterator<Item = Mp4Box<'a>>,
    kind: &'static str,
) -> Result<Mp4Box<'a>, ContainerError> {
    boxes
        .find(|found| found.kind == kind.as_bytes())
        .ok_or(ContainerError::Box(kind))
}

/// The boxes side by side in `bytes`. One that does not fit, or the padding that some writers leave, ends the iteration.
pub(super) fn boxes(bytes: &[u8]) -> impl Iterator<Item = Mp4Box<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = read(bytes, at)?;
        at += found.bytes.len();
        Some(found)
    })
}

fn read(all: &[u8], start: usize) -> Option<Mp4Box<'_>> {
    let rest = all.get(start..)?;
    let (size, after) = rest.split_first_chunk::<4>()?;
    let (kind, after) = after.split_first_chunk::<4>()?;
    let (len, header_len) = match u32::from_be_bytes(*size) {
        0 => (rest.len(), 8),
        1 => {
            let (large, _) = after.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*large)).ok()?, 16)
        }
        size => (size as usize, 8),
    };
    let bytes = rest.get(..len)?;
    Some(Mp4Box {
        kind,
        start,
        body_start: start + header_len,
        bytes,
        body: bytes.get(header_len..)?,
    })
}

//! The MSF catalog: the JSON of the `catalog` track, draft-ietf-moq-msf-01 with the CMAF packaging of
//! draft-ietf-moq-cmsf-00, as moq-msf 0.5 writes it. Drafts 00 and 01 are read.
//!
//! `packaging: "legacy"`, `stalled`, `jitter`, `delay` and `clock` are no part of the drafts but shared with the hang catalog;
//! other readers ignore them. What the drafts do not have is left out: display size, orientation, and tracks of other
//! broadcasts.

#![forbid(unsafe_code)]

mod delta;
mod read;
mod write;

use bytes::Bytes;

use super::error::value;
use super::{Catalog, CatalogError, Skipped};

pub use delta::Snapshot;

/// Name of the track.
pub const TRACK: &str = "catalog";

/// Reads a catalog. Tracks that cannot be used are listed beside it; those that are no media (timelines, captions) are not
/// even that.
///
/// # Errors
/// [`CatalogError`] if nothing can be read, or more than [`MAX_RENDITIONS`](super::MAX_RENDITIONS) tracks of media are listed.
pub fn parse(json: &[u8]) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
    read::read(&value(json)?)
}

/// Writes a catalog in the form of draft-01: descriptions and init segments are listed once each.
pub fn write(catalog: &Catalog) -> Bytes {
    write::write(catalog).to_string().into()
}

#[cfg(test)]
mod tests;

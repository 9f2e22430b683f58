//! The hang catalog: the JSON of the `catalog.json` track, as hang 0.21 and `@moq/watch` read and write it.
//!
//! A rendition that cannot be used (unknown codec or container, absurd numbers) is left out and reported; the rest of
//! its catalog stands. Unknown keys, at the root and elsewhere, are ignored.

#![forbid(unsafe_code)]

mod merge;
mod wire;

use bytes::Bytes;

use super::Catalog;
use super::error::value;

pub use super::{CatalogError, MAX_JSON_LEN, Skipped};
pub use merge::Snapshot;

/// Name of the track.
pub const TRACK: &str = "catalog.json";

/// Name of its compressed twin; see [`deflate`](super::deflate).
pub const COMPRESSED_TRACK: &str = "catalog.json.z";

/// The largest integer that JSON preserves exactly, 2^53 − 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Reads a catalog. Renditions that cannot be used are listed beside it.
///
/// # Errors
/// [`CatalogError`] if nothing can be read, or more than [`MAX_RENDITIONS`](super::MAX_RENDITIONS) renditions are listed.
pub fn parse(json: &[u8]) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
    wire::read(&value(json)?)
}

/// Writes a catalog. What JSON or the format cannot say (a frame rate that is not a number, a jitter of 0) is left out.
pub fn write(catalog: &Catalog) -> Bytes {
    wire::write(catalog).to_string().into()
}

#[cfg(test)]
mod tests;

//! The hang catalog: the JSON of the `catalog.json` track, as hang 0.21 and `@moq/watch` read and write it.
//!
//! A rendition that cannot be used (unknown codec or container, absurd numbers) is left out and reported; the rest of
//! its catalog stands. Unknown keys, at the root and elsewhere, are ignored.

#![forbid(unsafe_code)]

mod check;
mod merge;
mod wire;

use bytes::Bytes;
use serde_json::Value;

use super::Catalog;

pub use merge::Snapshot;

/// Name of the track.
pub const TRACK: &str = "catalog.json";

/// Largest catalog that is read, in bytes of JSON.
pub const MAX_JSON_LEN: usize = 1 << 20;

/// The largest integer that JSON preserves exactly, 2^53 − 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A catalog that cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("catalog is larger than {MAX_JSON_LEN} bytes")]
    TooLarge,
    /// Not JSON, or nested too deeply; says where.
    #[error("catalog is not JSON: {0}")]
    Json(String),
    /// JSON, but not of the shape of a catalog; names the part.
    #[error("catalog is malformed: {0} is not an object")]
    Shape(&'static str),
    #[error("catalog lists {0} renditions, more than {max}", max = super::MAX_RENDITIONS)]
    TooManyRenditions(usize),
    /// A merge patch whose group did not begin with a readable snapshot, or that does not follow its predecessor. The
    /// next group mends it.
    #[error("frame {0} of the catalog's group has no predecessor")]
    MissingFrame(u64),
}

/// A rendition that was left out of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Name of its track.
    pub track: String,
    /// Why, for a log.
    pub reason: String,
}

/// Reads a catalog. Renditions that cannot be used are listed beside it.
///
/// # Errors
/// [`CatalogError`] if nothing can be read, or more than [`super::MAX_RENDITIONS`] renditions are listed.
pub fn parse(json: &[u8]) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
    wire::read(&value(json)?)
}

/// Writes a catalog. What JSON or the format cannot say (a frame rate that is not a number, a jitter of 0) is left out.
pub fn write(catalog: &Catalog) -> Bytes {
    wire::write(catalog).to_string().into()
}

/// serde_json refuses nesting beyond 128 levels, so nothing that recurses over the value can exhaust the stack.
fn value(json: &[u8]) -> Result<Value, CatalogError> {
    if json.len() > MAX_JSON_LEN {
        return Err(CatalogError::TooLarge);
    }
    serde_json::from_slice(json).map_err(|error| CatalogError::Json(error.to_string()))
}

#[cfg(test)]
mod tests;

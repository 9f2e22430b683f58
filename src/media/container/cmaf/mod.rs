//! CMAF (ISO/IEC 23000-19): each object is a fragment, moof and mdat, of the one track that the init segment in the catalog
//! describes.
//!
//! Boxes are those of mp4-atom. It is given one box at a time, and none that holds others: it would recurse as deep as a
//! stranger nests them.

#![forbid(unsafe_code)]

mod boxes;
mod entry;
mod fragment;
mod init;
mod write;

pub use fragment::{Decoder, Encoder};
pub use init::Init;
pub use write::init_segment;

/// Units of time in a second, in init segments that are written here: what catalogs and other containers count in.
pub const TIMESCALE: u32 = 1_000_000;

#[cfg(test)]
pub(in crate::media) mod tests;

//! Catalogs, containers and codec strings. Pure: no sockets, no clocks, no GStreamer.
//!
//! | Module | What it is |
//! |---|---|
//! | [`catalog`] | what a broadcast offers, its wire form (hang) and what changed between two of them |
//! | [`container`] | one access unit with its timestamp as one object (legacy; LOC and CMAF are named, not spoken) |
//! | [`codec`] | codec strings of catalogs and the profile and level names of caps |
//! | [`h264`] | NAL units, parameter sets and key frames of H.264 |
//! | [`opus`] | packet durations and the identification header of Opus |
//!
//! Everything here reads bytes that a stranger sent: nothing panics, and nothing allocates more than a small
//! multiple of what it was given.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod codec;
pub mod container;
pub mod h264;
pub mod opus;

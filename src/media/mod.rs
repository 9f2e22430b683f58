//! Catalogs, containers and codecs. Pure: no sockets, no clocks, no GStreamer.
//!
//! | Module | What it is |
//! |---|---|
//! | [`catalog`] | what a broadcast offers, its wire forms (hang, MSF) and what changed between two of them |
//! | [`container`] | frames with their timestamps as objects: legacy, LOC, CMAF |
//! | [`codec`] | codec strings of catalogs and the profile and level names of caps |
//! | [`timing`] | how long packets last and how deep pictures are reordered, whatever the codec |
//! | [`nal`] | NAL units of H.264 and H.265 |
//! | [`h264`], [`h265`], [`av1`], [`vp8`], [`vp9`] | configuration and key frames of video |
//! | [`opus`], [`aac`], [`mp3`], [`flac`] | configuration and packet durations of audio |
//!
//! Everything here reads bytes that a stranger sent: nothing panics, and nothing allocates more than a small
//! multiple of what it was given.

#![forbid(unsafe_code)]

pub mod aac;
pub mod av1;
mod bits;
pub mod catalog;
pub mod codec;
pub mod container;
pub mod flac;
pub mod h264;
pub mod h265;
pub mod mp3;
pub mod nal;
pub mod opus;
mod ratio;
pub mod timing;
pub mod vp8;
pub mod vp9;

//! Reads commands out of Markdown and runs them.

// Each test program uses its own part of it.
#![allow(dead_code)]

pub mod blocks;
mod pipeline;
pub mod rig;

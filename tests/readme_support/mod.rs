//! Reads commands out of Markdown and runs them.

pub mod blocks;
mod pipeline;
pub mod rig;

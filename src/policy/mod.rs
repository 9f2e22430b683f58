//! Timing and loss decisions. Pure: time is an argument, nothing reads a clock or does I/O.
//!
//! | Module | What it decides |
//! |---|---|
//! | [`congestion`] | how much may be under way |
//! | [`backlog`] | what of a published track waits for the network, and what is lost |
//! | [`outbox`] | what of a session waits for QUIC, and which group cannot arrive in time |
//! | [`timeline`] | media time → running time, once for a whole broadcast |
//! | [`reorder`] | which frame comes next, and when a group is given up |
//! | [`dts`] | decoding timestamps from presentation timestamps |
//! | [`mini_gop`] | how long pictures wait for B-frames |
//! | [`group`] | where the groups of a published track start |
//! | [`generation`] | running time → media time of a published broadcast |
//! | [`tally`] | how often a loss is told of |
//! | [`wants`] | which key frames a player asks for, and how often |
//! | [`retry`] | how long to wait before the next attempt |

#![forbid(unsafe_code)]

pub mod backlog;
pub mod congestion;
pub mod dts;
pub mod generation;
pub mod group;
pub mod mini_gop;
pub mod outbox;
pub mod reorder;
pub mod retry;
pub mod tally;
pub mod timeline;
pub mod wants;

/// A point in time or a span, in nanoseconds.
pub type Nanos = i64;

/// One millisecond.
pub const MILLISECOND: Nanos = 1_000_000;
/// One second.
pub const SECOND: Nanos = 1_000_000_000;

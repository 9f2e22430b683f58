//! Writing broadcasts, tracks and groups.
//!
//! Every call but those of `drain` is synchronous, takes a short lock of the protocol library at most, and may be made from any
//! thread: a streaming thread writes frames straight into the open group, and the sessions of the connection send what
//! somebody subscribed to. Nothing here waits for the network.

mod broadcast;
mod delivery;
mod drain;
mod numbers;
mod track;

pub use broadcast::{Broadcast, CATALOG_PRIORITY};
pub use delivery::Delivery;
pub use drain::{drain, drain_end, ends_told};
pub(in crate::net) use numbers::Numbers;
pub use track::{Demand, TrackOptions, TrackWriter, WriteError};

#[cfg(test)]
mod tests;

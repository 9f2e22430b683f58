//! What one run measures.

use crate::rig::figures::Percentiles;

/// One relay with a number of subscribers.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Of the relay's program.
    pub version: String,
    pub subscribers: usize,
    /// Cores that the relay's process used, that this one did, and that the whole machine was busy with.
    pub relay: f64,
    pub generator: f64,
    pub machine: f64,
    /// MiB resident of the relay, before anybody connected and at the end.
    pub memory_before: f64,
    pub memory: f64,
    /// Of all objects of all subscribers, from the call that sends to the payload in the subscriber's hands.
    pub latency: Percentiles,
    /// Objects that took longer than is of use, and that did not come at all.
    pub late: usize,
    pub missing: usize,
}

impl Figures {
    /// Whether every subscriber got everything in time. `limit` of p99, ms.
    pub fn is_served(&self, limit: f64) -> bool {
        self.missing == 0 && self.late == 0 && self.latency.p99 <= limit
    }
}

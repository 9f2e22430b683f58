//! Payloads that pass a place, and when.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use gst::prelude::*;
use serde::{Deserialize, Serialize};

/// A payload that passed a place.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sight {
    pub key: u64,
    /// ns on the machine's monotonic clock, which all processes share.
    pub at: u64,
    /// Inside the segment: a sink presents it.
    pub inside: bool,
}

/// ns on the machine's monotonic clock.
pub fn now() -> u64 {
    gst::SystemClock::obtain().time().nseconds()
}

/// What passed a place, in order.
#[derive(Clone, Default)]
pub struct Seen {
    sights: Arc<Mutex<Vec<Sight>>>,
    is_blind: bool,
}

impl Seen {
    /// Sees nothing, so that its memory does not grow.
    pub fn nothing() -> Self {
        Self {
            is_blind: true,
            ..Self::default()
        }
    }

    pub fn add(&self, buffer: &gst::BufferRef, inside: bool) {
        let at = now();
        if self.is_blind {
            return;
        }
        if let Some(key) = key_of(buffer) {
            self.lock().push(Sight { key, at, inside });
        }
    }

    /// Notes each buffer that passes.
    pub fn record(&self, pad: &gst::Pad) {
        let seen = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                seen.add(buffer, is_inside(pad, buffer));
            }
            gst::PadProbeReturn::Ok
        });
    }

    pub fn take(&self) -> Vec<Sight> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sight>> {
        self.sights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a payload is recognised by. Its end: plugins add and strip parameter sets and delimiters in front.
fn key_of(buffer: &gst::BufferRef) -> Option<u64> {
    let last = buffer.n_memory().checked_sub(1)?;
    let map = buffer.peek_memory(last).map_readable().ok()?;
    let from = map.len().saturating_sub(96);
    let mut hasher = DefaultHasher::new();
    map[from..].hash(&mut hasher);
    Some(hasher.finish())
}

fn is_inside(pad: &gst::Pad, buffer: &gst::BufferRef) -> bool {
    let Some(event) = pad.sticky_event::<gst::event::Segment>(0) else {
        return false;
    };
    let segment = event.segment().downcast_ref::<gst::ClockTime>();
    segment.is_some_and(|segment| segment.to_running_time(buffer.pts()).is_some())
}

/// What the publisher's process reports at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Published {
    pub version: String,
    pub video: Vec<Sight>,
    pub audio: Vec<Sight>,
    pub cpu: f64,
    pub machine: f64,
    pub memory: f64,
    /// A second.
    pub wakeups: f64,
}

/// What the player's process reports at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Played {
    /// When it was set to PLAYING, and when it ended: ns, as [`Sight::at`].
    pub joined: u64,
    pub ended: u64,
    pub video: Vec<Sight>,
    pub audio: Vec<Sight>,
    /// Video at a clock-synchronised sink.
    pub presented: Vec<Sight>,
    pub cpu: f64,
    pub memory: f64,
    /// A second.
    pub wakeups: f64,
}

/// What the player of a soak reports at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Soaked {
    pub joins: usize,
}

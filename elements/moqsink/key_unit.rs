//! Asking the encoder for a key frame.

use std::time::{Duration, Instant};

use gst::prelude::*;

/// An encoder is asked no more often than this; a subscriber that comes in between starts at the group that the last
/// request began.
const INTERVAL: Duration = Duration::from_millis(500);

const NAME: &str = "GstForceKeyUnit";

/// Limits the rate of requests of one track.
#[derive(Debug, Default)]
pub(super) struct Limiter(Option<Instant>);

impl Limiter {
    /// Whether a request may be made now; counts it if so.
    pub fn permits(&mut self, now: Instant) -> bool {
        let permitted = self
            .0
            .is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if permitted {
            self.0 = Some(now);
        }
        permitted
    }
}

/// Sends GstForceKeyUnit upstream, as gst-video's `force-key-unit` events are laid out. May run code of other elements:
/// call it without locks, from a thread that may wait.
pub(super) fn request(sink_pad: &gst::Pad) -> bool {
    let structure = gst::Structure::builder(NAME)
        .field("running-time", gst::ClockTime::NONE)
        .field("all-headers", true)
        .field("count", 0u32)
        .build();
    sink_pad.push_event(gst::event::CustomUpstream::new(structure))
}

/// Whether a downstream event announces a key frame.
pub(super) fn announces(event: &gst::EventRef) -> bool {
    event.type_() == gst::EventType::CustomDownstream
        && event.structure().is_some_and(|s| s.name() == NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_subscribers_is_one_request() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        assert!(limiter.permits(now));
        assert!(!limiter.permits(now + INTERVAL / 2));
        assert!(limiter.permits(now + INTERVAL));
    }
}

//! The congestion controllers that quinn is given: its own, and ours behind its trait.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{
    BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig, NewRenoConfig,
};

use crate::{
    net::config::CongestionControl,
    policy::{
        Nanos,
        congestion::{INITIAL_PACKETS, Live},
    },
};

/// Where a controller reads the time when quinn asks for its window without telling it.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Makes the controllers of a transport.
pub fn factory(kind: CongestionControl) -> Arc<dyn ControllerFactory + Send + Sync> {
    factory_with_clock(kind, Arc::new(Instant::now))
}

/// [`factory`] with a clock of one's own, for simulations in virtual time.
pub fn factory_with_clock(
    kind: CongestionControl,
    clock: Clock,
) -> Arc<dyn ControllerFactory + Send + Sync> {
    match kind {
        CongestionControl::Live => Arc::new(LiveFactory(clock)),
        CongestionControl::Cubic => Arc::new(CubicConfig::default()),
        CongestionControl::NewReno => Arc::new(NewRenoConfig::default()),
        CongestionControl::Bbr => Arc::new(BbrConfig::default()),
    }
}

struct LiveFactory(Clock);

impl ControllerFactory for LiveFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(LiveController {
            origin: now,
            clock: self.0.clone(),
            live: Arc::new(Live::new(0, current_mtu)),
        })
    }
}

/// [`Live`] behind quinn's trait.
#[derive(Clone)]
struct LiveController {
    origin: Instant,
    clock: Clock,
    /// quinn clones a controller for each look at its figures; only a clone that outlives the next packet costs a copy.
    live: Arc<Live>,
}

impl LiveController {
    fn live(&mut self) -> &mut Live {
        Arc::make_mut(&mut self.live)
    }

    fn time(&self, at: Instant) -> Nanos {
        let nanos = |span: Duration| Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX);
        match at.checked_duration_since(self.origin) {
            Some(since) => nanos(since),
            // Sent before a path was made anew.
            None => -nanos(self.origin - at),
        }
    }
}

impl Controller for LiveController {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        let now = self.time(now);
        self.live().on_sent(now, bytes);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _rtt: &quinn_proto::RttEstimator,
    ) {
        let (now, sent) = (self.time(now), self.time(sent));
        self.live().on_ack(now, sent, bytes, app_limited);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let now = self.time(now);
        self.live().on_end_acks(now, in_flight, app_limited);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let (now, sent) = (self.time(now), self.time(sent));
        self.live()
            .on_congestion(now, sent, lost_bytes, is_persistent_congestion);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.live().on_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.live.window(self.time((self.clock)()))
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * 1200
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

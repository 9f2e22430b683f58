//! Pipelines with moqsink, and a subscriber at the embedded relay.

// Each test program uses its own part of it.
#![allow(dead_code)]

use std::{
    future::Future,
    sync::{Once, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gst::prelude::*;
use gstmoq::{
    media::{
        catalog::{Catalog, hang},
        container::legacy,
        h264::{self, NalFormat},
    },
    net::relay::{Relay, RelayConfig},
};
use moq_net::track;

use super::relay_support::{LIMIT, Peer, Wire, connect, soon};

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gstmoq::plugin_register_static().expect("the plugin");
    });
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads")
    })
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// A relay and someone who watches.
pub struct Rig {
    pub relay: Relay,
    pub peer: Peer,
}

/// A frame as it arrived.
#[derive(Debug, Clone)]
pub struct Frame {
    pub group: u64,
    pub index: usize,
    /// µs
    pub pts: u64,
    pub payload: Bytes,
}

impl Frame {
    pub fn is_key(&self, format: NalFormat) -> bool {
        h264::is_idr(&self.payload, format)
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::start(RelayConfig::local())
    }

    /// Where another relay was.
    pub fn at(address: std::net::SocketAddr) -> Self {
        Self::start(RelayConfig::new(vec![address]))
    }

    fn start(config: RelayConfig) -> Self {
        init();
        let relay = Relay::start(config).expect("a relay");
        let peer = run(connect(&relay, Wire::WebTransport));
        Self { relay, peer }
    }

    /// `url=… broadcast=…` and what is needed to get there.
    pub fn to(&self, broadcast: &str) -> String {
        let address = self.relay.bound()[0];
        format!(
            "url=https://{address}/ server-certificate-hashes=<\"{}\"> broadcast={broadcast}",
            self.relay.fingerprint()
        )
    }

    pub fn pipeline(&self, description: &str) -> Pipeline {
        Pipeline::new(description)
    }

    pub async fn broadcast(&self, name: &str) -> moq_net::broadcast::Consumer {
        let consumer = self.peer.origin.consume();
        soon("the announcement", consumer.routed_broadcast(name))
            .await
            .expect("a route")
    }

    pub async fn track(&self, broadcast: &str, name: &str) -> track::Subscriber {
        let broadcast = self.broadcast(broadcast).await;
        subscribe(&broadcast, name).await
    }

    /// A group of a broadcast that may just be taking the place of another of its name.
    pub async fn first_group(&self, broadcast: &str, name: &str) {
        soon("a group", async {
            loop {
                let broadcast = self.broadcast(broadcast).await;
                let subscription = track::Subscription::default();
                if let Ok(track) = broadcast.track(name)
                    && let Ok(mut track) = track.subscribe(subscription).await
                    && let Ok(Some(_)) = track.recv_group().await
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The catalog as it is at the first look.
    pub async fn catalog(&self, broadcast: &str) -> Catalog {
        let mut track = self.track(broadcast, hang::TRACK).await;
        next_catalog(&mut track).await
    }
}

pub async fn subscribe(broadcast: &moq_net::broadcast::Consumer, name: &str) -> track::Subscriber {
    let subscription = track::Subscription::default().with_max_age(Duration::from_secs(10));
    soon(
        "the subscription",
        broadcast
            .track(name)
            .expect("a track")
            .subscribe(subscription),
    )
    .await
    .expect("a subscription")
}

pub async fn next_catalog(track: &mut track::Subscriber) -> Catalog {
    let mut group = soon("a catalog", track.recv_group())
        .await
        .expect("the catalog goes on")
        .expect("the catalog goes on");
    let frame = soon("a catalog", group.read_frame())
        .await
        .expect("a frame")
        .expect("a frame");
    let (catalog, skipped) = hang::parse(&frame.payload).expect("a catalog");
    assert!(skipped.is_empty(), "{skipped:?}");
    catalog
}

/// Reads groups in order, until the track ends or `enough` is satisfied after a whole group.
pub async fn read(track: &mut track::Subscriber, enough: impl Fn(&[Frame]) -> bool) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    loop {
        let group = soon("a group", track.recv_group()).await.expect("no error");
        let Some(mut group) = group else {
            return frames;
        };
        let mut index = 0;
        while let Some(frame) = soon("a frame", group.read_frame()).await.expect("whole") {
            let frame = legacy::decode(frame.payload).expect("a container");
            frames.push(Frame {
                group: group.sequence,
                index,
                pts: frame.pts_us,
                payload: frame.payload,
            });
            index += 1;
        }
        if enough(&frames) {
            return frames;
        }
    }
}

/// A pipeline that is NULL when it is dropped.
pub struct Pipeline(pub gst::Pipeline);

impl Pipeline {
    pub fn new(description: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(description).expect(description);
        Self(match pipeline.downcast::<gst::Pipeline>() {
            Ok(pipeline) => pipeline,
            // A lone element is not put into one.
            Err(element) => {
                let pipeline = gst::Pipeline::new();
                pipeline.add(&element).expect("added");
                pipeline
            }
        })
    }

    pub fn element(&self, name: &str) -> gst::Element {
        self.0.by_name(name).expect(name)
    }

    pub fn play(&self) {
        self.0.set_state(gst::State::Playing).expect("playing");
    }

    pub fn stop(&self) -> Duration {
        let start = Instant::now();
        assert_eq!(
            self.0.set_state(gst::State::Null),
            Ok(gst::StateChangeSuccess::Success)
        );
        start.elapsed()
    }

    /// Waits for a message that `wanted` makes something of; an ERROR that it does not want fails the test.
    pub fn message<T>(&self, what: &str, wanted: impl Fn(&gst::MessageView<'_>) -> Option<T>) -> T {
        let bus = self.0.bus().expect("a bus");
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = gst::ClockTime::from_nseconds(left.as_nanos() as u64);
            let message = bus
                .timed_pop(timeout)
                .unwrap_or_else(|| panic!("{what}: nothing within {LIMIT:?}"));
            if let Some(found) = wanted(&message.view()) {
                return found;
            }
            if let gst::MessageView::Error(err) = message.view() {
                panic!("{what}: {} {:?}", err.error(), err.debug());
            }
        }
    }

    pub fn eos(&self) {
        self.message("end of stream", |message| {
            matches!(message, gst::MessageView::Eos(_)).then_some(())
        });
    }

    /// Waits for an element message whose structure satisfies `wanted`.
    pub fn element_message(&self, name: &str, wanted: impl Fn(&gst::StructureRef) -> bool) {
        self.message(name, |message| match message {
            gst::MessageView::Element(element) => element
                .structure()
                .filter(|structure| structure.name() == name && wanted(structure))
                .map(|_| ()),
            _ => None,
        });
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

//! What the tests of pipelines share.

#![allow(dead_code)]

pub mod codecs;
pub mod feed;
pub mod foreign;
pub mod interop;
pub mod key_requests;
pub mod launch;
pub mod moq_cli;
pub mod moq_gst;
pub mod moq_relay;
pub mod paths;
pub mod process;
pub mod publisher;
pub mod sync;
pub mod web;

use std::{
    net::{TcpListener, UdpSocket},
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use gst::prelude::*;
use parking_lot::{Condvar, Mutex};

/// Nothing on loopback takes this long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(20);

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer starts");
        gstmoq::plugin_register_static().expect("the plugin registers");
    });
}

/// A pipeline that is stopped when the test ends, however it ends.
pub struct Pipeline(pub gst::Pipeline);

impl Pipeline {
    pub fn launch(description: &str) -> Self {
        init();
        let pipeline =
            gst::parse::launch(description).unwrap_or_else(|err| panic!("{description}: {err}"));
        Self(
            pipeline
                .downcast()
                .expect("more than one element makes a pipeline"),
        )
    }

    pub fn play(description: &str) -> Self {
        let pipeline = Self::launch(description);
        pipeline.set(gst::State::Playing);
        pipeline
    }

    pub fn set(&self, state: gst::State) {
        if self.0.set_state(state).is_err() {
            self.fail_with_bus(&format!("{state:?} refused"));
        }
    }

    pub fn by_name(&self, name: &str) -> gst::Element {
        self.0
            .by_name(name)
            .unwrap_or_else(|| panic!("no element '{name}'"))
    }

    /// The first message for which `found` gives something. An error message fails the test.
    pub fn wait_for<T>(&self, what: &str, mut found: impl FnMut(&gst::Message) -> Option<T>) -> T {
        let bus = self.0.bus().expect("a pipeline has a bus");
        let end = Instant::now() + LIMIT;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Some(message) =
                bus.timed_pop(gst::ClockTime::from_nseconds(left.as_nanos() as u64))
            else {
                break;
            };
            if let Some(value) = found(&message) {
                return value;
            }
            if let gst::MessageView::Error(err) = message.view() {
                panic!("waiting for {what}: {}", describe(err));
            }
        }
        panic!("{what} did not happen within {LIMIT:?}");
    }

    pub fn wait_eos(&self) {
        self.wait_for("EOS", |message| {
            matches!(message.view(), gst::MessageView::Eos(_)).then_some(())
        });
    }

    /// The first error on the bus: its text and its `cause`.
    pub fn wait_error(&self) -> (String, Option<String>) {
        self.wait_for("an error", |message| match message.view() {
            gst::MessageView::Error(err) => {
                let cause = err
                    .details()
                    .and_then(|details| details.get::<String>("cause").ok());
                Some((err.error().to_string(), cause))
            }
            _ => None,
        })
    }

    /// Calls `with` for each buffer that leaves or enters this pad.
    pub fn probe(
        &self,
        element: &str,
        pad: &str,
        mut with: impl FnMut(&gst::Pad, &gst::Buffer) + Send + 'static,
    ) {
        let pad = self
            .by_name(element)
            .static_pad(pad)
            .expect("the pad is there");
        let with = Mutex::new(move |pad: &gst::Pad, buffer: &gst::Buffer| with(pad, buffer));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                (with.lock())(pad, buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Records what arrives at this element's sink pad.
    pub fn record(&self, element: &str) -> Record {
        let record = Record::default();
        let into = record.clone();
        self.probe(element, "sink", move |pad, buffer| into.add(pad, buffer));
        record
    }

    fn fail_with_bus(&self, what: &str) -> ! {
        let bus = self.0.bus().expect("a pipeline has a bus");
        while let Some(message) = bus.pop() {
            if let gst::MessageView::Error(err) = message.view() {
                panic!("{what}: {}", describe(err));
            }
        }
        panic!("{what}");
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

fn describe(err: &gst::message::Error) -> String {
    format!(
        "{}: {} ({:?})",
        err.src()
            .map(|src| src.path_string().to_string())
            .unwrap_or_default(),
        err.error(),
        err.debug()
    )
}

/// A buffer as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub pts: Option<gst::ClockTime>,
    pub dts: Option<gst::ClockTime>,
    pub duration: Option<gst::ClockTime>,
    /// `None` outside of the segment.
    pub running: Option<gst::ClockTime>,
    /// Running time of the pipeline when it was seen.
    pub at: Option<gst::ClockTime>,
    pub flags: gst::BufferFlags,
    pub size: usize,
    pub hash: u64,
}

impl Seen {
    pub fn is_key(&self) -> bool {
        !self.flags.contains(gst::BufferFlags::DELTA_UNIT)
    }

    pub fn is_discont(&self) -> bool {
        self.flags.contains(gst::BufferFlags::DISCONT)
    }
}

/// Buffers in the order in which they were seen; waited on without polling.
#[derive(Clone, Default)]
pub struct Record(Arc<(Mutex<Vec<Seen>>, Condvar)>);

impl Record {
    pub fn add(&self, pad: &gst::Pad, buffer: &gst::Buffer) {
        let segment = pad
            .sticky_event::<gst::event::Segment>(0)
            .and_then(|event| event.segment().downcast_ref::<gst::ClockTime>().cloned());
        let map = buffer.map_readable().expect("readable");
        let seen = Seen {
            pts: buffer.pts(),
            dts: buffer.dts(),
            duration: buffer.duration(),
            running: segment.and_then(|segment| segment.to_running_time(buffer.pts())),
            at: pad
                .parent_element()
                .and_then(|element| element.current_running_time()),
            flags: buffer.flags(),
            size: map.size(),
            hash: hash(map.as_slice()),
        };
        drop(map);
        self.0.0.lock().push(seen);
        self.0.1.notify_all();
    }

    pub fn all(&self) -> Vec<Seen> {
        self.0.0.lock().clone()
    }

    pub fn len(&self) -> usize {
        self.0.0.lock().len()
    }

    pub fn clear(&self) {
        self.0.0.lock().clear();
    }

    /// Waits until so many buffers were seen, or another thing holds of them.
    pub fn wait(&self, what: &str, holds: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let end = Instant::now() + LIMIT;
        let mut seen = self.0.0.lock();
        while !holds(&seen) {
            if self.0.1.wait_until(&mut seen, end).timed_out() {
                panic!(
                    "{what}: not within {LIMIT:?}; {} buffers were seen",
                    seen.len()
                );
            }
        }
        seen.clone()
    }

    pub fn wait_count(&self, count: usize) -> Vec<Seen> {
        self.wait(&format!("{count} buffers"), |seen| seen.len() >= count)
    }
}

pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of 127.0.0.1 that was free for UDP and TCP a moment ago: for programs that cannot say which one they got.
pub fn free_port() -> u16 {
    for _ in 0..32 {
        let udp = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let port = udp.local_addr().expect("bound").port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for UDP and TCP");
}

/// FNV-1a: equal only for equal payloads, as far as a test can tell.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

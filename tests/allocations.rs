//! What a frame costs in allocations and copies, in the steady state, between the pad and the protocol library.
//!
//! The allocator counts what Rust allocates in the whole process, so that a path is measured by running nothing else. What
//! GStreamer itself allocates comes from GLib's allocator and is not counted. Every copy of a payload needs a place to go, so
//! that the bytes that were allocated bound the bytes that were copied.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{LIMIT, Pipeline, init, wait_until};
use gst::prelude::*;
use gstmoq::{
    media::{
        catalog::{Catalog, Container, Rendition, VideoRendition, hang},
        container::{Encoder, Sample, cmaf::init_segment},
    },
    net::{
        ConnectConfig,
        publish::{Broadcast, TrackOptions, TrackWriter},
        relay::{Relay, RelayConfig},
        session::{Connection, Retention, Role},
        subscribe::{
            CatalogFormat, Item, Player, PlayerConfig, RunningClock, Start, TrackQueue,
            queue::Popped,
        },
        transport::parse_url,
    },
};
use parking_lot::Mutex;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// There is one counter.
static ALONE: Mutex<()> = Mutex::new(());

/// Names the folder for profiles with backtraces, one for each measurement; docs/performance.md.
const PROFILES: &str = "MOQ_ALLOCATION_PROFILES";

/// Long enough that what happens once, or as a table doubles, does not show.
const FRAMES: u64 = 1000;

const BROADCAST: &str = "allocations.hang";

/// What one frame cost, on average.
#[derive(Debug, Clone, Copy)]
struct Cost {
    allocations: f64,
    /// Allocated, less the payload that went in.
    overhead: f64,
}

impl Cost {
    /// No more than so many allocations, and so many bytes beside the payload.
    fn assert_within(self, what: &str, allocations: f64, overhead: f64) {
        let Self {
            allocations: counted,
            overhead: bytes,
        } = self;
        // What goes on beside it, once or a few times a second, does not count.
        assert!(
            counted <= allocations + SLACK,
            "{what}: {counted:.2} allocations a frame, more than {allocations}"
        );
        assert!(
            bytes <= overhead,
            "{what}: {bytes:.0} bytes a frame beside its payload, more than {overhead}"
        );
    }
}

/// Allocations a frame that are those of the connection.
const SLACK: f64 = 0.25;

/// Waits until the connection is at rest.
fn quiet() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let last = std::cell::Cell::new((0, 0));
    wait_until("nothing allocates", || {
        let now = dhat::HeapStats::get().total_blocks;
        let (before, times) = last.get();
        last.set((now, if now == before { times + 1 } else { 0 }));
        times >= 8
    });
}

/// Counts what is allocated while `run` hands [`FRAMES`] frames of `payload` bytes over.
fn measure(what: &str, payload: usize, run: impl FnOnce()) -> Cost {
    let builder = dhat::Profiler::builder();
    let profiles = std::env::var_os(PROFILES);
    let profiler = match &profiles {
        Some(folder) => {
            let file = std::path::Path::new(folder).join(format!("{what}.json"));
            builder.file_name(file).trim_backtraces(Some(40)).build()
        }
        None => builder.testing().build(),
    };
    run();
    let stats = dhat::HeapStats::get();
    drop(profiler);
    let cost = Cost {
        allocations: stats.total_blocks as f64 / FRAMES as f64,
        overhead: stats.total_bytes as f64 / FRAMES as f64 - payload as f64,
    };
    println!("{what}: {cost:.2?} beside {payload} bytes of payload");
    cost
}

/// A stream as an encoder made it: a key frame, and one that is not, where there are such.
struct Coded {
    caps: gst::Caps,
    key: Vec<u8>,
    delta: Vec<u8>,
}

impl Coded {
    fn encode(description: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(&format!(
            "{description} ! appsink name=out sync=false async=false"
        ));
        let pipeline = Pipeline(pipeline.expect(description).downcast().expect("several"));
        let out: gst_app::AppSink = pipeline.by_name("out").downcast().expect("appsink");
        pipeline.set(gst::State::Playing);
        let mut samples = (0..2).map(|_| out.pull_sample().expect("a frame"));
        let mut next = || {
            let sample = samples.next().expect("two");
            let buffer = sample.buffer_owned().expect("a buffer");
            let map = buffer.into_mapped_buffer_readable().expect("readable");
            (sample.caps_owned().expect("caps"), map.to_vec())
        };
        let ((caps, key), (_, delta)) = (next(), next());
        Self { caps, key, delta }
    }

    /// As many bytes in each picture as a stream of some Mbit/s has.
    fn h264(format: &str) -> Self {
        Self::encode(&format!(
            "videotestsrc num-buffers=2 pattern=snow ! video/x-raw,format=I420,width=320,height=180,framerate=250/1 ! \
             x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! video/x-h264,alignment=au,stream-format={format}"
        ))
    }

    fn opus() -> Self {
        Self::encode(
            "audiotestsrc num-buffers=2 wave=white-noise samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! opusenc",
        )
    }
}

/// A moqsink and what feeds it, from the thread of the test.
struct Publisher {
    _pipeline: Pipeline,
    pad: gst::Pad,
    coded: Coded,
    next: u64,
}

/// Of each frame.
const INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(4);

impl Publisher {
    /// One group without end, so that groups cost nothing.
    fn start(relay: &Relay, coded: Coded, container: &str) -> Self {
        init();
        let sink = gst::ElementFactory::make("moqsink")
            .name("sink")
            .property("url", relay.url())
            .property("broadcast", BROADCAST)
            .property("sync", false)
            .build()
            .expect("moqsink");
        let pipeline = Pipeline(gst::Pipeline::new());
        pipeline.0.add(&sink).expect("added");
        let peer = sink.request_pad_simple("sink_0").expect("a pad");
        peer.set_property_from_str("container", container);
        peer.set_property("group-duration", 3_600_000_000_000u64);
        let pad = gst::Pad::builder(gst::PadDirection::Src).build();
        pad.set_active(true).expect("active");
        pad.link(&peer).expect("linked");
        pipeline.set(gst::State::Playing);
        pad.push_event(gst::event::StreamStart::new("stream"));
        pad.push_event(gst::event::Caps::new(&coded.caps));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        pad.push_event(gst::event::Segment::new(&segment));
        let mut publisher = Self {
            _pipeline: pipeline,
            pad,
            coded,
            next: 0,
        };
        let key = publisher.buffer(true, 1);
        publisher.push(key);
        wait_until("the connection", || sink.property::<bool>("connected"));
        publisher
    }

    /// The next frame, as so many memories.
    fn buffer(&mut self, key: bool, memories: usize) -> gst::Buffer {
        let bytes = if key {
            &self.coded.key
        } else {
            &self.coded.delta
        };
        let mut buffer = gst::Buffer::new();
        let edit = buffer.get_mut().expect("new");
        for part in bytes.chunks(bytes.len().div_ceil(memories)) {
            edit.append_memory(gst::Memory::from_slice(part.to_vec()));
        }
        edit.set_pts(INTERVAL * self.next);
        edit.set_dts(INTERVAL * self.next);
        edit.set_duration(INTERVAL);
        if !key {
            edit.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        self.next += 1;
        buffer
    }

    fn push(&self, buffer: gst::Buffer) {
        self.pad.push(buffer).expect("taken");
    }

    /// Measures what it costs to publish frames.
    fn cost(&mut self, what: &str, memories: usize) -> Cost {
        for _ in 0..50 {
            let buffer = self.buffer(false, memories);
            self.push(buffer);
        }
        quiet();
        // Made before, so that they are not counted.
        let buffers: Vec<_> = (0..FRAMES).map(|_| self.buffer(false, memories)).collect();
        measure(what, self.coded.delta.len(), || {
            for buffer in buffers {
                self.push(buffer);
            }
        })
    }
}

fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

/// What publishing costs, in so many memories, at most so many allocations and so many copies of the payload.
fn assert_published(
    container: &str,
    coded: Coded,
    name: &str,
    memories: usize,
    limit: (f64, usize),
) {
    let _alone = ALONE.lock();
    let relay = relay();
    let what = format!("publish-{container}-{name}");
    let (allocations, copies) = limit;
    let payload = coded.delta.len() * (copies - 1);
    let mut publisher = Publisher::start(&relay, coded, container);
    let cost = publisher.cost(&what, memories);
    cost.assert_within(&what, allocations, payload as f64 + HEADERS);
}

/// Bytes that containers, lists and the group's table of frames may take.
const HEADERS: f64 = 400.0;

#[test]
fn a_published_picture_costs_one_allocation_and_one_copy() {
    for container in ["legacy", "loc", "cmaf"] {
        assert_published(container, Coded::h264("avc"), "avc", 1, (1.0, 1));
        assert_published(
            container,
            Coded::h264("byte-stream"),
            "byte-stream",
            1,
            (1.0, 1),
        );
        assert_published(container, Coded::h264("avc"), "avc-3-memories", 3, (1.0, 1));
    }
}

#[test]
fn a_published_packet_of_sound_costs_one_allocation_and_one_copy() {
    for container in ["legacy", "loc", "cmaf"] {
        assert_published(container, Coded::opus(), "opus", 1, (1.0, 1));
    }
}

/// Start codes become lengths, for which the access unit has to be in one piece.
#[test]
fn a_byte_stream_in_several_memories_is_copied_twice_for_cmaf_alone() {
    for (container, copies) in [("legacy", 1), ("loc", 1), ("cmaf", 2)] {
        let coded = Coded::h264("byte-stream");
        let limit = (copies as f64, copies);
        assert_published(container, coded, "byte-stream-3-memories", 3, limit);
    }
}

struct Playing(Instant);

impl RunningClock for Playing {
    fn now(&self) -> Option<i64> {
        i64::try_from(self.0.elapsed().as_nanos()).ok()
    }
}

/// A track that is written and played over one connection: the player reads what the protocol library holds, and no network is
/// between them.
struct Loop {
    _player: Player,
    _broadcast: Broadcast,
    _catalog: TrackWriter,
    writer: TrackWriter,
    encoder: Encoder,
    queue: Arc<TrackQueue<Arc<Rendition>>>,
    start: Instant,
}

const PICTURE: [u8; 2_000] = [1; 2_000];

impl Loop {
    fn start(relay: &Relay, container: &str) -> Self {
        let mut video = VideoRendition {
            codec: "vp8".into(),
            coded_width: Some(640),
            coded_height: Some(360),
            framerate: Some(100.0),
            ..VideoRendition::default()
        };
        video.container = match container {
            "legacy" => Container::Legacy,
            "loc" => Container::Loc,
            _ => Container::Cmaf {
                init: init_segment(&Rendition::Video(video.clone())).expect("an init segment"),
            },
        };
        let encoder = Encoder::new(&video.container).expect("a container");
        let mut catalog = Catalog::default();
        catalog.video.insert("video".into(), video);

        let url = parse_url(&relay.url()).expect("a URL");
        let config = ConnectConfig::new(vec![url]);
        let connection = Connection::open(config, Role::Publisher, Retention::default());
        let broadcast = Broadcast::create(&connection, BROADCAST).expect("a broadcast");
        let options = TrackOptions {
            priority: 60,
            max_age: Duration::from_secs(10),
            timely: false,
        };
        let mut catalogs = broadcast.track(hang::TRACK, options).expect("a track");
        catalogs
            .write_snapshot(0, hang::write(&catalog))
            .expect("a catalog");
        let mut writer = broadcast.track("video", options).expect("a track");
        writer.start_group().expect("a group");
        broadcast.announce().expect("announced");

        let start = Instant::now();
        let config = PlayerConfig {
            broadcast: BROADCAST.into(),
            latency: 100_000_000,
            max_age: None,
            start: Start::Live,
            catalog: CatalogFormat::default(),
            broadcast_timeout: Duration::ZERO,
            silence_is_end: Duration::from_secs(10),
            requests: None,
        };
        let player = Player::start(connection, config, Arc::new(Playing(start)), |_| {});
        let queue = TrackQueue::new(1_000_000_000, 1 << 26);
        player.enable("video", queue.clone());
        player.set_playing(true);
        let mut started = Self {
            _player: player,
            _broadcast: broadcast,
            _catalog: catalogs,
            writer,
            encoder,
            queue,
            start,
        };
        started.warm_up();
        started
    }

    /// Until the timeline has settled and each frame passes at once.
    fn warm_up(&mut self) {
        let end = Instant::now() + LIMIT;
        let settled = Instant::now() + Duration::from_secs(1);
        while Instant::now() < settled || self.queue.level().1 == 0 {
            assert!(Instant::now() < end, "no frame arrives");
            let frame = self.frame();
            self.write(frame);
            std::thread::sleep(Duration::from_millis(2));
        }
        quiet();
        while self.queue.level().1 > 0 {
            self.receive();
        }
    }

    /// As the network's: a clone of it costs nothing.
    fn frame(&mut self) -> (u64, Bytes) {
        let pts_us = u64::try_from(self.start.elapsed().as_micros()).expect("a short test");
        let object = self.encoder.encode(&Sample {
            pts_us,
            dts_us: None,
            duration_us: Some(10_000),
            key: self.writer.group_frames() == 0,
            parts: &[&PICTURE],
        });
        (pts_us, object.expect("an object"))
    }

    fn write(&mut self, (pts_us, object): (u64, Bytes)) {
        self.writer.write(pts_us, object).expect("written");
    }

    /// The buffer of the next frame, made as moqsrc makes it.
    fn receive(&self) -> gst::Buffer {
        loop {
            if let Popped::Item(Item::Frame(frame)) = self.queue.pop() {
                return gst::Buffer::from_slice(frame.payload);
            }
        }
    }
}

/// Of a frame, in [`a_received_frame_costs_no_allocation_but_the_buffers`].
mod per_frame {
    /// What is received has to be written: the object.
    pub const WRITING: f64 = 1.0;
    /// The reader's place among those who wait, and what makes a `Bytes` of a `Vec` shared when it is first read.
    pub const MOQ_NET: f64 = 2.0;
    /// The `GstMemory`, which the binding takes from Rust's allocator.
    pub const BUFFER: f64 = 1.0;
    /// mp4-atom's list of the samples of a run.
    pub const MP4_ATOM: f64 = 1.0;
}

#[test]
fn a_received_frame_costs_no_allocation_but_the_buffers() {
    let _alone = ALONE.lock();
    for container in ["legacy", "loc", "cmaf"] {
        let relay = relay();
        let mut looped = Loop::start(&relay, container);
        let what = format!("receive-{container}");
        let cost = measure(&what, PICTURE.len(), || {
            for _ in 0..FRAMES {
                let frame = looped.frame();
                looped.write(frame);
                drop(looped.receive());
            }
        });
        let mut not_ours = per_frame::WRITING + per_frame::MOQ_NET + per_frame::BUFFER;
        if container == "cmaf" {
            not_ours += per_frame::MP4_ATOM;
        }
        cost.assert_within(&what, not_ours, 2.0 * HEADERS);
    }
}

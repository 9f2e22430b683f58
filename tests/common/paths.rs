//! A live publisher that can be killed, finished and renamed, a player whose pads are recorded, and paths between them and
//! the relay.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gst_base::prelude::BaseSinkExt;
use gstmoq::{
    media::{
        catalog::{AudioRendition, Catalog, VideoRendition, hang},
        container::Format,
    },
    net::{
        ConnectConfig,
        publish::{Broadcast, TrackOptions, TrackWriter, drain},
        relay::{Relay, RelayConfig},
        session::{Connection, Retention, Role},
        transport::parse_url,
    },
    netsim::{PathSettings, Probability, Proxy, Settings},
    runtime,
};
use parking_lot::{Condvar, Mutex};

use super::{LIMIT, Pipeline, Record, Seen};

pub const BROADCAST: &str = "test.hang";

/// 30 frames a second.
pub const FRAME: Duration = Duration::from_nanos(33_333_333);

/// What a mapping may be off by: it is made of time stamps, but these are taken by threads of a busy machine.
pub const TOLERANCE_MS: f64 = 10.0;

pub fn relay() -> Relay {
    super::init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

/// A relay at the address of one that has stopped.
pub fn relay_at(address: SocketAddr) -> Relay {
    Relay::start(RelayConfig::new(vec![address])).expect("a relay at the same port")
}

pub fn delay(ms: u64) -> PathSettings {
    PathSettings {
        delay: Duration::from_millis(ms),
        ..PathSettings::default()
    }
}

pub fn lossy(ms: u64, percent: f64) -> PathSettings {
    PathSettings {
        loss: Probability::percent(percent),
        ..delay(ms)
    }
}

/// The same path both ways to `target`, and a URL that takes it.
pub fn path_to(target: SocketAddr, path: PathSettings) -> (Proxy, String) {
    let proxy = Proxy::start_on(
        runtime::handle(),
        ([127, 0, 0, 1], 0).into(),
        target,
        Settings::symmetric(path, 7),
    )
    .expect("a proxy");
    let url = format!("http://{}/", proxy.addr());
    (proxy, url)
}

/// An access unit or packet that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub hash: u64,
    pub key: bool,
    /// Media time on the pipeline's clock: media time + base time, ns.
    pub captured: i64,
    /// When it was written, on the same clock, ns.
    pub at: i64,
}

/// What was written, in order; waited on without polling.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<Sent>>, Condvar)>);

impl Log {
    pub fn all(&self) -> Vec<Sent> {
        self.0.0.lock().clone()
    }

    pub fn wait(&self, what: &str, holds: impl Fn(&[Sent]) -> bool) {
        let end = Instant::now() + LIMIT;
        let mut sent = self.0.0.lock();
        while !holds(&sent) {
            if self.0.1.wait_until(&mut sent, end).timed_out() {
                panic!("{what}: not within {LIMIT:?}");
            }
        }
    }

    /// Waits until so many frames follow the next key frame.
    pub fn wait_after_key(&self, frames: usize) {
        let from = self.0.0.lock().len();
        self.wait("a place in a group", |sent| {
            sent[from..]
                .iter()
                .position(|sent| sent.key)
                .is_some_and(|key| sent.len() > from + key + frames)
        });
    }

    fn add(&self, sent: Sent) {
        self.0.0.lock().push(sent);
        self.0.1.notify_all();
    }
}

/// What a publisher is made from.
pub struct FeedOptions {
    pub broadcast: &'static str,
    pub video: &'static str,
    pub audio: &'static str,
    /// In frames.
    pub gop: u32,
    pub config: ConnectConfig,
}

impl FeedOptions {
    pub fn new(url: &str) -> Self {
        super::init();
        Self {
            broadcast: BROADCAST,
            video: "video",
            audio: "audio",
            gop: 30,
            config: ConnectConfig::new(vec![parse_url(url).expect("a URL")]),
        }
    }

    pub fn gop(mut self, gop: u32) -> Self {
        self.gop = gop;
        self
    }

    pub fn tracks(mut self, video: &'static str, audio: &'static str) -> Self {
        (self.video, self.audio) = (video, audio);
        self
    }

    pub fn start(self) -> Feed {
        Feed::start(self)
    }
}

type Writer = Arc<Mutex<Option<TrackWriter>>>;

/// Publishes live H.264 (640×360, 30 frames a second) and Opus. Dropping it closes the connection with nothing finished.
pub struct Feed {
    pub pipeline: Pipeline,
    pub connection: Connection,
    pub video: Log,
    pub audio: Log,
    /// The catalog's first.
    writers: Vec<Writer>,
    broadcast: Broadcast,
}

impl Feed {
    fn start(options: FeedOptions) -> Self {
        let connection = Connection::open(
            options.config.clone(),
            Role::Publisher,
            Retention::default(),
        );
        let broadcast = Broadcast::create(&connection, options.broadcast).expect("a broadcast");
        let pipeline = Pipeline::launch(&format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! \
             x264enc tune=zerolatency speed-preset=ultrafast byte-stream=true key-int-max={} ! h264parse ! \
             video/x-h264,alignment=au,stream-format=byte-stream ! appsink name=video sync=false \
             audiotestsrc is-live=true wave=pink-noise samplesperbuffer=480 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! appsink name=audio sync=false",
            options.gop
        ));
        let track = |name: &str, priority| {
            let options = TrackOptions {
                priority,
                max_age: Duration::from_secs(2),
            };
            broadcast.track(name, options).expect("a track")
        };
        let mut catalog = track(hang::TRACK, 100);
        catalog
            .write_snapshot(0, hang::write(&catalog_of(&options)))
            .expect("a catalog");
        let keep = |writer| Arc::new(Mutex::new(Some(writer)));
        let video = keep(track(options.video, 60));
        let audio = keep(track(options.audio, 80));
        let feed = Self {
            video: record(&pipeline, "video", &video, None),
            audio: record(&pipeline, "audio", &audio, Some(25)),
            writers: vec![keep(catalog), video, audio],
            pipeline,
            connection,
            broadcast,
        };
        feed.broadcast.announce().expect("announced");
        feed.pipeline.set(gst::State::Playing);
        feed
    }

    /// Ends as a publisher does that has sent everything.
    pub fn finish(self) {
        self.pipeline.set(gst::State::Null);
        let mut writers: Vec<_> = self
            .writers
            .iter()
            .filter_map(|writer| writer.lock().take())
            .collect();
        for writer in &mut writers {
            writer.finish_group();
        }
        let demands: Vec<_> = writers.iter().map(TrackWriter::demand).collect();
        runtime::handle().block_on(drain(&self.connection, &demands, Duration::from_secs(2)));
        for mut writer in writers {
            writer.finish();
        }
        self.broadcast.close();
        self.connection
            .close_blocking(Duration::from_secs(2))
            .expect("closed in time");
    }
}

fn catalog_of(options: &FeedOptions) -> Catalog {
    let mut catalog = Catalog::default();
    let video = VideoRendition {
        codec: "avc3.42c01e".into(),
        coded_width: Some(640),
        coded_height: Some(360),
        framerate: Some(30.0),
        ..VideoRendition::default()
    };
    let audio = AudioRendition {
        codec: "opus".into(),
        sample_rate: 48_000,
        channels: 2,
        ..AudioRendition::default()
    };
    catalog.video.insert(options.video.into(), video);
    catalog.audio.insert(options.audio.into(), audio);
    catalog
}

/// Writes what the appsink gets; a group every `packets`, or at key frames.
fn record(pipeline: &Pipeline, name: &str, writer: &Writer, packets: Option<u64>) -> Log {
    let log = Log::default();
    let (into, writer) = (log.clone(), writer.clone());
    let sink: gst_app::AppSink = pipeline.by_name(name).downcast().expect("an appsink");
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().expect("a buffer");
        let segment = sample.segment().expect("a segment");
        let segment = segment.downcast_ref::<gst::ClockTime>().expect("time");
        // Opus starts before zero, by its pre-skip.
        let Some(running) = segment.to_running_time(buffer.pts()) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        let mut writer = writer.lock();
        let Some(writer) = writer.as_mut() else {
            return Err(gst::FlowError::Eos);
        };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let begins = match packets {
            None => key,
            Some(packets) => writer.written().frames == 0 || writer.group_frames() >= packets,
        };
        if begins {
            writer.start_group().expect("a group");
        }
        let map = buffer.map_readable().expect("readable");
        let media_us = running.useconds();
        let frame = Format::Legacy
            .encode(media_us, std::iter::once(map.as_slice()), map.size())
            .expect("a frame");
        let base = sink.base_time().expect("it plays");
        let now = sink.current_running_time().expect("it plays");
        into.add(Sent {
            hash: super::hash(map.as_slice()),
            key,
            captured: ns(base + gst::ClockTime::from_useconds(media_us)),
            at: ns(base + now),
        });
        writer.write(media_us, frame).expect("written");
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(new_sample)
            .build(),
    );
    log
}

fn ns(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).expect("this century")
}

/// What a player is made from.
#[derive(Clone)]
pub struct ViewOptions {
    pub url: String,
    pub latency_ms: u32,
    /// More properties of moqsrc.
    pub properties: String,
    pub audio: bool,
    /// What stands between the video's queue and its sink.
    pub decoder: Option<String>,
}

impl ViewOptions {
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            latency_ms: 200,
            properties: String::new(),
            audio: true,
            decoder: None,
        }
    }

    pub fn latency_ms(mut self, latency_ms: u32) -> Self {
        self.latency_ms = latency_ms;
        self
    }

    pub fn video_only(mut self) -> Self {
        self.audio = false;
        self
    }

    pub fn video_through(mut self, decoder: &str) -> Self {
        self.decoder = Some(decoder.to_owned());
        self
    }

    pub fn with(mut self, properties: &str) -> Self {
        self.properties = properties.to_owned();
        self
    }

    /// Plays into sinks that follow the clock.
    pub fn play(self) -> View {
        let view = self.launch();
        view.pipeline.set(gst::State::Playing);
        view
    }

    pub fn launch(self) -> View {
        let Self {
            url,
            latency_ms,
            properties,
            audio,
            decoder,
        } = self;
        // What is recorded is what comes to the queues, so that a sink that waits for its time does not hold it back.
        let chain = |kind: &str, decoder: &str| {
            format!(
                "src.{kind}_0 ! queue name={kind} max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! {decoder} \
                 fakesink name={kind}-sink sync=true processing-deadline=0 max-lateness=20000000"
            )
        };
        let audio_chain = if audio {
            chain("audio", "")
        } else {
            String::new()
        };
        let pipeline = Pipeline::launch(&format!(
            "moqsrc name=src url={url} broadcast={BROADCAST} latency={latency_ms} {properties} {} {audio_chain}",
            chain(
                "video",
                &decoder.map_or(String::new(), |decoder| format!("{decoder} !"))
            )
        ));
        let heard = Arc::<Mutex<Heard>>::default();
        watch_bus(&pipeline, &heard);
        watch_pads(&pipeline, &heard);
        let record = |name: &str| {
            watch_events(&pipeline, name, &heard);
            pipeline.record(name)
        };
        View {
            video: record("video"),
            audio: if audio {
                record("audio")
            } else {
                Record::default()
            },
            heard,
            pipeline,
            latency_ms,
        }
    }
}

/// What happened besides buffers.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub errors: Vec<String>,
    pub pads_added: Vec<String>,
    pub pads_removed: Vec<String>,
    /// The queues that got EOS.
    pub eos: Vec<String>,
    pub progress: Vec<gst::ProgressType>,
}

/// A pipeline that plays a broadcast.
pub struct View {
    pub pipeline: Pipeline,
    pub video: Record,
    pub audio: Record,
    pub latency_ms: u32,
    heard: Arc<Mutex<Heard>>,
}

impl View {
    pub fn heard(&self) -> Heard {
        self.heard.lock().clone()
    }

    /// Same pads as at the start, and neither an error nor EOS.
    pub fn assert_undisturbed(&self) {
        let heard = self.heard();
        assert_eq!(heard.errors, Vec::<String>::new());
        assert_eq!(heard.eos, Vec::<String>::new());
        assert_eq!(heard.pads_removed, Vec::<String>::new());
        let pads = heard.pads_added.len();
        assert!(pads <= 2, "pads: {:?}", heard.pads_added);
    }

    fn base_time(&self) -> i64 {
        ns(self.pipeline.0.base_time().expect("it plays"))
    }

    /// The pipeline's clock, ns.
    pub fn now(&self) -> i64 {
        ns(self.pipeline.0.clock().expect("it plays").time())
    }

    /// When the video sink presents this frame, on the pipeline's clock, ns; nothing for frames outside of the segment.
    pub fn presented(&self, seen: &Seen) -> Option<i64> {
        let sink: gst_base::BaseSink = self
            .pipeline
            .by_name("video-sink")
            .downcast()
            .expect("a sink");
        Some(ns(seen.running?) + self.base_time() + ns(sink.latency()))
    }

    /// Share of the presented video frames that were at the pad when they were due.
    pub fn in_time(&self) -> f64 {
        let all = self.video.all();
        let in_time = |seen: &Seen| Some(self.arrived(seen) <= self.presented(seen)?);
        let presented: Vec<_> = all.iter().filter_map(in_time).collect();
        presented.iter().filter(|in_time| **in_time).count() as f64 / presented.len() as f64
    }

    /// When it came out of the source, on the pipeline's clock, ns.
    pub fn arrived(&self, seen: &Seen) -> i64 {
        ns(seen.at.expect("it plays")) + self.base_time()
    }

    /// What the sink with this name did: rendered, dropped.
    pub fn rendered(&self, sink: &str) -> (u64, u64) {
        let stats = self
            .pipeline
            .by_name(sink)
            .property::<gst::Structure>("stats");
        let count = |name| stats.get::<u64>(name).expect("a counter");
        (count("rendered"), count("dropped"))
    }

    /// Waits until a frame that is presented arrives at or after this time of the clock; returns its arrival.
    pub fn wait_playing(&self, record: &Record, from: i64) -> i64 {
        let playing = |seen: &Seen| seen.running.is_some() && self.arrived(seen) >= from;
        let seen = record.wait("playing again", |seen| seen.iter().any(playing));
        let first = seen.iter().find(|seen| playing(seen)).expect("waited for");
        self.arrived(first)
    }
}

/// What every application does: takes note, and distributes the latency anew when it changes.
fn watch_bus(pipeline: &Pipeline, heard: &Arc<Mutex<Heard>>) {
    let heard = heard.clone();
    let (told, messages) = std::sync::mpsc::channel();
    let bus = pipeline.0.bus().expect("a pipeline has a bus");
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(err) => heard.lock().errors.push(super::describe(err)),
            gst::MessageView::Progress(progress) => heard.lock().progress.push(progress.get().0),
            // Not from here: the sender may hold locks.
            gst::MessageView::Latency(_) => drop(told.send(())),
            _ => {}
        }
        gst::BusSyncReply::Pass
    });
    let pipeline = pipeline.0.downgrade();
    std::thread::spawn(move || {
        while let Ok(()) = messages.recv() {
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let _ = pipeline.recalculate_latency();
        }
    });
}

fn watch_pads(pipeline: &Pipeline, heard: &Arc<Mutex<Heard>>) {
    let src = pipeline.by_name("src");
    let (added, removed) = (heard.clone(), heard.clone());
    src.connect_pad_added(move |_, pad| added.lock().pads_added.push(pad.name().to_string()));
    src.connect_pad_removed(move |_, pad| removed.lock().pads_removed.push(pad.name().to_string()));
}

fn watch_events(pipeline: &Pipeline, queue: &str, heard: &Arc<Mutex<Heard>>) {
    let (name, heard) = (queue.to_owned(), heard.clone());
    let pad = pipeline.by_name(queue).static_pad("sink").expect("there");
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event()
            && event.type_() == gst::EventType::Eos
        {
            heard.lock().eos.push(name.clone());
        }
        gst::PadProbeReturn::Ok
    });
}

/// The index in `sent` of each frame.
///
/// Fails unless every frame was sent, decodes (it follows the frame before it, or is a key frame) and DISCONT is set where,
/// and only where, something is missing.
pub fn assert_decodable(sent: &[Sent], got: &[Seen]) -> Vec<usize> {
    let mut indices: Vec<usize> = Vec::new();
    for (n, seen) in got.iter().enumerate() {
        let from = indices.last().map_or(0, |last| last + 1);
        let index = sent[from..]
            .iter()
            .position(|sent| sent.hash == seen.hash)
            .map(|at| at + from)
            .unwrap_or_else(|| panic!("frame {n} was not sent after frame {from}"));
        let follows = n > 0 && index == from;
        assert!(
            follows || seen.is_key(),
            "frame {n} (sent as {index}) cannot be decoded after {from}"
        );
        assert_eq!(seen.is_key(), sent[index].key, "frame {n}");
        assert!(follows || seen.is_discont(), "frame {n} hides a gap");
        indices.push(index);
    }
    indices
}

/// Median, smallest and largest, in ms.
pub fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    assert!(!values.is_empty());
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

pub fn millis(ns: i64) -> f64 {
    ns as f64 / 1e6
}

/// From sending to presentation of the frames of a track that are presented, less `latency`: the path's delay, in ms.
///
/// Sending is when the fastest frames of the track are sent: the mapping promises nothing about the encoder's hesitations.
pub fn path_delays(view: &View, sent: &[Sent], got: &[Seen]) -> Vec<f64> {
    let indices: Vec<_> = got
        .iter()
        .filter_map(|seen| {
            Some((
                view.presented(seen)?,
                sent.iter().rposition(|sent| sent.hash == seen.hash)?,
            ))
        })
        .collect();
    let encoder = indices
        .iter()
        .map(|(_, index)| sent[*index].at - sent[*index].captured)
        .min()
        .expect("a frame is presented");
    let latency = f64::from(view.latency_ms);
    indices
        .iter()
        .map(|(presented, index)| millis(presented - sent[*index].captured - encoder) - latency)
        .collect()
}

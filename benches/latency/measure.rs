//! One run: publishes and plays in this process with whatever plugin `GST_PLUGIN_PATH` leads to.

use std::{
    collections::{HashMap, HashSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    figures::{Figures, Percentiles},
    stream::{Kind, Packet, Stream},
};

/// What to run. Comes on stdin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub stream: PathBuf,
    /// `None` = no plugin: the stream goes straight to the sinks of the player.
    pub url: Option<String>,
    pub broadcast: String,
    /// s
    pub seconds: f64,
    /// s after a key frame
    pub join: f64,
    /// ms
    pub latency: u32,
}

/// The player joins so long after this key frame; before it the publisher connects. s
pub const KEY_FRAME: f64 = 2.0;

/// Frames sent less than this before the end may still be on their way.
const TAIL: Duration = Duration::from_millis(400);

/// CPU is counted from so long after the player's start.
const STARTING: Duration = Duration::from_millis(500);

/// A payload that passed a place.
#[derive(Debug, Clone, Copy)]
struct Sight {
    key: u64,
    at: Instant,
    /// Inside the segment: a sink presents it.
    inside: bool,
}

/// What passed a place, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Sight>>>);

impl Seen {
    fn add(&self, buffer: &gst::BufferRef, inside: bool) {
        let at = Instant::now();
        if let Some(key) = key_of(buffer) {
            self.lock().push(Sight { key, at, inside });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Sight> {
        std::mem::take(&mut *self.lock())
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

/// The places at which payloads are seen.
#[derive(Clone, Default)]
struct Places {
    video_sent: Seen,
    audio_sent: Seen,
    video_got: Seen,
    audio_got: Seen,
    presented: Seen,
}

pub fn run() -> Result<()> {
    let job: Job = serde_json::from_reader(std::io::stdin())?;
    gst::init()?;
    let stream = Stream::load(&job.stream)?;
    let places = Places::default();
    let publisher = publisher(&job, &stream, &places)?;
    let player = match &job.url {
        Some(url) => player(&job, url, &places)?,
        None => gst::Pipeline::new(),
    };
    let clock = gst::SystemClock::obtain();
    for pipeline in [&publisher.pipeline, &player] {
        pipeline.use_clock(Some(&clock));
    }

    publisher.pipeline.set_state(gst::State::Playing)?;
    let start = Instant::now();
    let sources = publisher.sources.clone();
    std::thread::spawn(move || send(&sources, stream.packets, start));

    watch(
        &[&publisher.pipeline],
        start + seconds(KEY_FRAME + job.join),
    )?;
    let joined = Instant::now();
    player.set_state(gst::State::Playing)?;
    let both = [&publisher.pipeline, &player];
    watch(&both, joined + STARTING)?;
    let (own, machine, from) = (own_cpu()?, machine_cpu()?, Instant::now());
    watch(&both, joined + seconds(job.seconds))?;
    let elapsed = from.elapsed().as_secs_f64();
    let cpu = (own_cpu()? - own) / elapsed;
    let machine = (machine_cpu()? - machine) / elapsed;
    let memory = memory()?;

    let figures = Figures {
        version: version(),
        cpu,
        machine,
        memory,
        ..evaluate(&places, joined)
    };
    serde_json::to_writer(std::io::stdout(), &figures)?;
    std::io::stdout().flush()?;
    // Stopping is not what is measured, and a plugin may take its time.
    std::thread::spawn(move || {
        let _ = player.set_state(gst::State::Null);
        let _ = publisher.pipeline.set_state(gst::State::Null);
        std::process::exit(0);
    });
    std::thread::sleep(Duration::from_secs(2));
    std::process::exit(0)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

struct Publisher {
    pipeline: gst::Pipeline,
    sources: [gst_app::AppSrc; 2],
}

fn source(caps: &str) -> Result<gst_app::AppSrc> {
    Ok(gst_app::AppSrc::builder()
        .caps(&caps.parse::<gst::Caps>()?)
        .format(gst::Format::Time)
        .is_live(true)
        .build())
}

fn connection(element: &str, job: &Job, url: &str) -> Result<gst::Element> {
    let element = gst::ElementFactory::make(element)
        .property("url", url)
        .property("broadcast", &job.broadcast)
        .property("tls-disable-verify", true)
        .build()?;
    Ok(element)
}

fn publisher(job: &Job, stream: &Stream, places: &Places) -> Result<Publisher> {
    let pipeline = gst::Pipeline::new();
    let sources = [source(&stream.video_caps)?, source(&stream.audio_caps)?];
    let sink = match &job.url {
        Some(url) => Some(connection("moqsink", job, url)?),
        None => None,
    };
    if let Some(sink) = &sink {
        pipeline.add(sink)?;
    }
    let kinds = [("video", &places.video_sent), ("audio", &places.audio_sent)];
    for (source, (kind, seen)) in sources.iter().zip(kinds) {
        pipeline.add(source)?;
        let out = source.static_pad("src").ok_or("appsrc has a pad")?;
        record(&out, seen);
        match &sink {
            Some(sink) => {
                let pad = sink
                    .request_pad_simple("sink_%u")
                    .ok_or("moqsink has no sink_%u")?;
                out.link(&pad)?;
            }
            None => show(&pipeline, &out, kind == "video", places)?,
        }
    }
    Ok(Publisher { pipeline, sources })
}

/// A player whose sinks present by the clock, behind queues, so that what leaves moqsrc does not wait for them.
fn player(job: &Job, url: &str, places: &Places) -> Result<gst::Pipeline> {
    let pipeline = gst::Pipeline::new();
    let source = connection("moqsrc", job, url)?;
    if source.has_property("latency") {
        source.set_property("latency", job.latency);
    }
    pipeline.add(&source)?;
    let (weak, places) = (pipeline.downgrade(), places.clone());
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else {
            return;
        };
        let video = pad.name().starts_with("video");
        if let Err(err) = show(&pipeline, pad, video, &places) {
            gst::element_error!(pipeline, gst::CoreError::Pad, ["{err}"]);
        }
    });
    Ok(pipeline)
}

fn show(pipeline: &gst::Pipeline, pad: &gst::Pad, video: bool, places: &Places) -> Result<()> {
    let queue = gst::ElementFactory::make("queue")
        .property("max-size-buffers", 0u32)
        .property("max-size-bytes", 0u32)
        .property("max-size-time", 0u64)
        .build()?;
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", true)
        .property("processing-deadline", 0u64)
        .property("signal-handoffs", video)
        .build()?;
    if video {
        let presented = places.presented.clone();
        sink.connect("handoff", false, move |values| {
            if let Ok(buffer) = values[1].get::<gst::Buffer>() {
                presented.add(&buffer, true);
            }
            None
        });
        record(pad, &places.video_got);
    } else {
        record(pad, &places.audio_got);
    }
    pipeline.add_many([&queue, &sink])?;
    queue.link(&sink)?;
    sink.sync_state_with_parent()?;
    queue.sync_state_with_parent()?;
    pad.link(&queue.static_pad("sink").ok_or("queue has a pad")?)?;
    Ok(())
}

/// Notes each buffer that passes.
fn record(pad: &gst::Pad, seen: &Seen) {
    let seen = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            seen.add(buffer, is_inside(pad, buffer));
        }
        gst::PadProbeReturn::Ok
    });
}

fn is_inside(pad: &gst::Pad, buffer: &gst::BufferRef) -> bool {
    let Some(event) = pad.sticky_event::<gst::event::Segment>(0) else {
        return false;
    };
    let segment = event.segment().downcast_ref::<gst::ClockTime>();
    segment.is_some_and(|segment| segment.to_running_time(buffer.pts()).is_some())
}

/// Sends each packet at its time.
fn send(sources: &[gst_app::AppSrc; 2], packets: Vec<Packet>, start: Instant) {
    for packet in packets {
        let due = start + Duration::from_nanos(packet.pts);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut buffer = gst::Buffer::from_mut_slice(packet.payload);
        let writable = buffer.get_mut().expect("a new buffer has one owner");
        writable.set_pts(gst::ClockTime::from_nseconds(packet.pts));
        writable.set_dts(gst::ClockTime::from_nseconds(packet.pts));
        writable.set_duration(gst::ClockTime::from_nseconds(packet.duration));
        if !packet.key {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        let source = &sources[usize::from(packet.kind == Kind::Audio)];
        if source.push_buffer(buffer).is_err() {
            return;
        }
    }
}

/// Serves the buses until then.
fn watch(pipelines: &[&gst::Pipeline], until: Instant) -> Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        for pipeline in pipelines {
            let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
            while let Some(message) = bus.pop() {
                match message.view() {
                    gst::MessageView::Latency(_) => {
                        let _ = pipeline.recalculate_latency();
                    }
                    gst::MessageView::Error(err) => {
                        return Err(format!("{} ({:?})", err.error(), err.debug()).into());
                    }
                    _ => {}
                }
            }
        }
        std::thread::sleep(left.min(Duration::from_millis(5)));
    }
}

/// Latencies of what was seen at both places, inside the segment, ms.
fn latencies(sent: &[Sight], got: &[Sight]) -> Vec<f64> {
    let mut times = HashMap::new();
    for sight in sent {
        // What looks like another one says nothing.
        times
            .entry(sight.key)
            .and_modify(|time| *time = None)
            .or_insert(Some(sight.at));
    }
    got.iter()
        .filter(|sight| sight.inside)
        .filter_map(|sight| {
            let sent = times.get(&sight.key).copied().flatten()?;
            Some(milliseconds(sent, sight.at))
        })
        .collect()
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

fn evaluate(places: &Places, joined: Instant) -> Figures {
    let end = Instant::now() - TAIL;
    let (video_sent, video_got) = (places.video_sent.take(), places.video_got.take());
    let presented = places.presented.take();
    let first = |seen: &[Sight]| {
        let first = seen.iter().find(|sight| sight.at >= joined);
        first.map_or(f64::NAN, |sight| milliseconds(joined, sight.at))
    };
    let from = video_got
        .iter()
        .find(|sight| sight.inside)
        .and_then(|first| video_sent.iter().position(|sent| sent.key == first.key))
        .unwrap_or(video_sent.len());
    let due: Vec<u64> = video_sent[from..]
        .iter()
        .filter(|sight| sight.at < end)
        .map(|sight| sight.key)
        .collect();
    let arrived: HashSet<u64> = video_got.iter().map(|sight| sight.key).collect();
    Figures {
        sent: due.len(),
        delivered: due.iter().filter(|key| arrived.contains(key)).count(),
        video: Percentiles::of(latencies(&video_sent, &video_got)),
        audio: Percentiles::of(latencies(
            &places.audio_sent.take(),
            &places.audio_got.take(),
        )),
        presented: Percentiles::of(latencies(&video_sent, &presented)),
        first_frame: first(&video_got),
        first_presented: first(&presented),
        ..Figures::default()
    }
}

fn version() -> String {
    let plugin = gst::Registry::get().find_plugin("moq");
    plugin.map_or_else(String::new, |plugin| plugin.version().to_string())
}

/// Clock ticks a second of /proc; the same on every Linux.
const TICKS: f64 = 100.0;

/// CPU seconds that this process has used.
fn own_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the process, in parentheses, may hold spaces.
    let fields = stat.rsplit_once(')').ok_or("a strange /proc/self/stat")?.1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS)
}

/// CPU seconds that the machine has been busy.
fn machine_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let times: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, then idle and iowait, then the interrupts.
    let busy: f64 = times
        .iter()
        .take(3)
        .chain(times.iter().skip(5).take(3))
        .sum();
    Ok(busy / TICKS)
}

/// MiB resident.
fn memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
        .ok_or("no VmRSS")?;
    Ok(kib / 1024.0)
}

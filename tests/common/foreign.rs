//! A publisher that is not moqsink: streams that were coded before, in any container, with any catalog.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gst::prelude::*;
use gstmoq::{
    media::{
        catalog::{Catalog, Rendition},
        container::{Encoder, Sample},
    },
    net::{
        ConnectConfig,
        publish::{Broadcast, Demand, TrackOptions, TrackWriter, drain},
        session::{Connection, Retention, Role},
        transport::parse_url,
    },
    runtime,
};

use super::{LIMIT, Pipeline};

/// Media time of running time zero: decoding may begin before that.
const ZERO_US: i64 = 1_000_000;

/// An access unit or packet.
#[derive(Debug, Clone)]
pub struct Unit {
    pub pts_us: u64,
    pub dts_us: u64,
    pub duration_us: Option<u64>,
    pub key: bool,
    pub payload: Bytes,
}

/// What an encoder made of a source that ends.
pub struct Coded {
    pub caps: gst::Caps,
    pub units: Vec<Unit>,
}

impl Coded {
    /// Runs this, up to an encoder or a parser, to its end.
    pub fn new(description: &str) -> Self {
        let pipeline = Pipeline::launch(&format!("{description} ! appsink name=sink sync=false"));
        let sink: gst_app::AppSink = pipeline.by_name("sink").downcast().expect("an appsink");
        pipeline.set(gst::State::Playing);
        let limit = gst::ClockTime::from_seconds(LIMIT.as_secs());
        let (mut caps, mut units) = (None, Vec::new());
        while let Some(sample) = sink.try_pull_sample(limit) {
            caps = sample.caps_owned().or(caps);
            units.extend(Unit::new(&sample));
        }
        assert!(sink.is_eos(), "{description}: no end");
        let caps = caps.unwrap_or_else(|| panic!("{description}: nothing came"));
        Self { caps, units }
    }

    /// A field of the caps that is a buffer.
    pub fn codec_data(&self) -> Option<Bytes> {
        let structure = self.caps.structure(0).expect("caps");
        Some(bytes_of(&structure.get::<gst::Buffer>("codec_data").ok()?))
    }

    /// The first header of the caps.
    pub fn stream_header(&self) -> Bytes {
        let structure = self.caps.structure(0).expect("caps");
        let headers = structure.get::<gst::ArrayRef>("streamheader");
        let first = headers.expect("headers").first().expect("one").get();
        bytes_of(&first.expect("a buffer"))
    }
}

fn bytes_of(buffer: &gst::Buffer) -> Bytes {
    Bytes::copy_from_slice(&buffer.map_readable().expect("readable"))
}

impl Unit {
    fn new(sample: &gst::Sample) -> Option<Self> {
        let buffer = sample.buffer_owned().expect("a buffer");
        let is_flac = sample.caps()?.structure(0)?.name() == "audio/x-flac";
        if is_flac && buffer.flags().contains(gst::BufferFlags::HEADER) {
            return None;
        }
        let segment = sample.segment().expect("a segment");
        let segment = segment.downcast_ref::<gst::ClockTime>().expect("time");
        let pts = buffer.pts().expect("a PTS");
        let running = segment.to_running_time(pts)?.useconds() as i64;
        let dts = buffer.dts().unwrap_or(pts);
        let ahead = (pts.nseconds() as i64 - dts.nseconds() as i64) / 1000;
        Some(Self {
            pts_us: (ZERO_US + running) as u64,
            dts_us: (ZERO_US + running - ahead) as u64,
            duration_us: buffer.duration().map(|duration| duration.useconds()),
            key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            payload: bytes_of(&buffer),
        })
    }
}

/// A track: its name, what the catalog says of it, and its media.
pub struct Track {
    pub name: String,
    pub rendition: Rendition,
    pub units: Vec<Unit>,
    /// Frames in each object, where the container takes several.
    pub per_object: usize,
}

/// A broadcast with its tracks, until it is dropped.
pub struct Foreign {
    pub broadcast: Broadcast,
    connection: Connection,
    catalogs: BTreeMap<String, TrackWriter>,
    demands: Vec<Demand>,
    tracks: Vec<(Track, TrackWriter)>,
    feeder: Option<JoinHandle<Vec<TrackWriter>>>,
    stopped: Arc<AtomicBool>,
}

fn options(priority: u8) -> TrackOptions {
    TrackOptions {
        priority,
        max_age: Duration::from_secs(2),
        timely: false,
    }
}

impl Foreign {
    /// Nothing is announced yet.
    pub fn new(url: &str, name: &str) -> Self {
        super::init();
        let config = ConnectConfig::new(vec![parse_url(url).expect("a URL")]);
        let connection = Connection::open(config, Role::Publisher, Retention::default());
        let broadcast = Broadcast::create(&connection, name).expect("a broadcast");
        Self {
            broadcast,
            connection,
            catalogs: BTreeMap::new(),
            demands: Vec::new(),
            tracks: Vec::new(),
            feeder: None,
            stopped: Arc::default(),
        }
    }

    /// A group of a catalog track with these frames.
    pub fn catalog(&mut self, track: &str, frames: &[&[u8]]) {
        let broadcast = &self.broadcast;
        let writer = self.catalogs.entry(track.to_owned()).or_insert_with(|| {
            let writer = broadcast.track(track, options(100));
            writer.expect("a catalog's track")
        });
        writer.start_group().expect("a group");
        for frame in frames {
            let frame = Bytes::copy_from_slice(frame);
            writer.write(0, frame).expect("written");
        }
    }

    pub fn track(&mut self, track: Track) {
        let priority = track.rendition.default_priority();
        let writer = self.broadcast.track(&track.name, options(priority));
        let writer = writer.expect("a track");
        self.demands.push(writer.demand());
        self.tracks.push((track, writer));
    }

    pub fn announce(&self) {
        self.broadcast.announce().expect("announced");
    }

    /// What a catalog has to list.
    pub fn renditions(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for (track, _) in &self.tracks {
            match track.rendition.clone() {
                Rendition::Video(video) => drop(catalog.video.insert(track.name.clone(), video)),
                Rendition::Audio(audio) => drop(catalog.audio.insert(track.name.clone(), audio)),
            }
        }
        catalog
    }

    /// Whether all tracks are subscribed.
    pub fn is_used(&self) -> bool {
        self.demands.iter().all(Demand::is_used)
    }

    /// Writes everything in its time, in the background, and ends the tracks.
    pub fn feed(&mut self) {
        let tracks = std::mem::take(&mut self.tracks);
        let connection = self.connection.clone();
        let stopped = self.stopped.clone();
        self.feeder = Some(std::thread::spawn(move || {
            let mut writers = write_in_time(tracks, &stopped);
            if stopped.load(Ordering::Relaxed) {
                return writers;
            }
            let limit = Duration::from_secs(2);
            let drained = runtime::handle().block_on(drain(&connection, &writers, limit));
            drained.expect("a connection");
            for writer in &mut writers {
                writer.finish();
            }
            writers
        }));
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
        self.broadcast.close();
    }
}

/// Objects of all tracks, each at its time, until somebody stops it.
fn write_in_time(tracks: Vec<(Track, TrackWriter)>, stopped: &AtomicBool) -> Vec<TrackWriter> {
    let (mut objects, mut writers) = (Vec::new(), Vec::new());
    for (index, (track, writer)) in tracks.into_iter().enumerate() {
        objects.extend(objects_of(&track).into_iter().map(|object| (index, object)));
        writers.push(writer);
    }
    objects.sort_by_key(|(_, object)| object.due_us);
    let begun = Instant::now();
    let first = objects.first().map_or(0, |(_, object)| object.due_us);
    for (index, object) in objects {
        let due = begun + Duration::from_micros(object.due_us - first);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let writer = &mut writers[index];
        if object.opens_group {
            writer.start_group().expect("a group");
        }
        writer.write(object.pts_us, object.bytes).expect("written");
    }
    for writer in &mut writers {
        writer.finish_group();
    }
    writers
}

struct Object {
    due_us: u64,
    pts_us: u64,
    opens_group: bool,
    bytes: Bytes,
}

/// Pictures are grouped by key frames, sound by ten objects.
fn objects_of(track: &Track) -> Vec<Object> {
    let mut encoder = Encoder::new(track.rendition.container()).expect("a container");
    let chunks = track.units.chunks(track.per_object);
    chunks
        .enumerate()
        .map(|(index, units)| {
            let mut bytes = Vec::new();
            for unit in units {
                let sample = Sample {
                    pts_us: unit.pts_us,
                    dts_us: Some(unit.dts_us),
                    duration_us: unit.duration_us,
                    key: unit.key,
                    parts: &[&unit.payload],
                };
                bytes.extend(encoder.encode(&sample).expect("an object"));
            }
            let last = units.last().expect("a chunk");
            Object {
                due_us: last.dts_us,
                pts_us: units[0].pts_us,
                opens_group: match track.rendition {
                    Rendition::Video(_) => units[0].key,
                    Rendition::Audio(_) => index % 10 == 0,
                },
                bytes: bytes.into(),
            }
        })
        .collect()
}

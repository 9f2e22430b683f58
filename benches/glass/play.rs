//! The process that plays: decodes, and reads the time from what sinks hand over by the clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gst::prelude::*;
use gst_base::prelude::*;

use crate::{
    burnt_clock::{Ear, Eye, now},
    job::{Job, Moment, Played, Stage},
    rig::{
        Result,
        job::STARTING,
        play::watch,
        process::Usage,
        publish::{connection, report, seconds, told},
        sights::{self, Seen},
    },
};

const SAMPLES: u32 = 48_000;

/// What a device has yet to play when the sink hands over more: a period of the usual length.
const PERIOD: i64 = 10_000_000;

/// A picture that is handed over later than this after it was due is late.
const LATE: i64 = 5_000_000;

/// Two buffers of sound that are further apart do not belong together.
const SEAM: i64 = 1_000_000;

/// `alignment-threshold` of GstAudioBaseSink.
const ALIGNMENT: i64 = 40_000_000;

/// Between two looks for pulses, s.
const LOOK: f64 = 2.0;

/// Nothing is held up by what waits for its time.
const QUEUE: &str = "queue max-size-buffers=0 max-size-bytes=0 max-size-time=0";
const SINK: &str = "fakesink name=sink sync=true processing-deadline=0 signal-handoffs=true";

#[derive(Clone, Default)]
struct Places {
    eye: Eye,
    ear: Ear,
    video: Seen,
    audio: Seen,
    video_stages: Arc<Mutex<Stages>>,
    audio_stages: Arc<Mutex<Stages>>,
    late: Arc<Mutex<Vec<Moment>>>,
    speaker: Arc<Mutex<Speaker>>,
}

/// When buffers passed, by their time stamps; those of sound may be other ones behind the decoder, but not by a whole packet.
#[derive(Default)]
struct Stages {
    arrived: BTreeMap<u64, i64>,
    entered: BTreeMap<u64, i64>,
    decoded: BTreeMap<u64, i64>,
    done: Vec<Stage>,
}

impl Stages {
    fn shown(&mut self, pts: u64) {
        let before = |times: &BTreeMap<u64, i64>| {
            let (pts, at) = times.range(..=pts).next_back()?;
            Some((*pts, *at))
        };
        let times = (
            before(&self.arrived),
            before(&self.entered),
            before(&self.decoded),
        );
        let (Some((first, arrived)), Some((second, entered)), Some((third, decoded))) = times
        else {
            return;
        };
        self.arrived = self.arrived.split_off(&first);
        self.entered = self.entered.split_off(&second);
        self.decoded = self.decoded.split_off(&third);
        let (at, decode) = (now(), decoded - entered);
        self.done.push(Stage {
            at,
            decode,
            wait: at - arrived - decode,
        });
    }
}

/// A device that plays what it is handed, one after the other.
#[derive(Default)]
struct Speaker {
    /// Running time at which what it has ends.
    end: Option<i64>,
    /// The same by the number of samples since it was last aligned.
    counted: Option<i64>,
    holes: Vec<Moment>,
    realigned: Vec<Moment>,
}

impl Speaker {
    fn play(&mut self, running: i64, length: i64, late: i64) {
        let at = now();
        let seam = self.end.map_or(0, |end| running - end);
        if late > PERIOD || seam.abs() > SEAM {
            let took = if late > PERIOD { late } else { seam };
            self.holes.push(Moment { at, took });
            self.counted = None;
        }
        let counted = *self.counted.get_or_insert(running);
        let off = running - counted;
        if off.abs() > ALIGNMENT {
            self.realigned.push(Moment { at, took: off });
            self.counted = Some(running);
        }
        self.counted = self.counted.map(|counted| counted + length);
        self.end = Some(running + length);
    }
}

/// Plays from the time it is told on and says at the end what was seen and heard.
pub fn run() -> Result<()> {
    let job: Job = told()?;
    gst::init()?;
    let places = Places::default();
    let pipeline = gst::Pipeline::new();
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    let source = connection("moqsrc", &job.url, &job.broadcast)?;
    if source.has_property("latency") {
        source.set_property("latency", job.latency);
    }
    pipeline.add(&source)?;
    show_each(&pipeline, &source, &places);
    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    watch(&pipeline, &bus, job.start);
    let (joined, start) = (now(), sights::now());
    pipeline.set_state(gst::State::Playing)?;
    watch(&pipeline, &bus, start + seconds(STARTING));
    let usage = Usage::begin("self")?;
    let (mut pulses, end) = (Vec::new(), start + seconds(job.seconds));
    while sights::now() < end {
        watch(&pipeline, &bus, end.min(sights::now() + seconds(LOOK)));
        pulses.extend(places.ear.drain(SAMPLES));
    }
    let cpu = usage.end()?.cpu;
    let ended = now();
    pulses.extend(places.ear.seen(SAMPLES));
    report(&played(&places, &pulses, joined, ended, cpu))
}

fn played(
    places: &Places,
    pulses: &[crate::burnt_clock::Seen],
    joined: i64,
    ended: i64,
    cpu: f64,
) -> Played {
    let moment = |seen: &crate::burnt_clock::Seen| Moment {
        at: seen.at,
        took: seen.late,
    };
    let mut speaker = lock(&places.speaker);
    Played {
        joined,
        ended,
        pictures: places.eye.seen().iter().map(moment).collect(),
        unread: places.eye.unread(),
        pulses: pulses.iter().map(moment).collect(),
        late_pictures: std::mem::take(&mut *lock(&places.late)),
        holes: std::mem::take(&mut speaker.holes),
        realigned: std::mem::take(&mut speaker.realigned),
        video: places.video.take(),
        audio: places.audio.take(),
        video_stages: std::mem::take(&mut lock(&places.video_stages).done),
        audio_stages: std::mem::take(&mut lock(&places.audio_stages).done),
        cpu,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show_each(pipeline: &gst::Pipeline, source: &gst::Element, places: &Places) {
    let (weak, places) = (pipeline.downgrade(), places.clone());
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else {
            return;
        };
        let shown = if pad.name().starts_with("video") {
            show(&pipeline, pad, &places)
        } else {
            sound(&pipeline, pad, &places)
        };
        if let Err(err) = shown {
            gst::element_error!(pipeline, gst::CoreError::Pad, ["{err}"]);
        }
    });
}

fn show(pipeline: &gst::Pipeline, pad: &gst::Pad, places: &Places) -> Result<()> {
    places.video.record(pad);
    let stages = places.video_stages.clone();
    let (eye, late) = (places.eye.clone(), places.late.clone());
    let branch = format!(
        "{QUEUE} ! {} ! h264parse ! avdec_h264 name=decoder thread-type=slice ! videoconvert ! video/x-raw,format=GRAY8 ! {SINK}",
        mended(
            pad,
            "stream-format",
            "video/x-h264,stream-format=byte-stream,alignment=au"
        )
    );
    play(pipeline, pad, &branch, &stages, move |sink, buffer| {
        let at = now();
        if let Ok(picture) = buffer.map_readable() {
            eye.look(at, &picture, 1280);
        }
        match due(sink, buffer) {
            Some((_, took)) if took > LATE => lock(&late).push(Moment { at, took }),
            _ => {}
        }
    })
}

fn sound(pipeline: &gst::Pipeline, pad: &gst::Pad, places: &Places) -> Result<()> {
    places.audio.record(pad);
    let stages = places.audio_stages.clone();
    let (ear, speaker) = (places.ear.clone(), places.speaker.clone());
    let branch = format!(
        "{QUEUE} ! {} ! opusdec name=decoder ! audioconvert ! audioresample ! \
         audio/x-raw,format=F32LE,rate={SAMPLES},channels=2 ! {SINK}",
        mended(
            pad,
            "channel-mapping-family",
            "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0"
        )
    );
    play(pipeline, pad, &branch, &stages, move |sink, buffer| {
        let at = now();
        let timing = due(sink, buffer);
        let Ok(samples) = buffer.map_readable() else {
            return;
        };
        if let Some((running, late)) = timing {
            let frames = samples.len() as i64 / 8;
            let length = frames * 1_000_000_000 / i64::from(SAMPLES);
            lock(&speaker).play(running, length, late);
        }
        ear.listen(at, &samples, 2);
    })
}

/// What takes the place of a pad's caps that decoders do not understand, those of another plugin (peer-lessons row 4): they
/// lack a field that ours have from the beginning.
fn mended(pad: &gst::Pad, field: &str, caps: &str) -> String {
    let caps_of = pad.current_caps();
    let known = caps_of.and_then(|caps| Some(caps.structure(0)?.has_field(field)));
    match known {
        Some(true) => "identity silent=true".to_owned(),
        _ => format!("capssetter replace=true caps={caps}"),
    }
}

/// Decodes, and calls `with` for each buffer when the sink hands it over.
fn play(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    branch: &str,
    stages: &Arc<Mutex<Stages>>,
    with: impl Fn(&gst_base::BaseSink, &gst::Buffer) + Send + Sync + 'static,
) -> Result<()> {
    let bin = gst::parse::bin_from_description(branch, true)?;
    let decoder = bin.by_name("decoder").ok_or("it is in the branch")?;
    let sink = bin.by_name("sink").ok_or("it is in the branch")?;
    let entered = decoder.static_pad("sink").ok_or("it has a pad")?;
    let decoded = decoder.static_pad("src").ok_or("it has a pad")?;
    note(pad, stages, |stages, pts, at| {
        stages.arrived.insert(pts, at);
    });
    note(&entered, stages, |stages, pts, at| {
        stages.entered.insert(pts, at);
    });
    note(&decoded, stages, |stages, pts, at| {
        stages.decoded.insert(pts, at);
    });
    let stages = stages.clone();
    sink.connect("handoff", false, move |values| {
        let sink = values[0].get::<gst_base::BaseSink>().ok()?;
        let buffer = values[1].get::<gst::Buffer>().ok()?;
        if let Some(pts) = buffer.pts() {
            lock(&stages).shown(pts.nseconds());
        }
        with(&sink, &buffer);
        None
    });
    pipeline.add(&bin)?;
    bin.sync_state_with_parent()?;
    let parent = pad.parent_element().ok_or("a pad of moqsrc")?;
    if parent.has_property("latency") {
        // The pipeline asks a sink for its latency when that has had its first buffer: too late for this one.
        let latency = gst::ClockTime::from_mseconds(parent.property::<u32>("latency").into());
        sink.send_event(gst::event::Latency::new(latency));
    }
    pad.link(&bin.static_pad("sink").ok_or("it has a pad")?)?;
    Ok(())
}

/// Tells of each buffer that passes.
fn note(pad: &gst::Pad, stages: &Arc<Mutex<Stages>>, take: fn(&mut Stages, u64, i64)) {
    let stages = stages.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) {
            take(&mut lock(&stages), pts.nseconds(), now());
        }
        gst::PadProbeReturn::Ok
    });
}

/// Running time of a buffer that is handed over now, and how long ago it was due, ns.
fn due(sink: &gst_base::BaseSink, buffer: &gst::BufferRef) -> Option<(i64, i64)> {
    let segment = sink
        .static_pad("sink")?
        .sticky_event::<gst::event::Segment>(0)?;
    let segment = segment.segment().downcast_ref::<gst::ClockTime>()?;
    let running = segment.to_running_time(buffer.pts())?;
    let due = sink.base_time()? + running + sink.latency();
    let late = sink.clock()?.time().nseconds() as i64 - due.nseconds() as i64;
    Some((running.nseconds() as i64, late))
}

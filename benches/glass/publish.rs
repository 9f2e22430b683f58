//! The process that publishes: a picture and a sound that carry the time, made and encoded live.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use gst::{glib, prelude::*};

use crate::{
    burnt_clock::{Burner, now},
    job::{Job, Moment, Published},
    rig::{
        Result,
        job::STARTING,
        play::watch,
        process::Usage,
        publish::{connection, report, seconds, told, version},
        sights::Seen,
    },
};

/// What a microphone gives at once, in samples, and for how long that lasts.
const CHUNK: u32 = 480;
const CHUNK_LASTS: gst::ClockTime = gst::ClockTime::from_mseconds(10);

/// Publishes until its end; says when it began on the first line, ns on the machine's monotonic clock.
pub fn run() -> Result<()> {
    let job: Job = told()?;
    gst::init()?;
    let pipeline = pipeline(&job)?;
    let burner = Arc::new(Burner::skewed(job.ppm));
    burner.paint(&source_pad(&pipeline, "picture")?);
    let sound = source_pad(&pipeline, "sound")?;
    burner.sound(&sound);
    keep(&sound);
    let [video, audio] = ["video", "audio"].map(|name| {
        let pad = source_pad(&pipeline, name)?;
        let seen = Seen::default();
        seen.record(&pad);
        Ok::<_, crate::rig::Error>((seen, encoded(&pad, &burner)))
    });
    let ((video, video_encoded), (audio, audio_encoded)) = (video?, audio?);

    pipeline.use_clock(Some(&clock(job.ppm)));
    pipeline.set_state(gst::State::Playing)?;
    let start = pipeline.base_time().ok_or("it does not play")?.nseconds();
    println!("{start}");
    std::io::stdout().flush()?;
    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    watch(&pipeline, &bus, start + seconds(STARTING));
    let usage = Usage::begin("self")?;
    watch(&pipeline, &bus, start + seconds(job.seconds));
    let cpu = usage.end()?.cpu;
    let take = |moments: &Arc<Mutex<Vec<Moment>>>| {
        std::mem::take(&mut *moments.lock().unwrap_or_else(PoisonError::into_inner))
    };
    report(&Published {
        version: version(),
        video: video.take(),
        audio: audio.take(),
        video_encoded: take(&video_encoded),
        audio_encoded: take(&audio_encoded),
        cpu,
    })
}

fn pipeline(job: &Job) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc name=picture is-live=true pattern=smpte horizontal-speed=4 ! \
         video/x-raw,format=I420,width=1280,height=720,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast bitrate={} key-int-max=30 ! h264parse config-interval=-1 ! \
         capsfilter name=video caps=video/x-h264,stream-format=byte-stream,alignment=au \
         audiotestsrc name=sound is-live=true wave=pink-noise volume=0.01 samplesperbuffer={CHUNK} ! \
         audio/x-raw,format=F32LE,rate=48000,channels=2 ! audioconvert ! opusenc name=audio audio-type=restricted-lowdelay bitrate=96000 frame-size={}",
        job.bitrate, job.packet
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "not a pipeline")?;
    let sink = connection("moqsink", &job.url, &job.broadcast)?;
    pipeline.add(&sink)?;
    for name in ["video", "audio"] {
        let pad = sink.request_pad_simple("sink_%u");
        source_pad(&pipeline, name)?.link(&pad.ok_or("moqsink has no sink_%u")?)?;
    }
    Ok(pipeline)
}

fn source_pad(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Pad> {
    let element = pipeline.by_name(name).ok_or("it is in the pipeline")?;
    Ok(element.static_pad("src").ok_or("it has a pad")?)
}

/// Of the pipeline: the system's, fast by so much.
fn clock(ppm: i64) -> gst::Clock {
    let clock = glib::Object::builder::<gst::SystemClock>()
        .property("name", "publisher")
        .build();
    let now = clock.time();
    let fast = 1_000_000_u64.saturating_add_signed(ppm);
    clock.set_calibration(now, now, fast, 1_000_000);
    clock.upcast()
}

/// A microphone gives its samples when it has them all; audiotestsrc gives them at the time of the first, so they are kept back.
fn keep(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        let due = || {
            let element = pad.parent_element()?;
            let segment = pad.sticky_event::<gst::event::Segment>(0)?;
            let segment = segment.segment().downcast_ref::<gst::ClockTime>()?;
            let running = segment.to_running_time(info.buffer()?.pts())?;
            let complete = element.base_time()? + running + CHUNK_LASTS;
            Some(element.clock()?.new_single_shot_id(complete))
        };
        if let Some(due) = due() {
            let _ = due.wait();
        }
        gst::PadProbeReturn::Ok
    });
}

/// How long after its capture each buffer passes.
fn encoded(pad: &gst::Pad, burner: &Arc<Burner>) -> Arc<Mutex<Vec<Moment>>> {
    let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
    let (burner, added) = (burner.clone(), moments.clone());
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let captured = info.buffer().and_then(|buffer| burner.wall(pad, buffer));
        if let Some(captured) = captured {
            let at = now();
            let took = at - captured;
            let mut added = added.lock().unwrap_or_else(PoisonError::into_inner);
            added.push(Moment { at, took });
        }
        gst::PadProbeReturn::Ok
    });
    moments
}

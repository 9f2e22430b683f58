//! The process that plays: whatever comes goes to sinks that present by the clock.

use std::time::Duration;

use gst::prelude::*;

use super::{
    Result, adts, fail,
    job::{Job, STARTING, Transport},
    process::{Usage, memory},
    publish::{connection, read_job, report, seconds},
    sights::{Played, Seen, Soaked, now},
};

/// Where payloads are seen.
#[derive(Clone, Default)]
struct Places {
    video: Seen,
    audio: Seen,
    presented: Seen,
}

impl Places {
    fn nothing() -> Self {
        Self {
            video: Seen::nothing(),
            audio: Seen::nothing(),
            presented: Seen::nothing(),
        }
    }
}

/// Plays from the time it is told on and says at the end what it saw.
pub fn run() -> Result<()> {
    let job = read_job()?;
    gst::init()?;
    let places = Places::default();
    let pipeline = gst::Pipeline::new();
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    match &job.transport {
        Transport::Moq { broadcast } => moq(&pipeline, &job, broadcast, &places)?,
        Transport::Srt { latency } => srt(&pipeline, &job, *latency, &places)?,
        Transport::Rtp { latency } => rtp(&pipeline, &job, *latency, &places)?,
        Transport::None => return Err("there is nothing to play".into()),
    }
    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    watch(&pipeline, &bus, job.start + seconds(job.joins_at()));
    let joined = now();
    pipeline.set_state(gst::State::Playing)?;
    watch(&pipeline, &bus, joined + seconds(STARTING));
    let usage = Usage::begin("self")?;
    watch(&pipeline, &bus, job.start + seconds(job.ends_at()));
    let usage = usage.end()?;
    report(&Played {
        joined,
        ended: now(),
        video: places.video.take(),
        audio: places.audio.take(),
        presented: places.presented.take(),
        cpu: usage.cpu,
        wakeups: usage.wakeups,
        memory: memory("self")?,
    })
}

/// Plays all the time, and joins a second time every so often, until its end.
pub fn soak() -> Result<()> {
    let job = read_job()?;
    let every = job.soak.ok_or("how often to join")?;
    let Transport::Moq { broadcast } = &job.transport else {
        return Err("a soak is of moqsrc".into());
    };
    gst::init()?;
    let end = job.start + seconds(job.ends_at());
    let player = || -> Result<_> {
        let pipeline = gst::Pipeline::new();
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        moq(&pipeline, &job, broadcast, &Places::nothing())?;
        let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
        pipeline.set_state(gst::State::Playing)?;
        Ok((pipeline, bus))
    };
    let (steady, steady_bus) = player()?;
    let mut joins = 0;
    while now() + seconds(every) < end {
        let (pipeline, bus) = player()?;
        watch(&pipeline, &bus, now() + seconds(every));
        pipeline.set_state(gst::State::Null)?;
        watch(&steady, &steady_bus, now());
        joins += 1;
    }
    watch(&steady, &steady_bus, end);
    report(&Soaked { joins })
}

fn moq(pipeline: &gst::Pipeline, job: &Job, broadcast: &str, places: &Places) -> Result<()> {
    let source = connection("moqsrc", &job.address, broadcast)?;
    if source.has_property("latency") {
        source.set_property("latency", job.latency);
    }
    pipeline.add(&source)?;
    show_each(pipeline, &source, places);
    Ok(())
}

fn srt(pipeline: &gst::Pipeline, job: &Job, latency: u32, places: &Places) -> Result<()> {
    let source = gst::ElementFactory::make("srtsrc")
        .property("uri", format!("srt://{}?mode=caller", job.address))
        .property("latency", i32::try_from(latency)?)
        .property("do-timestamp", true)
        .build()?;
    // What it adds itself by default for a jitter that SRT has taken out already.
    let demuxer = gst::ElementFactory::make("tsdemux")
        .property("latency", 0i32)
        .build()?;
    pipeline.add_many([&source, &demuxer])?;
    source.link(&demuxer)?;
    show_parsed(pipeline, &demuxer, places);
    Ok(())
}

fn rtp(pipeline: &gst::Pipeline, job: &Job, latency: u32, places: &Places) -> Result<()> {
    let (_, port) = job.address.rsplit_once(':').ok_or("HOST:PORT")?;
    let source = gst::ElementFactory::make("udpsrc")
        .property("address", "127.0.0.1")
        .property("port", port.parse::<i32>()?)
        .property("caps", "application/x-rtp".parse::<gst::Caps>()?)
        .build()?;
    let bin = gst::ElementFactory::make("rtpbin")
        .property("latency", latency)
        .build()?;
    bin.connect("request-pt-map", false, |values| {
        let caps = match values[2].get::<u32>() {
            Ok(96) => "application/x-rtp,media=video,clock-rate=90000,encoding-name=H264",
            _ => "application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS",
        };
        caps.parse::<gst::Caps>().ok().map(|caps| caps.to_value())
    });
    pipeline.add_many([&source, &bin])?;
    source.link_pads(Some("src"), &bin, Some("recv_rtp_sink_0"))?;
    let (weak, places) = (pipeline.downgrade(), places.clone());
    bin.connect_pad_added(move |_, pad| {
        let name = pad.name();
        if pad.direction() != gst::PadDirection::Src || !name.starts_with("recv_rtp_src") {
            return;
        }
        let is_video = name.ends_with("_96");
        let depayloader = if is_video {
            "rtph264depay ! capsfilter caps=video/x-h264,stream-format=byte-stream,alignment=au"
        } else {
            "rtpopusdepay"
        };
        extend(&weak, pad, depayloader, is_video, &places);
    });
    Ok(())
}

/// Shows each pad that comes as it is.
fn show_each(pipeline: &gst::Pipeline, source: &gst::Element, places: &Places) {
    let (weak, places) = (pipeline.downgrade(), places.clone());
    source.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else {
            return;
        };
        let is_video = pad.name().starts_with("video");
        if let Err(err) = show_pad(&pipeline, pad, is_video, &places) {
            gst::element_error!(pipeline, gst::CoreError::Pad, ["{err}"]);
        }
    });
}

fn show_parsed(pipeline: &gst::Pipeline, demuxer: &gst::Element, places: &Places) {
    let (weak, places) = (pipeline.downgrade(), places.clone());
    demuxer.connect_pad_added(move |_, pad| {
        let is_video = pad.name().starts_with("video");
        let parser = if is_video {
            "h264parse ! capsfilter caps=video/x-h264,stream-format=byte-stream,alignment=au"
        } else {
            adts::unwrap(pad);
            "identity"
        };
        extend(&weak, pad, parser, is_video, &places);
    });
}

/// Shows a pad behind further elements.
fn extend(
    pipeline: &gst::glib::WeakRef<gst::Pipeline>,
    pad: &gst::Pad,
    description: &str,
    is_video: bool,
    places: &Places,
) {
    let Some(pipeline) = pipeline.upgrade() else {
        return;
    };
    let behind = || -> Result<()> {
        let bin = gst::parse::bin_from_description(description, true)?;
        pipeline.add(&bin)?;
        bin.sync_state_with_parent()?;
        let (from, to) = (bin.static_pad("src"), bin.static_pad("sink"));
        show_pad(&pipeline, &from.ok_or("no src")?, is_video, places)?;
        pad.link(&to.ok_or("no sink")?)?;
        Ok(())
    };
    if let Err(err) = behind() {
        gst::element_error!(pipeline, gst::CoreError::Pad, ["{err}"]);
    }
}

fn show_pad(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    is_video: bool,
    places: &Places,
) -> Result<()> {
    let got = if is_video {
        &places.video
    } else {
        &places.audio
    };
    show(pipeline, pad, is_video, got, &places.presented)
}

/// A sink that presents by the clock, behind a queue, so that what leaves the pad does not wait for it.
pub fn show(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    is_video: bool,
    got: &Seen,
    presented: &Seen,
) -> Result<()> {
    let queue = gst::ElementFactory::make("queue")
        .property("max-size-buffers", 0u32)
        .property("max-size-bytes", 0u32)
        .property("max-size-time", 0u64)
        .build()?;
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", true)
        .property("processing-deadline", 0u64)
        .property("signal-handoffs", is_video)
        .build()?;
    if is_video {
        let presented = presented.clone();
        sink.connect("handoff", false, move |values| {
            if let Ok(buffer) = values[1].get::<gst::Buffer>() {
                presented.add(&buffer, true);
            }
            None
        });
    }
    got.record(pad);
    pipeline.add_many([&queue, &sink])?;
    queue.link(&sink)?;
    sink.sync_state_with_parent()?;
    queue.sync_state_with_parent()?;
    pad.link(&queue.static_pad("sink").ok_or("queue has a pad")?)?;
    Ok(())
}

/// Serves the bus until then, ns on the machine's monotonic clock. An error of the pipeline ends the process.
pub fn watch(pipeline: &gst::Pipeline, bus: &gst::Bus, until: u64) {
    loop {
        let left = until.saturating_sub(now());
        let message = bus.timed_pop(gst::ClockTime::from_nseconds(left));
        match message.as_deref().map(gst::MessageRef::view) {
            Some(gst::MessageView::Latency(_)) => {
                let _ = pipeline.recalculate_latency();
            }
            Some(gst::MessageView::Error(err)) => {
                let debug = err.debug().unwrap_or_default();
                fail(&format!("{} ({debug})", err.error()));
            }
            Some(_) => {}
            None if now() >= until => return,
            // Woken early: the clocks round differently.
            None => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

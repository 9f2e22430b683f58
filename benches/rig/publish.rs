//! The process that publishes: sends the stream at its pace from memory.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use gst::prelude::*;

use super::{
    Result, adts, fail,
    job::{Job, STARTING, Transport},
    play::{show, watch},
    process::{Usage, memory},
    sights::{Published, Seen, now},
    stream::{Kind, Packet, Saved},
};

/// Before the first packet, s: what it takes to set up the pipeline.
const LEAD: f64 = 0.1;

/// Publishes until the player's end, says when it began on the first line, and what it saw on the last.
pub fn run() -> Result<()> {
    let job = read_job()?;
    gst::init()?;
    let stream = Saved::open(&job.stream)?;
    let see = match job.soak {
        Some(_) => Seen::nothing,
        None => Seen::default,
    };
    let (video, audio, presented) = (see(), see(), Seen::default());
    let pipeline = gst::Pipeline::new();
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    let sources = [source(&stream.video_caps)?, source(&stream.audio_caps)?];
    for (source, seen) in sources.iter().zip([&video, &audio]) {
        pipeline.add(source)?;
        seen.record(&out_of(source)?);
    }
    match &job.transport {
        Transport::Moq { broadcast } => moq(&pipeline, &sources, &job, broadcast)?,
        Transport::Srt { latency } => srt(&pipeline, &sources, &job, *latency)?,
        Transport::Rtp { .. } => rtp(&pipeline, &sources, &job)?,
        Transport::None => {
            let places = [
                (true, Seen::default(), presented),
                (false, Seen::default(), Seen::default()),
            ];
            for (source, (is_video, got, presented)) in sources.iter().zip(places) {
                show(&pipeline, &out_of(source)?, is_video, &got, &presented)?;
            }
        }
    }
    pipeline.set_state(gst::State::Playing)?;
    let start = now() + seconds(LEAD);
    println!("{start}");
    std::io::stdout().flush()?;
    std::thread::spawn(move || send(&sources, stream, job.soak.is_some(), start));

    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    watch(&pipeline, &bus, start + seconds(job.joins_at() + STARTING));
    let usage = Usage::begin("self")?;
    watch(&pipeline, &bus, start + seconds(job.ends_at()));
    let usage = usage.end()?;
    report(&Published {
        version: version(),
        video: video.take(),
        audio: audio.take(),
        cpu: usage.cpu,
        machine: usage.machine,
        memory: memory("self")?,
        wakeups: usage.wakeups,
    })
}

pub fn read_job() -> Result<Job> {
    told()
}

/// What this process was told to do, on its stdin.
pub fn told<J: serde::de::DeserializeOwned>() -> Result<J> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// The last thing that a process does: stopping is not what is measured, and a plugin may take its time.
pub fn report(what: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string(what)?;
    text.push('\n');
    let mut stdout = std::io::stdout();
    // A plugin may have written half a line.
    stdout.write_all(b"\n")?;
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    std::process::exit(0)
}

/// s in ns
pub fn seconds(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_nanos() as u64
}

/// One that dials. Relays are named with their transport, and `https` is WebTransport, which moq-gst has no choice about.
pub fn connection(element: &str, url: &str, broadcast: &str) -> Result<gst::Element> {
    let element = gst::ElementFactory::make(element)
        .property("url", url)
        .property("broadcast", broadcast)
        .property("tls-disable-verify", true)
        .build()?;
    if url.starts_with("http") && element.has_property("transport") {
        element.set_property_from_str("transport", "webtransport");
    }
    Ok(element)
}

fn source(caps: &str) -> Result<gst_app::AppSrc> {
    Ok(gst_app::AppSrc::builder()
        .caps(&caps.parse::<gst::Caps>()?)
        .format(gst::Format::Time)
        .is_live(true)
        .build())
}

fn out_of(source: &gst_app::AppSrc) -> Result<gst::Pad> {
    Ok(source.static_pad("src").ok_or("appsrc has a pad")?)
}

fn moq(
    pipeline: &gst::Pipeline,
    sources: &[gst_app::AppSrc; 2],
    job: &Job,
    broadcast: &str,
) -> Result<()> {
    let sink = connection("moqsink", &job.address, broadcast)?;
    pipeline.add(&sink)?;
    for source in sources {
        let pad = sink.request_pad_simple("sink_%u");
        out_of(source)?.link(&pad.ok_or("moqsink has no sink_%u")?)?;
    }
    Ok(())
}

fn srt(
    pipeline: &gst::Pipeline,
    sources: &[gst_app::AppSrc; 2],
    job: &Job,
    latency: u32,
) -> Result<()> {
    let muxer = gst::ElementFactory::make("mpegtsmux")
        .property("alignment", 7i32)
        .build()?;
    let sink = gst::ElementFactory::make("srtsink")
        .property("uri", format!("srt://{}?mode=listener", job.address))
        .property("latency", i32::try_from(latency)?)
        .property("wait-for-connection", false)
        .property("sync", false)
        .build()?;
    pipeline.add_many([&muxer, &sink])?;
    muxer.link(&sink)?;
    let [video, audio] = sources;
    let parser = gst::parse::bin_from_description("h264parse config-interval=-1", true)?;
    pipeline.add(&parser)?;
    gst::Element::link_many([video.upcast_ref(), parser.upcast_ref(), &muxer])?;
    let wrapper = gst::ElementFactory::make("identity").build()?;
    pipeline.add(&wrapper)?;
    adts::wrap(&wrapper.static_pad("src").ok_or("identity has a pad")?)?;
    gst::Element::link_many([audio.upcast_ref(), &wrapper, &muxer])?;
    Ok(())
}

fn rtp(pipeline: &gst::Pipeline, sources: &[gst_app::AppSrc; 2], job: &Job) -> Result<()> {
    let (host, port) = job.address.rsplit_once(':').ok_or("HOST:PORT")?;
    let funnel = gst::ElementFactory::make("funnel").build()?;
    let sink = gst::ElementFactory::make("udpsink")
        .property("host", host)
        .property("port", port.parse::<i32>()?)
        .property("sync", false)
        .property("async", false)
        .build()?;
    pipeline.add_many([&funnel, &sink])?;
    funnel.link(&sink)?;
    let payloaders = [
        "rtph264pay pt=96 mtu=1200 config-interval=-1 aggregate-mode=zero-latency",
        "rtpopuspay pt=97",
    ];
    for (source, payloader) in sources.iter().zip(payloaders) {
        let payloader = gst::parse::bin_from_description(payloader, true)?;
        pipeline.add(&payloader)?;
        gst::Element::link_many([source.upcast_ref(), payloader.upcast_ref(), &funnel])?;
    }
    Ok(())
}

/// Sends each packet at its time; all of them over and over if it `repeats`.
fn send(sources: &[gst_app::AppSrc; 2], mut stream: Saved, repeats: bool, start: u64) {
    let (mut offset, mut end) = (0, 0);
    loop {
        match stream.next() {
            Ok(Some(mut packet)) => {
                packet.pts += offset;
                end = end.max(packet.pts + packet.duration);
                let due = (start + packet.pts).saturating_sub(now());
                std::thread::sleep(Duration::from_nanos(due));
                let source = &sources[usize::from(packet.kind == Kind::Audio)];
                if source.push_buffer(buffer_of(packet)).is_err() {
                    return;
                }
            }
            Ok(None) if repeats && stream.rewind().is_ok() => offset = end,
            Ok(None) => return,
            Err(err) => fail(&format!("the stream cannot be read: {err}")),
        }
    }
}

fn buffer_of(packet: Packet) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(packet.payload);
    let writable = buffer.get_mut().expect("a new buffer has one owner");
    writable.set_pts(gst::ClockTime::from_nseconds(packet.pts));
    writable.set_dts(gst::ClockTime::from_nseconds(packet.pts));
    writable.set_duration(gst::ClockTime::from_nseconds(packet.duration));
    if !packet.key {
        writable.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    buffer
}

/// Of the plugin that is loaded.
pub fn version() -> String {
    let plugin = gst::Registry::get().find_plugin("moq");
    plugin.map_or_else(String::new, |plugin| plugin.version().to_string())
}

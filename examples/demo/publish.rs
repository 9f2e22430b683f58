//! The publishing pipeline: a test picture, a file or a camera, encoded and given to moqsink.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use gst::prelude::*;

use crate::{
    burnt_clock::Burner,
    measure::Kind,
    pipelines::{Probe, Problem, Side, describe, launch, need, one_line, set_state},
};

pub const BROADCAST: &str = "demo.hang";

/// How long a file may take until it is known what is in it, and until its first frames are coded.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Test,
    File(PathBuf),
    Camera,
}

const TEST_VIDEO: &str = "videotestsrc name=picture is-live=true pattern=smpte ! \
     video/x-raw,format=I420,width=1280,height=720,framerate=30/1 ! \
     timeoverlay time-mode=running-time text=Sent halignment=center valignment=center font-desc=\"Sans Bold 36\" ! \
     clockoverlay time-format=%H:%M:%S halignment=right valignment=top font-desc=\"Sans 16\" shaded-background=true ! \
     queue max-size-buffers=2 leaky=downstream";
// Float samples, so that the converter's dither makes every packet different: packets are matched by payload.
const TEST_AUDIO: &str = "audiotestsrc name=sound is-live=true wave=silence samplesperbuffer=480 ! \
     audio/x-raw,format=F32LE,rate=48000,channels=2";
const CONVERT_VIDEO: &str = "videoconvert ! videoscale ! \
     video/x-raw,format=I420,width=[16,1280],height=[16,720],pixel-aspect-ratio=1/1";
const CONVERT_AUDIO: &str =
    "audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate=48000,channels=2";
const ENCODE_VIDEO: &str = "x264enc tune=zerolatency speed-preset=superfast bitrate=3000 key-int-max=60 ! h264parse ! sink.video_0";
const ENCODE_AUDIO: &str = "opusenc frame-size=20 ! sink.audio_0";

/// Builds the pipeline, with probes on the pads of moqsink.
pub fn pipeline(input: &Input, url: &str, probe: &Arc<Probe>) -> Result<gst::Pipeline, Problem> {
    need(&[
        "x264enc",
        "h264parse",
        "opusenc",
        "videoconvert",
        "videoscale",
        "audioconvert",
        "audioresample",
    ])?;
    let sink = format!("moqsink name=sink url={url} broadcast={BROADCAST}");
    let pipeline = match input {
        Input::Test => {
            need(&[
                "videotestsrc",
                "audiotestsrc",
                "timeoverlay",
                "clockoverlay",
            ])?;
            launch(&format!(
                "{sink} {TEST_VIDEO} ! {ENCODE_VIDEO} {TEST_AUDIO} ! {CONVERT_AUDIO} ! {ENCODE_AUDIO}"
            ))?
        }
        Input::File(path) => file(&sink, path)?,
        Input::Camera => camera(&sink)?,
    };
    pipeline.set_property("name", "publisher");
    burn(&pipeline);
    let paced = matches!(input, Input::File(_));
    let sink = pipeline.by_name("sink").ok_or("moqsink is not there")?;
    for pad in sink.sink_pads() {
        let kind = if pad.name().starts_with("video") {
            Kind::Video
        } else {
            Kind::Audio
        };
        probe.watch(&pad, kind, Side::Publisher { paced });
    }
    probe.timebase.rule(&pipeline);
    Ok(pipeline)
}

/// Burns the clock into what the test sources of this pipeline make: a code into the picture, a tick into each second's sound.
fn burn(pipeline: &gst::Pipeline) {
    let burner = Arc::new(Burner::default());
    let pad = |name| pipeline.by_name(name)?.static_pad("src");
    if let Some(pad) = pad("picture") {
        burner.paint(&pad);
    }
    if let Some(pad) = pad("sound") {
        burner.sound(&pad);
    }
}

/// Goes to PAUSED; a file has its first frames coded then, so that none of them is late.
pub fn preroll(pipeline: &gst::Pipeline) -> Result<(), Problem> {
    if set_state(pipeline, gst::State::Paused)? != gst::StateChangeSuccess::Async {
        return Ok(());
    }
    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    let types = [gst::MessageType::AsyncDone, gst::MessageType::Error];
    match bus.timed_pop_filtered(gst::ClockTime::try_from(OPEN_LIMIT).ok(), &types) {
        Some(message) => match message.view() {
            gst::MessageView::Error(err) => Err(describe(err)),
            _ => Ok(()),
        },
        None => Err("nothing to publish comes out of the input".into()),
    }
}

fn file(sink: &str, path: &PathBuf) -> Result<gst::Pipeline, Problem> {
    need(&["uridecodebin"])?;
    let shown = path.display();
    if !path.is_file() {
        return Err(format!("there is no file {shown}"));
    }
    let uri = gst::glib::filename_to_uri(
        std::path::absolute(path).map_err(|err| format!("{shown}: {err}"))?,
        None,
    )
    .map_err(|err| format!("{shown}: {}", err.message()))?;
    let (video, audio) = content(&uri).map_err(|problem| format!("{shown}: {problem}"))?;
    let mut description = format!("{sink} uridecodebin name=file");
    if video {
        description += &format!(" file. ! queue ! {CONVERT_VIDEO} ! {ENCODE_VIDEO}");
    }
    if audio {
        description += &format!(" file. ! queue ! {CONVERT_AUDIO} ! {ENCODE_AUDIO}");
    }
    if !video && !audio {
        return Err(format!(
            "{shown}: neither video nor audio is in it that GStreamer can decode"
        ));
    }
    let pipeline = launch(&description)?;
    let file = pipeline
        .by_name("file")
        .ok_or("uridecodebin is not there")?;
    file.set_property("uri", uri.as_str());
    Ok(pipeline)
}

/// Whether there is video, and audio: pads of moqsink are requested before it starts, so that its catalog is whole at once.
fn content(uri: &str) -> Result<(bool, bool), Problem> {
    enum Found {
        Pad(String),
        All,
    }
    let source = gst::ElementFactory::make("uridecodebin")
        .property("uri", uri)
        .build()
        .map_err(|err| err.to_string())?;
    let pipeline = gst::Pipeline::new();
    pipeline.add(&source).map_err(|err| err.to_string())?;
    let (found, events) = mpsc::channel();
    let tell = found.clone();
    let weak = pipeline.downgrade();
    source.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map(|s| s.name().to_string());
        let _ = tell.send(Found::Pad(name.unwrap_or_default()));
        // Something has to take the data, or the demuxer gives up.
        let sink = gst::ElementFactory::make("fakesink")
            .property("async", false)
            .build();
        if let (Some(pipeline), Ok(sink)) = (weak.upgrade(), sink)
            && pipeline.add(&sink).is_ok()
            && let Some(target) = sink.static_pad("sink")
        {
            let _ = sink.sync_state_with_parent();
            let _ = pad.link(&target);
        }
    });
    source.connect_no_more_pads(move |_| {
        let _ = found.send(Found::All);
    });
    let opened = set_state(&pipeline, gst::State::Paused).and_then(|_| {
        let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
        let types = [gst::MessageType::AsyncDone, gst::MessageType::Error];
        let mut kinds = (false, false);
        let end = Instant::now() + OPEN_LIMIT;
        while Instant::now() < end {
            let step = gst::ClockTime::from_mseconds(20);
            if let Some(message) = bus.timed_pop_filtered(step, &types)
                && let gst::MessageView::Error(err) = message.view()
            {
                return Err(describe(err));
            }
            for event in events.try_iter() {
                match event {
                    Found::All => return Ok(kinds),
                    Found::Pad(name) => {
                        kinds.0 |= name.starts_with("video/x-raw");
                        kinds.1 |= name.starts_with("audio/x-raw");
                    }
                }
            }
        }
        Err("it is not clear what is in it".into())
    });
    let _ = pipeline.set_state(gst::State::Null);
    opened
}

fn camera(sink: &str) -> Result<gst::Pipeline, Problem> {
    let camera = device("Video/Source")
        .ok_or("there is no camera: connect one, or leave out --camera")?
        .create_element(Some("camera"))
        .map_err(|err| format!("the camera cannot be used: {}", one_line(&err.message)))?;
    let microphone =
        device("Audio/Source").and_then(|device| device.create_element(Some("microphone")).ok());
    let audio = match microphone {
        Some(_) => "queue name=to-audio".to_owned(),
        None => {
            need(&["audiotestsrc"])?;
            TEST_AUDIO.to_owned()
        }
    };
    let pipeline = launch(&format!(
        "{sink} queue name=to-video max-size-buffers=2 leaky=downstream ! {CONVERT_VIDEO} ! {ENCODE_VIDEO} \
         {audio} ! {CONVERT_AUDIO} ! {ENCODE_AUDIO}"
    ))?;
    let sources = [(Some(camera), "to-video"), (microphone, "to-audio")];
    for (source, to) in sources {
        let (Some(source), Some(to)) = (source, pipeline.by_name(to)) else {
            continue;
        };
        pipeline.add(&source).map_err(|err| err.to_string())?;
        source
            .link(&to)
            .map_err(|_| format!("{} gives nothing that can be converted", source.name()))?;
    }
    Ok(pipeline)
}

/// The first device of this class that is not the sound of a loudspeaker.
fn device(class: &str) -> Option<gst::Device> {
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some(class), None)?;
    monitor.start().ok()?;
    let devices = monitor.devices();
    monitor.stop();
    devices.into_iter().find(|device| {
        let class = device
            .properties()
            .and_then(|p| p.get::<String>("device.class").ok());
        class.as_deref() != Some("monitor")
    })
}

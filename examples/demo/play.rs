//! The playing pipeline: moqsrc, a decoder for each track, and windows or clock-synchronised sinks without a display.

use std::{env, path::Path, sync::Arc};

use gst::prelude::*;

use crate::{
    measure::Kind,
    pipelines::{Probe, Problem, Side, describe, launch, need, set_state},
    publish::BROADCAST,
};

/// Tried in this order; any other decoder of H.264 comes after them.
const VIDEO_DECODERS: [&str; 2] = ["avdec_h264", "openh264dec"];
/// How long writing the snapshot may take.
const SNAPSHOT_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(10);

pub struct Player {
    pub pipeline: gst::Pipeline,
    source: gst::Element,
    windows: bool,
}

/// What moqsrc says about its connection.
pub struct Connection {
    pub state: String,
    pub transport: Option<String>,
    pub version: Option<String>,
}

/// Where there is a display, the sink that tells whether it can be reached.
const DISPLAYS: [(&str, &str); 2] = [
    ("WAYLAND_DISPLAY", "waylandsink"),
    ("DISPLAY", "ximagesink"),
];

/// Whether windows can be opened. The variables alone do not tell: they outlive the display in a terminal that was detached, and
/// with nothing to be reached autovideosink goes on to sinks that crash (DirectFB's on Debian 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    Open,
    Unreachable(&'static str),
    None,
}

impl Display {
    pub fn find() -> Self {
        let mut found = Self::None;
        for (variable, sink) in DISPLAYS {
            if env::var_os(variable).is_none_or(|value| value.is_empty()) {
                continue;
            }
            let opened = gst::ElementFactory::make(sink).build().is_ok_and(|sink| {
                let opened = sink.set_state(gst::State::Ready).is_ok();
                let _ = sink.set_state(gst::State::Null);
                opened
            });
            if opened {
                return Self::Open;
            }
            found = Self::Unreachable(variable);
        }
        found
    }
}

impl Player {
    pub fn new(url: &str, display: Display, probe: &Arc<Probe>) -> Result<Self, Problem> {
        let windows = display == Display::Open;
        need(&["videoconvert", "audioconvert", "audioresample", "opusdec"])?;
        need(if windows {
            &["autovideosink", "autoaudiosink"]
        } else {
            &["pngenc"]
        })?;
        let decoder = video_decoder()?;
        let video_sink = if windows {
            "autovideosink name=screen"
        } else {
            "fakesink name=screen sync=true processing-deadline=0"
        };
        let audio_sink = if windows {
            "autoaudiosink"
        } else {
            "fakesink sync=true processing-deadline=0"
        };
        let pipeline = gst::Pipeline::with_name("player");
        let source = gst::ElementFactory::make("moqsrc")
            .property("url", url)
            .property("broadcast", BROADCAST)
            .build()
            .map_err(|err| err.to_string())?;
        pipeline.add(&source).map_err(|err| err.to_string())?;
        let chains = [
            (
                Kind::Video,
                "video_0",
                format!("queue ! {decoder} ! videoconvert ! {video_sink}"),
            ),
            (
                Kind::Audio,
                "audio_0",
                format!("queue ! opusdec ! audioconvert ! audioresample ! {audio_sink}"),
            ),
        ];
        let weak = pipeline.downgrade();
        let measured = probe.clone();
        source.connect_pad_added(move |source, pad| {
            let chain = chains.iter().find(|(_, name, _)| pad.name() == *name);
            let (Some((kind, _, description)), Some(pipeline)) = (chain, weak.upgrade()) else {
                return;
            };
            measured.watch(pad, *kind, Side::Player);
            if let Err(err) = connect(&pipeline, pad, description) {
                gst::element_error!(source, gst::CoreError::Negotiation, ("{}", err));
            }
        });
        probe.timebase.rule(&pipeline);
        Ok(Self {
            pipeline,
            source,
            windows,
        })
    }

    pub fn connection(&self) -> Connection {
        let state = self.source.property_value("connection-state");
        let stats = self.source.property::<gst::Structure>("stats");
        let transport = stats
            .get::<gst::Structure>("transport")
            .ok()
            .and_then(|transport| transport.get::<String>("kind").ok());
        Connection {
            state: gst::glib::EnumValue::from_value(&state)
                .map(|(_, value)| value.nick().to_owned())
                .unwrap_or_default(),
            transport,
            version: self.source.property("moq-version"),
        }
    }

    /// How long after its running time a frame is presented.
    pub fn latency(&self) -> Option<gst::ClockTime> {
        let mut query = gst::query::Latency::new();
        self.pipeline.query(&mut query).then(|| query.result().1)
    }

    /// The message says that somebody has closed the window.
    pub fn window_closed(&self, err: &gst::message::Error) -> bool {
        let screen = self.pipeline.by_name("screen");
        self.windows
            && screen
                .zip(err.src())
                .is_some_and(|(screen, src)| src == &screen || src.has_as_ancestor(&screen))
    }

    /// Writes what is on the screen that is not there; `false` if there is one, or nothing was shown.
    pub fn snapshot(&self, path: &Path) -> Result<bool, Problem> {
        let screen = self.pipeline.by_name("screen").filter(|_| !self.windows);
        let sample =
            screen.and_then(|screen| screen.property::<Option<gst::Sample>>("last-sample"));
        match sample {
            Some(sample) => write_png(&sample, path).map(|()| true),
            None => Ok(false),
        }
    }
}

fn video_decoder() -> Result<String, Problem> {
    let named = VIDEO_DECODERS
        .iter()
        .find(|name| gst::ElementFactory::find(name).is_some());
    if let Some(name) = named {
        return Ok((*name).to_owned());
    }
    let caps = gst::Caps::new_empty_simple("video/x-h264");
    gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL)
        .into_iter()
        .find(|factory| factory.can_sink_any_caps(&caps))
        .map(|factory| factory.name().to_string())
        .ok_or_else(|| need(&VIDEO_DECODERS[..1]).err().unwrap_or_default())
}

fn connect(pipeline: &gst::Pipeline, pad: &gst::Pad, chain: &str) -> Result<(), Problem> {
    let bin = gst::parse::bin_from_description(chain, true).map_err(|err| err.to_string())?;
    pipeline.add(&bin).map_err(|err| err.to_string())?;
    bin.sync_state_with_parent()
        .map_err(|err| err.to_string())?;
    let target = bin.static_pad("sink").ok_or("a chain has a sink pad")?;
    pad.link(&target).map_err(|err| err.to_string())?;
    Ok(())
}

fn write_png(sample: &gst::Sample, path: &Path) -> Result<(), Problem> {
    let pipeline = launch("appsrc name=picture ! videoconvert ! pngenc ! filesink name=file")?;
    let picture = pipeline.by_name("picture").ok_or("appsrc is not there")?;
    let file = pipeline.by_name("file").ok_or("filesink is not there")?;
    file.set_property("location", path.display().to_string());
    set_state(&pipeline, gst::State::Playing)?;
    let _ = picture.emit_by_name::<gst::FlowReturn>("push-sample", &[sample]);
    let _ = picture.emit_by_name::<gst::FlowReturn>("end-of-stream", &[]);
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline
        .bus()
        .and_then(|bus| bus.timed_pop_filtered(SNAPSHOT_LIMIT, &types));
    let _ = pipeline.set_state(gst::State::Null);
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(err)) => Err(format!("no snapshot: {}", describe(err))),
        _ => Err(format!(
            "no snapshot: {} is not written in time",
            path.display()
        )),
    }
}

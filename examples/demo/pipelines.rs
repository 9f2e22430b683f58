//! What the three pipelines have in common: errors in one line, one base time, probes that measure.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gst::prelude::*;

use crate::measure::{Kind, Live, Meter, Nanos, Total, Unit};

/// What the user reads when the demo cannot go on: one line that says what to do.
pub type Problem = String;

/// Debian's packages of the elements that the demo is made of.
const PACKAGES: [(&str, &str); 17] = [
    ("videotestsrc", "base"),
    ("audiotestsrc", "base"),
    ("uridecodebin", "base"),
    ("videoconvert", "base"),
    ("videoscale", "base"),
    ("audioconvert", "base"),
    ("audioresample", "base"),
    ("opusenc", "base"),
    ("opusdec", "base"),
    ("autovideosink", "good"),
    ("autoaudiosink", "good"),
    ("pngenc", "good"),
    ("h264parse", "bad"),
    ("x264enc", "ugly"),
    ("avdec_h264", "libav"),
    ("timeoverlay", "x"),
    ("clockoverlay", "x"),
];

/// Fails with the first of these elements that GStreamer does not have.
pub fn need(elements: &[&str]) -> Result<(), Problem> {
    for element in elements {
        if gst::ElementFactory::find(element).is_some() {
            continue;
        }
        let package = PACKAGES
            .iter()
            .find(|(name, _)| name == element)
            .map(|(_, package)| match *package {
                "libav" | "x" => format!("gstreamer1.0-{package}"),
                package => format!("gstreamer1.0-plugins-{package}"),
            });
        return Err(match package {
            Some(package) => format!(
                "GStreamer has no element {element}: install it with ./scripts/setup, or the package {package}"
            ),
            None => format!("GStreamer has no element {element}: install the plugin it is in"),
        });
    }
    Ok(())
}

/// A pipeline from a description, which is ours: what is wrong with it is the system's fault.
pub fn launch(description: &str) -> Result<gst::Pipeline, Problem> {
    let element = gst::parse::launch(description).map_err(|err| one_line(err.message()))?;
    element
        .downcast()
        .map_err(|_| "a pipeline has more than one element".into())
}

/// Changes state; a refusal gives the error that was posted.
pub fn set_state(
    pipeline: &gst::Pipeline,
    state: gst::State,
) -> Result<gst::StateChangeSuccess, Problem> {
    pipeline.set_state(state).map_err(|_| {
        let error = pipeline
            .bus()
            .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match error.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(err)) => describe(err),
            _ => format!("{} does not start", pipeline.name()),
        }
    })
}

pub fn describe(err: &gst::message::Error) -> Problem {
    one_line(err.error().message())
}

pub fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// The clock and the base time that publisher and player share, so that their running times compare.
pub struct Timebase {
    clock: gst::Clock,
    base: OnceLock<gst::ClockTime>,
}

impl Timebase {
    pub fn new() -> Self {
        Self {
            clock: gst::SystemClock::obtain(),
            base: OnceLock::new(),
        }
    }

    /// Makes this pipeline run on this clock, and never choose a base time of its own.
    pub fn rule(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
    }

    /// Starts at running time 0, the first time; the others join.
    pub fn play(&self, pipeline: &gst::Pipeline) -> Result<(), Problem> {
        let base = *self.base.get_or_init(|| self.clock.time());
        pipeline.set_base_time(base);
        set_state(pipeline, gst::State::Playing).map(|_| ())
    }

    /// Running time; 0 before the start.
    fn now(&self) -> Nanos {
        let base = self.base.get().map_or(0, |base| nanos(*base));
        if base == 0 {
            return 0;
        }
        nanos(self.clock.time()) - base
    }
}

fn nanos(time: gst::ClockTime) -> Nanos {
    Nanos::try_from(time.nseconds()).unwrap_or(Nanos::MAX)
}

/// Which side of the path a pad is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Publisher { paced: bool },
    Player,
}

/// A meter that is fed from pads.
pub struct Probe {
    pub timebase: Timebase,
    meter: Mutex<Meter>,
}

impl Probe {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            timebase: Timebase::new(),
            meter: Mutex::default(),
        })
    }

    pub fn live(&self) -> Live {
        self.lock().live()
    }

    pub fn total(&self) -> Option<Total> {
        self.lock().total()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures every access unit that passes this pad.
    pub fn watch(self: &Arc<Self>, pad: &gst::Pad, kind: Kind, side: Side) {
        let probe = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let seen = probe.timebase.now();
            if let Some(unit) = info.buffer().and_then(|buffer| unit(pad, buffer, seen)) {
                let mut meter = probe.lock();
                match side {
                    Side::Publisher { paced } => meter.sent(kind, unit, paced),
                    Side::Player => meter.received(kind, unit),
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
}

fn unit(pad: &gst::Pad, buffer: &gst::BufferRef, seen: Nanos) -> Option<Unit> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    let map = buffer.map_readable().ok()?;
    Some(Unit {
        hash: hash(map.as_slice()),
        seen,
        running: segment.to_running_time(buffer.pts()).map(nanos),
    })
}

/// FNV-1a over words: payloads are told apart, not protected.
fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(5);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, |hash, word| {
            mix(hash, u64::from_le_bytes(*word))
        });
    rest.iter()
        .fold(hash, |hash, byte| mix(hash, (*byte).into()))
}

//! A player whose pads are recorded, relays, and paths to them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gst_base::prelude::BaseSinkExt;
use gstmoq::{
    net::relay::{Relay, RelayConfig},
    netsim::{PathSettings, Probability, Proxy, Settings},
    runtime,
};
use parking_lot::Mutex;

// Each test uses what it needs.
#[allow(unused_imports)]
pub use super::feed::{Feed, FeedOptions, Log, Sent, encode};
use super::{LIMIT, Pipeline, Record, Seen, feed::ns};

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
///
/// The port of one that was stopped without leave to finish is free a moment later.
pub fn relay_at(address: SocketAddr) -> Relay {
    let end = Instant::now() + LIMIT;
    loop {
        match Relay::start(RelayConfig::new(vec![address])) {
            Ok(relay) => return relay,
            Err(err) if Instant::now() >= end => panic!("no relay at the same port: {err}"),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A relay that notices soon when a peer is gone without a word.
pub fn watchful_relay() -> Relay {
    super::init();
    let mut config = RelayConfig::local();
    config.idle_timeout = Duration::from_secs(2);
    config.keep_alive_interval = Duration::from_millis(500);
    Relay::start(config).expect("a relay")
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

/// What a player is made from.
#[derive(Clone)]
pub struct ViewOptions {
    /// `url=…` and what else is needed to get there.
    to: String,
    pub latency_ms: u32,
    /// More properties of moqsrc.
    pub properties: String,
    pub audio: bool,
    /// What stands between the video's queue and its sink.
    pub decoder: Option<String>,
}

impl ViewOptions {
    pub fn new(url: &str) -> Self {
        Self::to(&format!("url={url}"))
    }

    pub fn to(to: &str) -> Self {
        Self {
            to: to.to_owned(),
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
            to,
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
            "moqsrc name=src {to} broadcast={BROADCAST} latency={latency_ms} {properties} {} {audio_chain}",
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

    /// Of the video frames that were sent in the span that was watched, the share that was at the pad in time: before it was
    /// due at the sink, and no more than `path` and the latency after it was sent. The span goes from the first frame that
    /// is presented to the last that came.
    pub fn in_time(&self, sent: &[Sent], path: Duration) -> f64 {
        let all = self.video.all();
        let index = |seen: &Seen| sent.iter().rposition(|sent| sent.hash == seen.hash);
        let limit = i64::from(self.latency_ms) * 1_000_000 + path.as_nanos() as i64;
        let in_time = |seen: &&Seen| {
            let arrived = self.arrived(seen);
            let due = |presented: i64| Some(presented.min(sent[index(seen)?].at + limit));
            self.presented(seen)
                .and_then(due)
                .is_some_and(|due| arrived <= due)
        };
        let first = all.iter().find(|seen| seen.running.is_some());
        let first = first.and_then(index).expect("a frame is presented");
        let last = all.iter().filter_map(index).max().expect("a frame came");
        // No frame is presented twice.
        all.iter().filter(in_time).count() as f64 / (last - first + 1) as f64
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

    /// Waits until frames are presented in time again, as many in a row as half a second has: each arrives at or after this
    /// time of the clock, follows the frame before it and is there before it is due. Returns the arrival of the first.
    pub fn wait_playing(&self, record: &Record, from: i64) -> i64 {
        const ROW: usize = 15;
        let in_time = |seen: &Seen| {
            let arrived = self.arrived(seen);
            arrived >= from && self.presented(seen).is_some_and(|due| arrived <= due)
        };
        let playing = |row: &[Seen]| {
            row.iter().all(in_time) && row.iter().skip(1).all(|seen| !seen.is_discont())
        };
        let seen = record.wait("playing again in time", |seen| {
            seen.windows(ROW).any(playing)
        });
        let row = seen.windows(ROW).find(|row| playing(row));
        self.arrived(&row.expect("waited for")[0])
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
/// and only where, something is missing. A join anew may go back to the key frame of the group under way, but what was
/// pushed before is not presented again.
pub fn assert_decodable(sent: &[Sent], got: &[Seen]) -> Vec<usize> {
    let mut indices: Vec<usize> = Vec::new();
    let mut newest = None;
    for (n, seen) in got.iter().enumerate() {
        let next = indices.last().map_or(0, |last| last + 1);
        let from = if seen.is_key() && seen.is_discont() {
            0
        } else {
            next
        };
        let index = sent[from..]
            .iter()
            .position(|sent| sent.hash == seen.hash)
            .map(|at| at + from)
            .unwrap_or_else(|| {
                let sent = sent.iter().position(|sent| sent.hash == seen.hash);
                panic!("frame {n}, sent as {sent:?}, comes after {indices:?}: {seen:?}")
            });
        let follows = n > 0 && index == next;
        assert!(
            follows || seen.is_key(),
            "frame {n} (sent as {index}) cannot be decoded after {from}"
        );
        assert_eq!(seen.is_key(), sent[index].key, "frame {n}");
        assert!(follows || seen.is_discont(), "frame {n} hides a gap");
        let again = newest.is_some_and(|newest| index <= newest);
        assert!(
            !again || seen.running.is_none(),
            "frame {n} is presented twice"
        );
        newest = newest.max(Some(index));
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

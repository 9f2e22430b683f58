//! A live publisher whose frames are known by their payload.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use gst::prelude::*;
use parking_lot::{Condvar, Mutex};

use super::{LIMIT, Pipeline, paths::BROADCAST};

const H264: &str = "video/x-h264,alignment=au,stream-format=byte-stream";

/// An access unit or packet that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub hash: u64,
    pub key: bool,
    /// Media time on the pipeline's clock: media time + base time, ns.
    pub captured: i64,
    /// When it was written, on the same clock, ns.
    pub at: i64,
}

/// What was written, in order; waited on without polling.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<Sent>>, Condvar)>);

impl Log {
    pub fn all(&self) -> Vec<Sent> {
        self.0.0.lock().clone()
    }

    pub fn wait(&self, what: &str, holds: impl Fn(&[Sent]) -> bool) {
        let end = Instant::now() + LIMIT;
        let mut sent = self.0.0.lock();
        while !holds(&sent) {
            if self.0.1.wait_until(&mut sent, end).timed_out() {
                panic!("{what}: not within {LIMIT:?}");
            }
        }
    }

    /// Waits until so many frames follow the next key frame.
    pub fn wait_after_key(&self, frames: usize) {
        let from = self.0.0.lock().len();
        self.wait("a place in a group", |sent| {
            sent[from..]
                .iter()
                .position(|sent| sent.key)
                .is_some_and(|key| sent.len() > from + key + frames)
        });
    }

    fn add(&self, sent: Sent) {
        self.0.0.lock().push(sent);
        self.0.1.notify_all();
    }
}

/// A Matroska file of H.264 (720p60, a key frame a second) that needs all of its bitrate, so that no test's timing depends on an encoder.
pub fn encode(seconds: u32, kbit: u32) -> tempfile::TempPath {
    super::init();
    let file = tempfile::NamedTempFile::new()
        .expect("a file")
        .into_temp_path();
    let pipeline = Pipeline::play(&format!(
        "videotestsrc num-buffers={} pattern=smpte horizontal-speed=4 ! \
         video/x-raw,width=1280,height=720,framerate=60/1,format=I420 ! \
         x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbit} key-int-max=60 ! \
         h264parse config-interval=-1 ! matroskamux ! filesink location={}",
        seconds * 60,
        file.display()
    ));
    pipeline.wait_eos();
    file
}

/// What a publisher is made from.
pub struct FeedOptions {
    /// Properties of an element that dials.
    to: String,
    video: &'static str,
    audio: &'static str,
    /// In frames.
    gop: u32,
    /// What [`encode`] wrote; a ball on black, encoded live, otherwise.
    file: Option<PathBuf>,
    /// Noise that needs so many kbit/s instead of the ball.
    noise: Option<u32>,
}

impl FeedOptions {
    pub fn new(url: &str) -> Self {
        Self::to(&format!("url={url}"))
    }

    /// `url=…` and what else is needed to get there.
    pub fn to(to: &str) -> Self {
        Self {
            to: to.to_owned(),
            video: "video",
            audio: "audio",
            gop: 30,
            file: None,
            noise: None,
        }
    }

    pub fn file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    pub fn gop(mut self, gop: u32) -> Self {
        self.gop = gop;
        self
    }

    pub fn noise(mut self, kbit: u32) -> Self {
        self.noise = Some(kbit);
        self
    }

    pub fn tracks(mut self, video: &'static str, audio: &'static str) -> Self {
        (self.video, self.audio) = (video, audio);
        self
    }

    pub fn start(self) -> Feed {
        Feed::start(self)
    }
}

/// Publishes live H.264 (640×360, 30 frames a second) and Opus with moqsink.
pub struct Feed {
    pub pipeline: Pipeline,
    pub video: Log,
    pub audio: Log,
}

impl Feed {
    fn start(options: FeedOptions) -> Self {
        let FeedOptions {
            to,
            video,
            audio,
            gop,
            file,
            noise,
        } = options;
        // No two packets of noise are alike, nor two balls, so that all is known by its payload.
        static FEEDS: AtomicU32 = AtomicU32::new(0);
        let colour = 0xff80_8080 + 0x0010_2030 * (FEEDS.fetch_add(1, Ordering::Relaxed) % 4);
        let (shown, rate) = match noise {
            None => (format!("pattern=ball foreground-color={colour}"), 2048),
            Some(kbit) => ("pattern=snow".to_owned(), kbit),
        };
        let picture = match &file {
            None => format!(
                "videotestsrc is-live=true {shown} ! video/x-raw,width=640,height=360,framerate=30/1 ! \
                 x264enc tune=zerolatency speed-preset=ultrafast byte-stream=true bitrate={rate} key-int-max={gop} ! h264parse ! \
                 {H264}"
            ),
            // Paced by moqsink, like any file.
            Some(file) => format!(
                "filesrc location={} ! matroskademux ! h264parse config-interval=-1 ! {H264} ! identity sync=true",
                file.display()
            ),
        };
        let pipeline = Pipeline::launch(&format!(
            "moqsink name=sink {to} broadcast={BROADCAST} video_0::track={video} audio_0::track={audio} \
             {picture} ! queue name=video ! sink.video_0 \
             audiotestsrc is-live=true wave=pink-noise samplesperbuffer=480 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! \
             queue name=audio ! sink.audio_0"
        ));
        let feed = Self {
            video: log(&pipeline, "video"),
            audio: log(&pipeline, "audio"),
            pipeline,
        };
        feed.pipeline.set(gst::State::Playing);
        feed
    }

    /// Ends as a publisher does that has sent everything.
    pub fn finish(&self) {
        self.pipeline.0.send_event(gst::event::Eos::new());
        self.pipeline.wait_eos();
    }

    /// Whether somebody subscribes to the track of this pad.
    pub fn demand(&self, pad: &str) -> bool {
        self.pad(pad).property("demand")
    }

    /// Waits until somebody does, or does not any more.
    pub fn wait_demand(&self, pad: &str, wanted: bool) {
        let pad = self.pad(pad);
        let changed = Arc::new((Mutex::new(()), Condvar::new()));
        let signal = changed.clone();
        let handler = pad.connect_notify(Some("demand"), move |_, _| {
            let _turn = signal.0.lock();
            signal.1.notify_all();
        });
        let end = Instant::now() + LIMIT;
        let mut turn = changed.0.lock();
        while pad.property::<bool>("demand") != wanted {
            let late = changed.1.wait_until(&mut turn, end).timed_out();
            assert!(!late, "demand for {} did not become {wanted}", pad.name());
        }
        drop(turn);
        pad.disconnect(handler);
    }

    fn pad(&self, pad: &str) -> gst::Pad {
        let sink = self.pipeline.by_name("sink");
        sink.static_pad(pad).expect("a pad of moqsink")
    }
}

/// Takes note of what comes to moqsink.
fn log(pipeline: &Pipeline, queue: &str) -> Log {
    let log = Log::default();
    let into = log.clone();
    pipeline.probe(queue, "src", move |pad, buffer| {
        let segment = pad
            .sticky_event::<gst::event::Segment>(0)
            .expect("a segment");
        let segment = segment
            .segment()
            .downcast_ref::<gst::ClockTime>()
            .expect("time");
        // Opus starts before zero, by its pre-skip.
        let Some(running) = segment.to_running_time(buffer.pts()) else {
            return;
        };
        let element = pad.parent_element().expect("a queue");
        let base = element.base_time().expect("it plays");
        let now = element.current_running_time().expect("it plays");
        let map = buffer.map_readable().expect("readable");
        into.add(Sent {
            hash: super::hash(map.as_slice()),
            key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            captured: ns(base + running),
            at: ns(base + now),
        });
    });
    log
}

pub fn ns(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).expect("this century")
}

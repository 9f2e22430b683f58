//! A publisher that is not moqsink: what encoders make goes straight into groups.

use std::{sync::Arc, time::Duration};

use gst::prelude::*;
use gstmoq::{
    media::{
        catalog::{AudioRendition, Catalog, VideoRendition, hang},
        container::legacy,
    },
    net::{
        ConnectConfig,
        publish::{Broadcast, TrackOptions, TrackWriter},
        session::{Connection, Retention, Role},
        transport::parse_url,
    },
};
use parking_lot::Mutex;

use super::Pipeline;

pub const BROADCAST: &str = "test.hang";

/// What was written, by payload.
#[derive(Debug, Clone)]
pub struct Sent {
    pub media_us: u64,
    pub hash: u64,
    pub key: bool,
    /// Running time of the publishing pipeline when it was written.
    pub at: gst::ClockTime,
}

/// Publishes live H.264 (640×360, 30 frames a second) and Opus until it is dropped.
pub struct Publisher {
    pub pipeline: Pipeline,
    pub connection: Connection,
    pub video: Arc<Mutex<Vec<Sent>>>,
    pub audio: Arc<Mutex<Vec<Sent>>>,
    broadcast: Arc<Broadcast>,
}

impl Publisher {
    pub fn start(url: &str, gop: u32) -> Self {
        Self::with_encoder(
            url,
            &format!(
                "x264enc tune=zerolatency speed-preset=ultrafast byte-stream=true key-int-max={gop}"
            ),
        )
    }

    pub fn with_encoder(url: &str, encoder: &str) -> Self {
        let config = ConnectConfig::new(vec![parse_url(url).expect("a URL")]);
        let connection = Connection::open(config, Role::Publisher, Retention::default());
        let broadcast = Arc::new(Broadcast::create(&connection, BROADCAST).expect("a broadcast"));
        let pipeline = Pipeline::launch(&format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! {encoder} ! h264parse ! \
             video/x-h264,alignment=au,stream-format=byte-stream ! appsink name=video sync=false \
             audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc ! appsink name=audio sync=false"
        ));
        let mut catalog = broadcast
            .track(hang::TRACK, options(100))
            .expect("the catalog's track");
        catalog
            .write_snapshot(0, hang::write(&test_catalog()))
            .expect("a catalog");
        let video = publish(
            &pipeline,
            "video",
            broadcast.track("video", options(60)).expect("a track"),
            0,
        );
        let audio = publish(
            &pipeline,
            "audio",
            broadcast.track("audio", options(80)).expect("a track"),
            25,
        );
        broadcast.announce().expect("announced");
        pipeline.set(gst::State::Playing);
        // The catalog's track lives as long as its writer.
        std::mem::forget(catalog);
        Self {
            pipeline,
            connection,
            video,
            audio,
            broadcast,
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.pipeline.0.set_state(gst::State::Null);
        self.broadcast.close();
    }
}

fn options(priority: u8) -> TrackOptions {
    TrackOptions {
        priority,
        max_age: Duration::from_secs(2),
        timely: false,
    }
}

fn test_catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let video = VideoRendition {
        codec: "avc3.42c01e".into(),
        coded_width: Some(640),
        coded_height: Some(360),
        framerate: Some(30.0),
        ..VideoRendition::default()
    };
    let audio = AudioRendition {
        codec: "opus".into(),
        sample_rate: 48_000,
        channels: 2,
        ..AudioRendition::default()
    };
    catalog.video.insert("video".into(), video);
    catalog.audio.insert("audio".into(), audio);
    catalog
}

/// Writes what the appsink gets; a group every `packets`, or at key frames when that is 0.
fn publish(
    pipeline: &Pipeline,
    name: &str,
    mut writer: TrackWriter,
    packets: u64,
) -> Arc<Mutex<Vec<Sent>>> {
    let sent = Arc::<Mutex<Vec<Sent>>>::default();
    let record = sent.clone();
    let sink: gst_app::AppSink = pipeline.by_name(name).downcast().expect("an appsink");
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().expect("a buffer");
        let segment = sample.segment().expect("a segment");
        let segment = segment.downcast_ref::<gst::ClockTime>().expect("time");
        let Some(running) = segment.to_running_time(buffer.pts()) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let media_us = running.useconds();
        let map = buffer.map_readable().expect("readable");
        if (packets == 0 && key)
            || (packets > 0 && (writer.group_frames() == 0 || writer.group_frames() >= packets))
        {
            writer.start_group().expect("a group");
        }
        let frame = legacy::encode(media_us, &[map.as_slice()]).expect("a frame");
        record.lock().push(Sent {
            media_us,
            hash: super::hash(map.as_slice()),
            key,
            at: sink.current_running_time().unwrap_or_default(),
        });
        writer.write(media_us, frame).expect("written");
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(new_sample)
            .build(),
    );
    sent
}

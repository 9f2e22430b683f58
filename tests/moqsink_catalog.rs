//! What of a stream's life reaches the catalog, and what does not.

mod moqsink_support;
mod relay_support;

use gst::prelude::*;
use gstmoq::media::catalog::{Container, hang};
use moqsink_support::*;
use relay_support::soon;

const H264: &str = "videotestsrc is-live=true ! capsfilter name=size caps=video/x-raw,width=160,height=120,framerate=30/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse";
const OPUS: &str = "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc";

/// The text of a warning of cause `codec`.
fn codec_warning(pipeline: &Pipeline) -> String {
    pipeline.message("a warning", |message| match message {
        gst::MessageView::Warning(warning) => {
            let cause = warning.details()?.get::<String>("cause").ok()?;
            (cause == "codec").then(|| warning.error().message().to_owned())
        }
        _ => None,
    })
}

/// Row 24.
#[test]
fn tags_are_in_the_first_catalog_and_no_reason_for_another() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS} ! taginject name=tags tags=language-code=de,title=Ton,maximum-bitrate=(uint)96000 ! moqsink name=sink {}",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let mut catalogs = rig.track("a.hang", hang::TRACK).await;
        let catalog = next_catalog(&mut catalogs).await;
        let (name, audio) = catalog.audio.first_key_value().expect("audio");
        assert_eq!(audio.language.as_deref(), Some("de"));
        assert_eq!(audio.label.as_deref(), Some("Ton"));
        assert_eq!(audio.bitrate, Some(96_000));
        let mut tags = gst::TagList::new();
        let writable = tags.get_mut().expect("owned");
        writable.add::<gst::tags::MaximumBitrate>(&128_000, gst::TagMergeMode::Replace);
        let pad = pipeline.element("tags").static_pad("src").expect("src");
        assert!(pad.push_event(gst::event::Tag::new(tags)));
        let mut audio = rig.track("a.hang", name).await;
        read(&mut audio, |frames| frames.len() >= 50).await;
        let another = std::pin::pin!(catalogs.recv_group());
        let another = tokio::time::timeout(std::time::Duration::from_millis(1), another).await;
        assert!(another.is_err());
    });
}

/// An encoder that looks ahead gives its first picture late; so will be all others.
#[test]
fn the_lateness_of_a_local_encoder_is_in_the_jitter() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=30/1 ! \
         x264enc speed-preset=ultrafast rc-lookahead=10 bframes=2 b-adapt=false ! h264parse ! tee name=t \
         moqsink name=sink {} sink_0::encoder=true sink_0::track=with sink_1::track=without \
         t. ! queue ! sink.sink_0 t. ! queue ! sink.sink_1",
        rig.to("a.hang")
    ));
    pipeline.play();
    let catalog = run(rig.catalog("a.hang"));
    let jitter = |name: &str| catalog.video[name].jitter_ms.expect("a jitter");
    // Two B-frames in a row come behind what is shown three later.
    assert_eq!(jitter("without"), 100);
    assert!(
        (100..2_000).contains(&jitter("with")),
        "{} ms",
        jitter("with")
    );
}

/// Row 24: it is known at the first look, and no reason for another.
#[test]
fn the_wait_for_b_frames_is_in_the_first_catalog() {
    for (encoder, frames) in [
        (
            "x264enc speed-preset=ultrafast key-int-max=30 bframes=0 ! h264parse",
            1,
        ),
        (
            "x264enc speed-preset=ultrafast key-int-max=30 bframes=2 b-adapt=false ! h264parse",
            3,
        ),
        (
            "x264enc speed-preset=ultrafast key-int-max=30 bframes=3 b-adapt=false b-pyramid=true ! h264parse",
            5,
        ),
        (
            "x265enc speed-preset=ultrafast key-int-max=30 option-string=bframes=2:b-adapt=0:b-pyramid=0:open-gop=0:log-level=none ! h265parse",
            3,
        ),
        (
            "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30 auto-alt-ref=true lag-in-frames=5",
            1,
        ),
    ] {
        let rig = Rig::new();
        let pipeline = rig.pipeline(&format!(
            "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! {encoder} ! \
             moqsink name=sink {} sink_0::track=v",
            rig.to("a.hang")
        ));
        pipeline.play();
        run(async {
            let mut catalogs = rig.track("a.hang", hang::TRACK).await;
            let catalog = next_catalog(&mut catalogs).await;
            let jitter = (frames * 1_000u32).div_ceil(30);
            assert_eq!(catalog.video["v"].jitter_ms, Some(jitter), "{encoder}");
            let mut video = rig.track("a.hang", "v").await;
            read(&mut video, |frames| frames.len() >= 40).await;
            let another = std::pin::pin!(catalogs.recv_group());
            let another = tokio::time::timeout(std::time::Duration::from_millis(1), another).await;
            assert!(another.is_err(), "{encoder}");
        });
    }
}

/// Row 24: the announcement waits for the order of the pictures, but not for ever. Who plays by then keeps the track whatever is
/// said of it, and learns how long pictures wait when they show it.
#[test]
fn a_track_that_stalls_after_its_first_picture_stays_in_the_catalog_until_its_wait_is_known() {
    let rig = Rig::new();
    let encoder = rig.pipeline(
        "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
         x264enc speed-preset=ultrafast bframes=2 b-adapt=false ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=coded sync=false",
    );
    let coded: gst_app::AppSink = encoder.element("coded").downcast().expect("an appsink");
    encoder.play();
    let mut samples = std::iter::from_fn(|| coded.pull_sample().ok());
    let pipeline = rig.pipeline(&format!(
        "appsrc name=src format=time is-live=true ! moqsink {} sink_0::track=v",
        rig.to("a.hang")
    ));
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("an appsrc");
    pipeline.play();
    source
        .push_sample(&samples.next().expect("a picture"))
        .expect("pushed");
    run(async {
        let mut catalogs = rig.track("a.hang", hang::TRACK).await;
        let first = next_catalog(&mut catalogs).await;
        assert!(first.video["v"].jitter_ms < Some(100), "{first:?}");
        let mut tags = gst::TagList::new();
        let writable = tags.get_mut().expect("owned");
        writable.add::<gst::tags::MaximumBitrate>(&128_000, gst::TagMergeMode::Replace);
        let pad = source.static_pad("src").expect("src");
        assert!(pad.push_event(gst::event::Tag::new(tags)));
        samples.for_each(|sample| {
            source.push_sample(&sample).expect("pushed");
        });
        let second = next_catalog(&mut catalogs).await;
        assert_eq!(second.video.get("v").map(|v| v.jitter_ms), Some(Some(100)));
    });
}

#[test]
fn another_size_is_another_group_and_another_catalog() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{H264} ! video/x-h264,stream-format=byte-stream ! moqsink name=sink {} sink_0::track=v sink_0::container=cmaf",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let mut catalogs = rig.track("a.hang", hang::TRACK).await;
        let first = next_catalog(&mut catalogs).await;
        assert_eq!(first.video["v"].coded_width, Some(160));
        let size: gst::Caps = "video/x-raw,width=320,height=180,framerate=30/1"
            .parse()
            .expect("caps");
        pipeline.element("size").set_property("caps", size);
        let second = next_catalog(&mut catalogs).await;
        let video = &second.video["v"];
        assert_eq!(
            (video.coded_width, video.coded_height),
            (Some(320), Some(180))
        );
        assert_ne!(video.description, first.video["v"].description);
        assert_ne!(video.container, first.video["v"].container);
        assert!(matches!(video.container, Container::Cmaf { .. }));
    });
    let pad = pipeline
        .element("sink")
        .static_pad("sink_0")
        .expect("a pad");
    assert_eq!(
        pad.property::<Option<String>>("track").as_deref(),
        Some("v")
    );
}

#[test]
fn another_codec_on_a_pad_costs_that_pad_alone() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "moqsink name=sink {} sink_0::track=a sink_1::track=b {OPUS} ! sink.sink_1 \
         appsrc name=src format=time is-live=true caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0 ! sink.sink_0",
        rig.to("a.hang")
    ));
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    let push = |at: u64, bytes: &'static [u8]| {
        let mut buffer = gst::Buffer::from_slice(bytes);
        let owned = buffer.get_mut().expect("owned");
        owned.set_pts(gst::ClockTime::from_mseconds(at));
        owned.set_duration(gst::ClockTime::from_mseconds(20));
        source.push_buffer(buffer).expect("pushed");
    };
    pipeline.play();
    push(0, &[0xfc, 0xff, 0xfe]);
    run(async {
        let mut catalogs = rig.track("a.hang", hang::TRACK).await;
        let first = next_catalog(&mut catalogs).await;
        assert_eq!(first.audio.len(), 2);
        let caps: gst::Caps = "audio/mpeg,mpegversion=1,layer=3,rate=48000,channels=2"
            .parse()
            .expect("caps");
        source.set_caps(Some(&caps));
        push(20, &[0xff, 0xfb, 0x90, 0x64, 0, 0, 0, 0]);
        let second = next_catalog(&mut catalogs).await;
        assert_eq!(second.audio.keys().collect::<Vec<_>>(), ["b"]);
        let mut other = rig.track("a.hang", "b").await;
        read(&mut other, |frames| frames.len() >= 30).await;
    });
    codec_warning(&pipeline);
    let pad = pipeline
        .element("sink")
        .static_pad("sink_0")
        .expect("a pad");
    let error: Option<String> = pad.property("track-error");
    assert!(error.is_some_and(|error| error.contains("codec")));
}

/// Frames that are none of their codec's.
#[test]
fn what_cannot_be_read_costs_its_pad_alone() {
    for (caps, says) in [
        ("video/x-vp8,width=64,height=48,framerate=30/1", "VP8"),
        ("video/x-vp9,width=64,height=48,framerate=30/1", "VP9"),
        (
            "audio/mpeg,mpegversion=1,layer=3,rate=48000,channels=2",
            "MP3",
        ),
        (
            "audio/mpeg,mpegversion=4,stream-format=adts,rate=48000,channels=2",
            "AAC",
        ),
    ] {
        let rig = Rig::new();
        let pipeline = rig.pipeline(&format!(
            "moqsink name=sink {} {OPUS} ! sink.sink_1 \
             appsrc name=src format=time is-live=true caps={caps} ! sink.sink_0",
            rig.to("a.hang")
        ));
        let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
        pipeline.play();
        let mut buffer = gst::Buffer::from_slice([0u8; 40]);
        let owned = buffer.get_mut().expect("owned");
        owned.set_pts(gst::ClockTime::ZERO);
        source.push_buffer(buffer).expect("pushed");
        let warning = codec_warning(&pipeline);
        assert!(warning.contains(says), "{warning}");
        let catalog = run(rig.catalog("a.hang"));
        assert_eq!((catalog.video.len(), catalog.audio.len()), (0, 1), "{caps}");
    }
}

#[test]
fn vague_caps_are_refused_with_what_is_missing() {
    init();
    let pipeline = Pipeline::new(
        "appsrc name=src format=time caps=video/x-h264,stream-format=byte-stream ! moqsink url=https://127.0.0.1:9/ broadcast=a",
    );
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    pipeline.play();
    source
        .push_buffer(gst::Buffer::from_slice([0u8; 4]))
        .expect("taken");
    let text = pipeline.message("an error", |message| match message {
        gst::MessageView::Error(error) => Some(error.error().message().to_owned()),
        _ => None,
    });
    assert!(text.contains("put h264parse in front"), "{text}");
}

#[test]
fn the_catalogs_that_are_not_asked_for_are_not_there() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS} ! moqsink catalog=msf {}",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let mut msf = rig.track("a.hang", "catalog").await;
        let group = soon("a catalog", msf.recv_group()).await.expect("no error");
        assert!(group.is_some());
        let broadcast = rig.broadcast("a.hang").await;
        let subscription = moq_net::track::Subscription::default();
        let hang = broadcast.track(hang::TRACK).expect("a track");
        let read = async {
            let mut track = hang.subscribe(subscription).await.ok()?;
            track.recv_group().await.ok()?.map(|_| ())
        };
        assert_eq!(soon("the answer", read).await, None);
    });
}

/// The properties that applications of moq-gst read.
#[test]
fn the_connection_is_told_as_moq_gst_tells_it() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS} ! moqsink name=sink {} quic-idle-timeout=7000",
        rig.to("a.hang")
    ));
    let sink = pipeline.element("sink");
    assert_eq!(sink.property::<u64>("idle-timeout"), 7_000_000_000);
    sink.set_property("keep-alive-interval", 2_000_000_000u64);
    assert_eq!(sink.property::<u64>("quic-keep-alive"), 2_000);
    let stats = || sink.property::<Option<gst::Structure>>("connection-stats");
    let sessions = || {
        let sessions: gst::Structure = sink.property("sessions");
        let field = |name| sessions.get::<u64>(name).expect("a number");
        (field("started"), field("ended"))
    };
    let status = || {
        let value = sink.property_value("status");
        let (_, value) = gst::glib::EnumValue::from_value(&value).expect("an enum");
        value.nick().to_owned()
    };
    assert!(stats().is_none() && !sink.property::<bool>("connected"));
    assert_eq!((sessions(), status().as_str()), ((0, 0), "disconnected"));
    let (told, tell) = std::sync::mpsc::channel();
    for name in ["status", "connected"] {
        let told = told.clone();
        sink.connect_notify(Some(name), move |_, spec| {
            let _ = told.send(spec.name().to_owned());
        });
    }
    pipeline.play();
    let next = || {
        tell.recv_timeout(relay_support::LIMIT)
            .expect("a notification")
    };
    assert_eq!((next().as_str(), next().as_str()), ("status", "connected"));
    assert!(sink.property::<bool>("connected") && stats().is_some());
    assert_eq!((sessions(), status().as_str()), ((1, 0), "connected"));
    pipeline.stop();
    assert_eq!((next().as_str(), next().as_str()), ("status", "connected"));
    assert_eq!(status(), "disconnected");
}

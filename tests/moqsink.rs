//! moqsink through the embedded relay, seen by a subscriber.

mod moqsink_support;
mod relay_support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gst::prelude::*;
use gstmoq::media::h264::NalFormat;
use moqsink_support::*;
use relay_support::soon;

const LIVE_VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=30/1 ! \
     x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse";
const LIVE_AUDIO: &str = "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc";

/// Every group starts with an IDR that has its parameter sets, in order, from 0 on.
fn assert_groups(frames: &[Frame], format: NalFormat) {
    for frame in frames {
        assert_eq!(frame.is_key(format), frame.index == 0, "{frame:?}");
    }
    for pair in frames.windows(2) {
        let follows = match pair[1].index {
            0 => pair[1].group == pair[0].group + 1,
            index => pair[1].group == pair[0].group && index == pair[0].index + 1,
        };
        assert!(follows, "{:?} before {:?}", pair[0], pair[1]);
    }
}

#[test]
fn byte_stream_groups_start_at_key_frames_with_parameter_sets() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{LIVE_VIDEO} config-interval=0 ! video/x-h264,stream-format=byte-stream ! moqsink name=sink {}",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let catalog = rig.catalog("a.hang").await;
        let (name, video) = catalog.video.first_key_value().expect("video");
        assert_eq!(name, "0.avc3");
        assert!(video.codec.starts_with("avc3."), "{}", video.codec);
        assert_eq!(
            (video.coded_width, video.coded_height),
            (Some(160), Some(120))
        );
        assert_eq!(video.framerate, Some(30.0));
        let mut track = rig.track("a.hang", name).await;
        let frames = read(&mut track, |frames| frames.len() >= 40).await;
        assert_groups(&frames, NalFormat::ByteStream);
        for frame in frames.iter().filter(|frame| frame.index == 0) {
            let sets = gstmoq::media::h264::parameter_sets(&frame.payload, NalFormat::ByteStream);
            assert!(sets.complete());
        }
    });
    assert!(pipeline.stop() < Duration::from_secs(2));
}

#[test]
fn avc_is_published_with_its_description() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{LIVE_VIDEO} ! video/x-h264,stream-format=avc ! moqsink {}",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let catalog = rig.catalog("a.hang").await;
        let (name, video) = catalog.video.first_key_value().expect("video");
        assert_eq!(name, "0.avc1");
        assert!(video.codec.starts_with("avc1.") && video.description.is_some());
        let mut track = rig.track("a.hang", name).await;
        let frames = read(&mut track, |frames| frames.len() >= 20).await;
        assert_groups(&frames, NalFormat::Length { size: 4 });
    });
}

#[test]
fn the_catalog_is_whole_at_the_first_look() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "moqsink name=sink {} {LIVE_VIDEO} ! sink.video_0 {LIVE_AUDIO} ! sink.audio_0",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let mut track = rig.track("a.hang", "catalog.json").await;
        let catalog = next_catalog(&mut track).await;
        assert_eq!((catalog.video.len(), catalog.audio.len()), (1, 1));
        assert!(catalog.clock.is_some());
        // Row 24: nothing a player has to act on, so no other catalog.
        let name = catalog.audio.keys().next().expect("audio");
        let mut audio = rig.track("a.hang", name).await;
        read(&mut audio, |frames| frames.len() >= 100).await;
        let another = tokio::time::timeout(Duration::from_millis(1), track.recv_group()).await;
        assert!(another.is_err());
    });
}

#[test]
fn b_frames_keep_their_order_and_times() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "videotestsrc num-buffers=90 is-live=true ! video/x-raw,width=160,height=120,framerate=30/1 ! \
         x264enc bframes=2 b-adapt=false key-int-max=30 speed-preset=ultrafast option-string=open-gop=0 ! \
         h264parse ! moqsink {}",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let catalog = rig.catalog("a.hang").await;
        let name = catalog.video.keys().next().expect("video");
        let mut track = rig.track("a.hang", name).await;
        let frames = read(&mut track, |_| false).await;
        let goes_back = frames.windows(2).filter(|pair| pair[1].pts < pair[0].pts);
        assert!(goes_back.count() > 5);
        for group in frames.chunk_by(|a, b| a.group == b.group) {
            let earliest = group.iter().map(|frame| frame.pts).min();
            assert_eq!(earliest, Some(group[0].pts));
        }
        let mut times: Vec<u64> = frames.iter().map(|frame| frame.pts).collect();
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!((33_000..34_000).contains(&(pair[1] - pair[0])), "{pair:?}");
        }
    });
    pipeline.eos();
}

/// Row 15.
#[test]
fn audio_is_grouped_by_group_duration() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "moqsink name=sink {} sink_0::group-duration=100000000 sink_0::track=sound {LIVE_AUDIO} ! sink.sink_0",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let mut track = rig.track("a.hang", "sound").await;
        let frames = read(&mut track, |frames| frames.len() >= 30).await;
        // The encoder's first packet is shorter.
        for group in frames.chunk_by(|a, b| a.group == b.group).skip(1) {
            assert_eq!(group.len(), 5, "{:?}", group[0]);
        }
    });
}

/// Row 10: 20 times, because it was a race.
#[test]
fn end_of_stream_is_told_when_the_last_frame_is_delivered() {
    let rig = Rig::new();
    for n in 0..20 {
        let name = format!("{n}.hang");
        let pipeline = rig.pipeline(&format!(
            "appsrc name=src format=time is-live=true caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0 ! \
             moqsink {}",
            rig.to(&name)
        ));
        let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
        pipeline.play();
        push_opus(&source, 0);
        let track = run(rig.track(&name, "0.opus"));
        let reader = std::thread::spawn(move || {
            let mut track = track;
            run(read(&mut track, |_| false))
        });
        // Some versions subscribe only when they are read.
        pipeline.element_message("moq-track-demand", |s| s.get("demand") == Ok(true));
        for packet in 1..20 {
            push_opus(&source, packet);
        }
        source.end_of_stream().expect("end of stream");
        pipeline.eos();
        let stopped = pipeline.stop();
        assert!(stopped < Duration::from_millis(600), "{stopped:?}");
        let frames = reader.join().expect("read");
        assert_eq!(
            frames.last().map(|frame| frame.pts),
            Some(19 * 20_000),
            "run {n}"
        );
        assert_eq!(frames.len(), 20, "run {n}");
    }
}

/// A 20 ms packet.
fn push_opus(source: &gst_app::AppSrc, packet: u64) {
    push_opus_at(source, packet * 20);
}

fn push_opus_at(source: &gst_app::AppSrc, at_ms: u64) {
    // TOC: CELT, 20 ms, stereo, one frame.
    let mut buffer = gst::Buffer::from_slice([0xfc_u8, 0xff, 0xfe]);
    let owned = buffer.get_mut().expect("owned");
    owned.set_pts(gst::ClockTime::from_mseconds(at_ms));
    owned.set_duration(gst::ClockTime::from_mseconds(20));
    source.push_buffer(buffer).expect("pushed");
}

const OPUS_SOURCE: &str = "appsrc name=src format=time is-live=true caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0";

/// Row 19.
#[test]
fn demand_is_notified_and_asks_for_a_key_frame() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{LIVE_VIDEO} ! moqsink name=sink {} sink_0::track=v",
        rig.to("a.hang")
    ));
    let sink = pipeline.element("sink");
    let pad = sink.static_pad("sink_0").expect("sink_0");
    let (asked, ask) = std::sync::mpsc::channel();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(event) = info.event()
            && event
                .structure()
                .is_some_and(|s| s.name() == "GstForceKeyUnit")
        {
            let _ = asked.send(());
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.play();
    let track = run(rig.track("a.hang", "v"));
    pipeline.element_message("moq-track-demand", |s| s.get("demand") == Ok(true));
    assert!(pad.property::<bool>("demand"));
    ask.recv_timeout(Duration::from_secs(5))
        .expect("a key frame was asked for");
    drop(track);
    pipeline.element_message("moq-track-demand", |s| s.get("demand") == Ok(false));
    assert!(!pad.property::<bool>("demand"));
}

#[test]
fn pads_come_and_go_while_playing() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "moqsink name=sink {} {LIVE_VIDEO} ! tee name=t ! queue ! sink.sink_0",
        rig.to("a.hang")
    ));
    let sink = pipeline.element("sink");
    let tee = pipeline.element("t");
    pipeline.play();
    run(rig.catalog("a.hang"));
    for _ in 0..10 {
        let queue = gst::ElementFactory::make("queue").build().expect("queue");
        pipeline.0.add(&queue).expect("added");
        queue.sync_state_with_parent().expect("playing");
        let pad = sink.request_pad_simple("sink_%u").expect("a pad");
        queue
            .static_pad("src")
            .expect("src")
            .link(&pad)
            .expect("linked");
        let branch = tee.request_pad_simple("src_%u").expect("a branch");
        branch
            .link(&queue.static_pad("sink").expect("sink"))
            .expect("linked");
        pad_status(&pad, "publishing");
        assert_eq!(sink.current_state(), gst::State::Playing);
        // Under load: the queue's thread is in the pad.
        sink.release_request_pad(&pad);
        let _ = branch.unlink(&queue.static_pad("sink").expect("sink"));
        tee.release_request_pad(&branch);
        queue.set_state(gst::State::Null).expect("null");
        pipeline.0.remove(&queue).expect("removed");
    }
    assert_eq!(sink.num_pads(), 1);
}

fn pad_status(pad: &gst::Pad, nick: &str) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let wanted = nick.to_owned();
    let is = move |pad: &gst::Pad, wanted: &str| {
        let value = pad.property_value("track-status");
        gst::glib::EnumValue::from_value(&value).is_some_and(|(_, value)| value.nick() == wanted)
    };
    let id = pad.connect_notify(Some("track-status"), move |pad, _| {
        if is(pad, &wanted) {
            let _ = sender.send(());
        }
    });
    if !is(pad, nick) {
        receiver
            .recv_timeout(Duration::from_secs(10))
            .expect("the status");
    }
    pad.disconnect(id);
}

#[test]
fn twenty_rounds_of_ready_and_playing() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS_SOURCE} ! moqsink name=sink {} sink_0::track=a",
        rig.to("a.hang")
    ));
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    for _ in 0..20 {
        pipeline.play();
        for packet in 0..3 {
            push_opus(&source, packet);
        }
        run(rig.first_group("a.hang", "a"));
        pipeline.0.set_state(gst::State::Ready).expect("ready");
    }
}

/// Row 22.
#[test]
fn stopping_while_dialling_a_black_hole_is_quick() {
    init();
    // Bound and never read.
    let hole = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let url = format!("https://{}/", hole.local_addr().expect("an address"));
    let pipeline = Pipeline::new(&format!("{LIVE_VIDEO} ! moqsink url={url} broadcast=a"));
    pipeline.play();
    pipeline.message("connecting", |message| match message {
        gst::MessageView::Progress(_) => Some(()),
        _ => None,
    });
    let stopped = pipeline.stop();
    assert!(stopped < Duration::from_millis(600), "{stopped:?}");
}

#[test]
fn it_can_be_stopped_inside_of_runtimes() {
    let rig = Rig::new();
    let runtimes = [
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build(),
    ];
    for runtime in runtimes {
        runtime.expect("a runtime").block_on(async {
            let pipeline = rig.pipeline(&format!("{LIVE_VIDEO} ! moqsink {}", rig.to("a.hang")));
            pipeline.play();
            pipeline.element_message("moq-connected", |_| true);
            pipeline.stop();
        });
    }
}

#[test]
fn a_new_size_is_a_new_group_and_a_new_catalog() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "videotestsrc is-live=true ! capsfilter name=size caps=video/x-raw,width=160,height=120,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! moqsink {}",
        rig.to("a.hang")
    ));
    pipeline.play();
    run(async {
        let mut track = rig.track("a.hang", "catalog.json").await;
        let catalog = next_catalog(&mut track).await;
        let name = catalog.video.keys().next().expect("video");
        let mut media = rig.track("a.hang", name).await;
        let larger: gst::Caps = "video/x-raw,width=320,height=240,framerate=30/1"
            .parse()
            .expect("caps");
        pipeline.element("size").set_property("caps", &larger);
        let catalog = next_catalog(&mut track).await;
        assert_eq!(catalog.video[name].coded_width, Some(320));
        let frames = soon("another group", async {
            let mut first = media.recv_group().await.expect("on").expect("on");
            let mut frames = Vec::new();
            while let Some(frame) = first.read_frame().await.expect("whole") {
                frames.push(frame);
            }
            frames
        })
        .await;
        assert!(!frames.is_empty());
    });
}

/// Row 18.
#[test]
fn a_segment_that_goes_back_goes_on() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS_SOURCE} ! moqsink name=sink {} sink_0::track=a sink_0::group-duration=0",
        rig.to("a.hang")
    ));
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    pipeline.play();
    push_opus_at(&source, 10_000);
    let mut track = run(rig.track("a.hang", "a"));
    push_opus_at(&source, 10_020);
    run(read(&mut track, |frames| frames.len() >= 2));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    let pad = source.static_pad("src").expect("src");
    // The element's thread is idle: nothing is queued.
    pad.push_event(gst::event::Segment::new(&segment));
    for packet in 0..5 {
        push_opus_at(&source, packet * 20);
    }
    let mut frames = run(read(&mut track, |frames| frames.len() >= 5));
    // Each is a group, and groups overtake one another.
    frames.sort_by_key(|frame| frame.group);
    assert!(frames[0].pts > 10_020_000, "{:?}", frames[0]);
    for pair in frames.windows(2) {
        assert_eq!(pair[1].pts - pair[0].pts, 20_000);
    }
}

/// Row 25.
#[test]
fn a_flush_after_the_end_starts_again() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!("moqsink name=sink {}", rig.to("a.hang")));
    let sink = pipeline.element("sink");
    let pad = sink.request_pad_simple("sink_0").expect("a pad");
    pad.set_property("track", "a");
    let source = gst::Pad::new(gst::PadDirection::Src);
    source.set_active(true).expect("active");
    source.link(&pad).expect("linked");
    pipeline.play();
    let start = |id: &str| {
        let caps = "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0";
        source.push_event(gst::event::StreamStart::new(id));
        source.push_event(gst::event::Caps::new(&caps.parse().expect("caps")));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        source.push_event(gst::event::Segment::new(&segment));
        let mut buffer = gst::Buffer::from_slice([0xfc_u8, 0xff, 0xfe]);
        buffer
            .get_mut()
            .expect("owned")
            .set_pts(gst::ClockTime::ZERO);
        source.push(buffer).expect("pushed");
    };
    start("one");
    let mut track = run(rig.track("a.hang", "a"));
    assert!(source.push_event(gst::event::Eos::new()));
    pipeline.eos();
    let frames = run(read(&mut track, |_| false));
    assert_eq!(frames.len(), 1);
    assert!(source.push_event(gst::event::FlushStart::new()));
    assert!(source.push_event(gst::event::FlushStop::new(true)));
    start("two");
    run(rig.first_group("a.hang", "a"));
    assert!(source.push_event(gst::event::Eos::new()));
    pipeline.eos();
}

/// Row 20.
#[test]
fn a_file_is_paced_and_live_input_is_not() {
    let rig = Rig::new();
    for (live, at_least) in [(false, 900), (true, 0)] {
        let pipeline = rig.pipeline(&format!(
            "appsrc name=src format=time is-live={live} \
             caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0 ! moqsink {}",
            rig.to("a.hang")
        ));
        let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
        for packet in 0..50 {
            push_opus(&source, packet);
        }
        source.end_of_stream().expect("end");
        let start = std::time::Instant::now();
        pipeline.play();
        pipeline.eos();
        let took = start.elapsed().as_millis();
        assert!(took >= at_least, "live {live}: {took} ms");
        assert!(live || took < 3000, "live {live}: {took} ms");
        assert!(!live || took < 800, "live {live}: {took} ms");
    }
}

/// Row 12.
#[test]
fn the_catalogs_clock_is_right_and_stays_right_after_a_pause() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS_SOURCE} do-timestamp=false ! moqsink name=sink {} sink_0::track=a sink_0::group-duration=0",
        rig.to("a.hang")
    ));
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    pipeline.play();
    let now = || {
        let running = pipeline.0.current_running_time().expect("running");
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
        (running, wall.as_nanos() as u64)
    };
    let push = || {
        let (running, wall) = now();
        let mut buffer = gst::Buffer::from_slice([0xfc_u8, 0xff, 0xfe]);
        buffer.get_mut().expect("owned").set_pts(running);
        source.push_buffer(buffer).expect("pushed");
        wall
    };
    let first = push();
    let (clock, mut track) = run(async {
        let catalog = rig.catalog("a.hang").await;
        (
            catalog.clock.expect("a clock"),
            rig.track("a.hang", "a").await,
        )
    });
    let check = |frame: &Frame, wall: u64| {
        let error = clock.unix_ns(frame.pts).abs_diff(wall);
        assert!(error < 5_000_000, "{error} ns");
    };
    let frames = run(read(&mut track, |frames| !frames.is_empty()));
    check(&frames[0], first);
    pipeline.0.set_state(gst::State::Paused).expect("paused");
    std::thread::park_timeout(Duration::from_millis(300));
    pipeline.play();
    let _ = pipeline.0.state(gst::ClockTime::from_seconds(5));
    let second = push();
    let frames = run(read(&mut track, |frames| !frames.is_empty()));
    check(&frames[0], second);
}

/// Row 16.
#[test]
fn settings_that_cannot_work_are_said_on_the_bus() {
    init();
    for (properties, says) in [
        ("broadcast=a", "url"),
        ("url=https://localhost/", "broadcast"),
        ("url=gopher://localhost/ broadcast=a", "gopher"),
    ] {
        let pipeline = Pipeline::new(&format!("{LIVE_VIDEO} ! moqsink {properties}"));
        assert!(pipeline.0.set_state(gst::State::Playing).is_err());
        let text = pipeline.message(says, |message| match message {
            gst::MessageView::Error(err) => {
                let details = err.details().expect("details");
                assert_eq!(details.get::<&str>("cause"), Ok("settings"));
                let url = details.get::<&str>("url").expect("url");
                assert_eq!(url == "https://localhost/", says == "broadcast");
                Some(err.error().to_string())
            }
            _ => None,
        });
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn statistics_count_per_pad_and_are_empty_when_stopped() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{OPUS_SOURCE} ! moqsink name=sink {}",
        rig.to("a.hang")
    ));
    let source: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    let sink = pipeline.element("sink");
    pipeline.play();
    for packet in 0..3 {
        push_opus(&source, packet);
    }
    source.end_of_stream().expect("end");
    pipeline.eos();
    let stats: gst::Structure = sink.property("stats");
    assert_eq!(stats.name(), "application/x-moqsink-stats");
    let track: gst::Structure = stats.get("sink_0").expect("the pad");
    assert_eq!(track.get::<u64>("frames"), Ok(3));
    assert_eq!(track.get::<&str>("track"), Ok("0.opus"));
    assert!(stats.has_field("transport"));
    pipeline.stop();
    let stats: gst::Structure = sink.property("stats");
    assert_eq!(
        (stats.name().as_str(), stats.n_fields()),
        ("application/x-moqsink-stats", 0)
    );
}

/// A relay that comes back finds the broadcast again, with nothing done by the application.
#[test]
fn a_relay_that_comes_back_gets_the_broadcast_again() {
    let rig = Rig::new();
    let address = rig.relay.bound()[0];
    let pipeline = Pipeline::new(&format!(
        "{LIVE_VIDEO} ! moqsink name=sink url=https://{address}/ tls-disable-verify=true broadcast=a.hang sink_0::track=v"
    ));
    pipeline.play();
    run(rig.first_group("a.hang", "v"));
    let Rig { relay, peer } = rig;
    drop(peer);
    assert!(relay.stop_blocking(Duration::from_secs(1)));
    drop(relay);
    pipeline.element_message("moq-disconnected", |_| true);
    let rig = Rig::at(address);
    pipeline.element_message("moq-connected", |_| true);
    run(rig.first_group("a.hang", "v"));
}

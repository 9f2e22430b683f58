//! The states of moqsrc: started, paused, stopped and dropped from wherever applications do that.

mod common;

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use common::{
    LIMIT, Pipeline, Record, init,
    publisher::{BROADCAST, Publisher},
};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

/// What stopping may take; the limit for a black hole.
const STOP_LIMIT: Duration = Duration::from_millis(600);

fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

/// Plays both tracks of the test broadcast.
fn player(url: &str, properties: &str) -> Pipeline {
    Pipeline::launch(&format!(
        "moqsrc name=src url={url} broadcast={BROADCAST} {properties} \
         src.video_0 ! queue ! fakesink name=video sync=true src.audio_0 ! queue ! fakesink name=audio sync=true"
    ))
}

/// A server that takes packets and never answers.
fn black_hole() -> (UdpSocket, String) {
    let hole = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let url = format!("https://{}/", hole.local_addr().expect("an address"));
    (hole, url)
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let value = run();
    (value, started.elapsed())
}

fn stop(pipeline: &Pipeline) {
    let (stopped, took) = timed(|| pipeline.0.set_state(gst::State::Null));
    assert_eq!(stopped, Ok(gst::StateChangeSuccess::Success));
    assert!(took < STOP_LIMIT, "{took:?}");
}

fn wait_progress(pipeline: &Pipeline, code: &str) {
    pipeline.wait_for("progress", |message| match message.view() {
        gst::MessageView::Progress(progress) => (progress.get().1 == code).then_some(()),
        _ => None,
    });
}

fn wait_element_message(pipeline: &Pipeline, name: &str) {
    pipeline.wait_for(name, |message| match message.view() {
        gst::MessageView::Element(element) => element
            .structure()
            .is_some_and(|structure| structure.name() == name)
            .then_some(()),
        _ => None,
    });
}

/// The stages of one PROGRESS that were posted so far.
fn stages(pipeline: &Pipeline, code: &str) -> Vec<gst::ProgressType> {
    let bus = pipeline.0.bus().expect("a bus");
    std::iter::from_fn(|| bus.pop())
        .filter_map(|message| match message.view() {
            gst::MessageView::Progress(progress) => {
                let (kind, posted, _) = progress.get();
                (posted == code).then_some(kind)
            }
            _ => None,
        })
        .collect()
}

#[test]
fn what_is_under_way_when_it_is_stopped_is_canceled() {
    init();
    let (_hole, url) = black_hole();
    let relay = relay();
    for (url, code) in [(url, "connect"), (relay.url(), "broadcast")] {
        let player = player(&url, "");
        player.set(gst::State::Playing);
        wait_progress(&player, code);
        player.set(gst::State::Ready);
        assert_eq!(stages(&player, code), [gst::ProgressType::Canceled]);
    }
}

#[test]
fn the_search_for_a_broadcast_is_complete_once_however_often_its_catalog_changes() {
    let relay = relay();
    let publisher = Pipeline::play(&format!(
        "moqsink name=sink url={} broadcast={BROADCAST} \
         audiotestsrc is-live=true ! opusenc ! tee name=tee ! queue ! sink.audio_0",
        relay.url()
    ));
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} src.audio_0 ! fakesink name=audio",
        relay.url()
    ));
    player.set(gst::State::Playing);
    player.record("audio").wait_count(5);
    // Another track, and another catalog with it.
    let queue = gst::ElementFactory::make("queue").build().expect("queue");
    publisher.0.add(&queue).expect("added");
    queue
        .link_pads(None, &publisher.by_name("sink"), Some("audio_1"))
        .expect("linked");
    queue.sync_state_with_parent().expect("started");
    publisher.by_name("tee").link(&queue).expect("linked");
    let end = Instant::now() + LIMIT;
    while player.by_name("src").num_src_pads() < 2 {
        assert!(Instant::now() < end, "no second pad");
        std::thread::sleep(Duration::from_millis(5));
    }
    player.set(gst::State::Ready);
    assert_eq!(
        stages(&player, "broadcast"),
        [gst::ProgressType::Start, gst::ProgressType::Complete]
    );
}

/// Row 8: a source that does not say so is prerolled for ever, or pushes while it should not.
#[test]
fn it_does_not_preroll_going_to_paused_from_either_side() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = player(&relay.url(), "");
    let paused = || player.0.set_state(gst::State::Paused);
    assert_eq!(paused(), Ok(gst::StateChangeSuccess::NoPreroll));
    let video = player.record("video");
    player.set(gst::State::Playing);
    video.wait_count(5);
    assert_eq!(paused(), Ok(gst::StateChangeSuccess::NoPreroll));
    assert_eq!(
        player.0.state(gst::ClockTime::from_seconds(5)).0,
        Ok(gst::StateChangeSuccess::NoPreroll)
    );
    stop(&player);
}

/// Row 8: `gst-launch-1.0 -e` sends EOS to sources only.
#[test]
fn it_is_a_source_that_needs_the_clock_and_no_sink() {
    init();
    let source = gst::ElementFactory::make("moqsrc").build().expect("moqsrc");
    let flags = source.element_flags();
    assert!(flags.contains(gst::ElementFlags::SOURCE | gst::ElementFlags::REQUIRE_CLOCK));
    assert!(!flags.contains(gst::ElementFlags::SINK));
    let bin = source.downcast_ref::<gst::Bin>().expect("a bin");
    let suppressed = bin.suppressed_flags();
    assert!(suppressed.contains(gst::ElementFlags::SOURCE | gst::ElementFlags::SINK));
}

/// Row 22.
#[test]
fn stopping_while_dialling_a_black_hole_is_quick() {
    init();
    let (_hole, url) = black_hole();
    let player = player(&url, "");
    let (_, took) = timed(|| player.set(gst::State::Playing));
    assert!(took < STOP_LIMIT, "starting took {took:?}");
    wait_progress(&player, "connect");
    stop(&player);
}

#[test]
fn stopping_while_waiting_for_the_broadcast_is_quick() {
    let relay = relay();
    let player = player(&relay.url(), "");
    player.set(gst::State::Playing);
    wait_progress(&player, "broadcast");
    wait_element_message(&player, "moq-connected");
    stop(&player);
}

/// Row 22: also when downstream holds the streaming thread.
#[test]
fn stopping_while_a_streaming_thread_is_blocked_downstream_is_quick() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    // Without a queue the clock wait of the sink holds the streaming thread.
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} latency=2000 src.video_0 ! fakesink name=video sync=true",
        relay.url()
    ));
    let video = player.record("video");
    player.set(gst::State::Playing);
    video.wait_count(1);
    stop(&player);
}

#[test]
fn twenty_rounds_of_ready_and_playing_with_media_in_each() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 15);
    let player = player(&relay.url(), "latency=40");
    let (video, audio) = (player.record("video"), player.record("audio"));
    let source = player.by_name("src");
    link_when_added(&player);
    for round in 0..20 {
        video.clear();
        audio.clear();
        player.set(gst::State::Playing);
        let first = video.wait_count(5).remove(0);
        assert!(first.is_key() && first.is_discont(), "round {round}");
        audio.wait_count(5);
        player.set(gst::State::Ready);
        assert_eq!(source.num_src_pads(), 0, "round {round}: a pad stayed");
        let inner = source.downcast_ref::<gst::Bin>().expect("a bin");
        assert_eq!(inner.children().len(), 0, "round {round}: a source stayed");
    }
}

/// Links pads in every round: those of gst-launch's description are linked once only.
fn link_when_added(player: &Pipeline) {
    let queue_of = |name| {
        let sink = player.by_name(name).static_pad("sink").expect("a pad");
        let queue = sink.peer().and_then(|peer| peer.parent_element());
        queue.expect("a queue").static_pad("sink").expect("a pad")
    };
    let (video, audio) = (queue_of("video"), queue_of("audio"));
    player.by_name("src").connect_pad_added(move |_, pad| {
        let sink = if pad.name() == "video_0" {
            &video
        } else {
            &audio
        };
        if !sink.is_linked() {
            pad.link(sink).expect("linked");
        }
    });
}

/// Rows 2 and 8: live data of the past is worth nothing after a pause.
#[test]
fn nothing_is_pushed_while_paused_and_play_goes_on_at_the_live_edge() {
    let relay = relay();
    let publisher = Publisher::start(&relay.url(), 30);
    let sending = publisher.pipeline.record("video");
    let player = player(&relay.url(), "latency=100");
    let pushed = Record::default();
    let into = pushed.clone();
    player.by_name("src").connect_pad_added(move |_, pad| {
        if pad.name() == "video_0" {
            let into = into.clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                into.add(pad, info.buffer().expect("a buffer"));
                gst::PadProbeReturn::Ok
            });
        }
    });
    player.set(gst::State::Playing);
    pushed.wait_count(30);

    player.set(gst::State::Paused);
    // One frame may have been on its way.
    let sent = sending.len();
    sending.wait_count(sent + 5);
    let before = pushed.len();
    sending.wait_count(sent + 40);
    assert_eq!(pushed.len(), before, "something was pushed in PAUSED");

    let at_resume = publisher.video.lock().len();
    player.set(gst::State::Playing);
    let after = pushed.wait("frames after the pause", |seen| {
        let presented = seen[before..].iter().filter(|seen| seen.running.is_some());
        presented.count() >= 10
    });
    let resumed = &after[before];
    assert!(resumed.is_discont() && resumed.is_key());
    let presented = after[before..]
        .iter()
        .find(|seen| seen.running.is_some())
        .expect("waited for");
    let sent = publisher.video.lock().clone();
    let index = sent
        .iter()
        .position(|sent| sent.hash == presented.hash)
        .expect("a frame that was sent");
    assert!(
        index + 6 >= at_resume,
        "presentation went on {} frames behind the live edge",
        at_resume - index
    );
    assert!(
        after[before..]
            .windows(2)
            .all(|two| two[0].dts < two[1].dts)
    );
}

fn runtimes() -> [tokio::runtime::Runtime; 2] {
    let current_thread = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let multi_thread = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    [current_thread, multi_thread].map(|runtime| runtime.expect("a runtime"))
}

/// Row 22: from inside tokio of both kinds; where blocking on a runtime panics.
#[test]
fn it_is_made_played_stopped_and_dropped_inside_of_runtimes() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 15);
    for runtime in runtimes() {
        runtime.block_on(async {
            let unused = gst::ElementFactory::make("moqsrc").build().expect("moqsrc");
            drop(unused);
            let stopped = player(&relay.url(), "");
            stopped.set(gst::State::Playing);
            stopped.record("video").wait_count(3);
            stop(&stopped);
            drop(stopped);

            let (_hole, url) = black_hole();
            let dialling = player(&url, "");
            dialling.set(gst::State::Playing);
            stop(&dialling);
        });
        let player = player(&relay.url(), "");
        runtime.block_on(async {
            player.set(gst::State::Playing);
            player.record("video").wait_count(3);
        });
        // Dropped in a task, without NULL before.
        let (_, took) = timed(|| {
            runtime.block_on(async move {
                tokio::spawn(async move { drop(player) })
                    .await
                    .expect("no panic")
            })
        });
        assert!(took < STOP_LIMIT, "{took:?}");
    }
}

/// Stops the pipeline on the thread that calls this, and says how long that took.
fn stop_here(pipeline: &gst::Pipeline, done: &mpsc::Sender<Duration>) {
    let (stopped, took) = timed(|| pipeline.set_state(gst::State::Null));
    assert!(stopped.is_ok());
    let _ = done.send(took);
}

/// Row 22: an application's handler may stop everything.
#[test]
fn it_can_be_stopped_from_pad_added_and_from_no_more_pads() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 15);
    for signal in ["pad-added", "no-more-pads"] {
        let player = player(&relay.url(), "");
        let (done, stopped) = mpsc::channel();
        let pipeline = player.0.downgrade();
        let source = player.by_name("src");
        source.connect(signal, false, move |_| {
            if let Some(pipeline) = pipeline.upgrade() {
                stop_here(&pipeline, &done);
            }
            None
        });
        player.set(gst::State::Playing);
        let took = stopped.recv_timeout(LIMIT).expect(signal);
        assert!(took < STOP_LIMIT, "{signal}: {took:?}");
        assert_eq!(player.0.current_state(), gst::State::Null);
        // The handler is still on its way out of the element; a second stop is harmless.
        stop(&player);
        assert_eq!(source.num_src_pads(), 0, "{signal}");
    }
}

/// Row 22.
#[test]
fn it_can_be_stopped_from_a_bus_sync_handler() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 15);
    for wanted in ["moq-connected", "collection", "selected"] {
        let player = player(&relay.url(), "");
        let (done, stopped) = mpsc::channel();
        let pipeline = player.0.downgrade();
        let bus = player.0.bus().expect("a bus");
        bus.set_sync_handler(move |_, message| {
            let found = match message.view() {
                gst::MessageView::Element(element) => {
                    element.structure().is_some_and(|s| s.name() == wanted)
                }
                gst::MessageView::StreamCollection(_) => wanted == "collection",
                gst::MessageView::StreamsSelected(_) => wanted == "selected",
                _ => false,
            };
            if found && let Some(pipeline) = pipeline.upgrade() {
                stop_here(&pipeline, &done);
            }
            gst::BusSyncReply::Pass
        });
        player.set(gst::State::Playing);
        let took = stopped.recv_timeout(LIMIT).expect(wanted);
        assert!(took < STOP_LIMIT, "{wanted}: {took:?}");
        bus.unset_sync_handler();
        stop(&player);
    }
}

/// Whoever stops wins over whoever is just adding pads.
#[test]
fn it_is_stopped_at_every_moment_of_its_start() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 15);
    for round in 0..30u64 {
        let player = player(&relay.url(), "");
        let stopper = player.0.clone();
        let (go, started) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            started.recv().expect("started");
            // Not synchronisation: each round stops at another moment.
            std::thread::sleep(Duration::from_millis(round * 3));
            timed(|| stopper.set_state(gst::State::Null))
        });
        player.set(gst::State::Paused);
        let _ = player.0.set_state(gst::State::Playing);
        go.send(()).expect("the thread waits");
        let (stopped, took) = thread.join().expect("no panic");
        assert!(
            stopped.is_ok() && took < STOP_LIMIT,
            "round {round}: {took:?}"
        );
        assert_eq!(player.by_name("src").num_src_pads(), 0, "round {round}");
    }
}

/// Nothing of a player outlives it: neither the element nor its connection.
#[test]
fn nothing_keeps_a_player_that_was_dropped() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 15);
    let player = player(&relay.url(), "");
    let video = player.record("video");
    player.set(gst::State::Playing);
    video.wait_count(3);
    let source = player.by_name("src").downgrade();
    let pads = Arc::new(AtomicU32::new(0));
    for pad in source.upgrade().expect("there").src_pads() {
        let pads = pads.clone();
        pads.fetch_add(1, Ordering::SeqCst);
        pad.add_weak_ref_notify(move || {
            pads.fetch_sub(1, Ordering::SeqCst);
        });
    }
    drop(player);
    let end = Instant::now() + LIMIT;
    while source.upgrade().is_some() || pads.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < end, "something is still referenced");
        std::thread::yield_now();
    }
}

/// A property that may not change now keeps its value, and the element goes on.
#[test]
fn properties_of_the_wrong_state_keep_their_values() {
    let relay = relay();
    let player = player(&relay.url(), "broadcast-timeout=5000000000");
    player.set(gst::State::Playing);
    let source = player.by_name("src");
    let url: String = source.property("url");
    source.set_property("url", "https://other.example/");
    source.set_property("broadcast", "other");
    source.set_property("broadcast-timeout", 1u64);
    source.set_property_from_str("start", "next-group");
    assert_eq!(source.property::<String>("url"), url);
    assert_eq!(source.property::<String>("broadcast"), BROADCAST);
    assert_eq!(source.property::<u64>("broadcast-timeout"), 5_000_000_000);
    stop(&player);
    source.set_property("broadcast", "other");
    assert_eq!(source.property::<String>("broadcast"), "other");
}

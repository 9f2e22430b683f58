//! Relays and publishers that go away and come back (peer-lessons rows 3, 5 and 18), seen from the pads of moqsrc.

mod common;

use std::time::Duration;

use common::{
    Seen,
    paths::{
        BROADCAST, Feed, FeedOptions, TOLERANCE_MS, View, ViewOptions, assert_decodable, delay,
        path_delays, path_to, relay, relay_at, spread, watchful_relay,
    },
    sync::assert_in_sync,
};
use gst::prelude::*;
use gstmoq::{net::relay::Relay, netsim::Proxy};

/// Longer than any stop takes.
const STOP: Duration = Duration::from_millis(500);

/// Plays two seconds or so, and gives the delay of what was presented since `from`, in ms.
fn settled_delay(feed: &Feed, view: &View, from: usize) -> f64 {
    let got = view.video.wait("two seconds", |got| got.len() >= from + 60);
    spread(path_delays(view, &feed.video.all(), &got[got.len() - 30..])).0
}

fn assert_same_delay(before: f64, after: f64) {
    eprintln!("delay {before:.1} ms before, {after:.1} ms after");
    assert!(
        (after - before).abs() <= TOLERANCE_MS,
        "{before} ms, then {after} ms"
    );
}

/// What came since `from` starts with DISCONT and a key frame.
fn assert_joined_anew(got: &[Seen], from: usize) {
    let discont = got[from..].iter().find(|seen| seen.is_discont());
    assert!(discont.is_some_and(Seen::is_key), "DISCONT on a key frame");
}

fn stops_and_starts_again(stop: impl FnOnce(Relay)) {
    let first = relay();
    let address = first.bound()[0];
    let feed = FeedOptions::new(&first.url()).start();
    let view = ViewOptions::new(&first.url()).play();
    let before = settled_delay(&feed, &view, 0);
    stop(first);
    let seen = (view.video.len(), view.audio.len());
    let gone = view.now();
    let _second = relay_at(address);
    let first = view.wait_playing(&view.video, gone);
    eprintln!(
        "playing {} ms after the relay went",
        (first - gone) / 1_000_000
    );
    let after = settled_delay(&feed, &view, seen.0);
    let got = view.video.all();
    assert_decodable(&feed.video.all(), &got);
    assert_joined_anew(&got, seen.0);
    let audio = view.audio.wait("sound", |got| got.len() >= seen.1 + 50);
    assert!(audio[seen.1..].iter().any(Seen::is_discont));
    assert_in_sync(&view, &feed);
    view.assert_undisturbed();
    assert_same_delay(before, after);
}

#[test]
fn a_relay_that_is_killed_and_comes_back_is_played_from_again_row_3() {
    stops_and_starts_again(|relay| {
        relay.stop_blocking(Duration::ZERO);
    });
}

#[test]
fn a_relay_that_says_goaway_and_comes_back_is_played_from_again_row_3() {
    stops_and_starts_again(|relay| {
        relay.stop_blocking(STOP);
    });
}

/// A publisher that can vanish without a word, like one whose machine loses its power.
fn mortal(relay: &Relay) -> (Feed, Proxy) {
    let (proxy, url) = path_to(relay.bound()[0], delay(0));
    (FeedOptions::new(&url).start(), proxy)
}

const FOR_EVER: Duration = Duration::from_secs(3600);

/// It may come back any moment, so it is not lost yet; but the user should know why the picture stands.
#[test]
fn a_relay_that_falls_silent_is_told_once_while_it_is_dialled_beside_the_session() {
    let relay = relay();
    let feed = FeedOptions::new(&relay.url()).start();
    let (proxy, url) = path_to(relay.bound()[0], delay(0));
    let view = ViewOptions::new(&url).play();
    view.video.wait_count(30);
    proxy.cut(Duration::from_secs(3));
    // Those without a cause are GStreamer's: nothing comes to the sinks.
    let told = |message: &gst::Message| match message.view() {
        gst::MessageView::Warning(warning) => {
            let cause = cause(warning.details())?;
            Some((cause, warning.error().message().to_owned()))
        }
        _ => None,
    };
    let (cause, text) = view.pipeline.wait_for("a warning", told);
    assert!(
        cause == "timeout" && text.contains("nothing was heard"),
        "{text}"
    );
    let state = view
        .pipeline
        .by_name("src")
        .property_value("connection-state");
    assert_eq!(state.serialize().expect("an enum"), "connected");
    // On another session, or on this one: whichever gets through first.
    let text = view.pipeline.wait_for("word of its return", back);
    assert!(text.contains(" again ") && text.contains(&url), "{text}");
    view.wait_playing(&view.video, view.now());
    let bus = view.pipeline.0.bus().expect("a pipeline has a bus");
    let more = std::iter::from_fn(|| bus.pop()).find_map(|message| told(&message));
    assert_eq!(more, None);
    drop(feed);
}

/// What an INFO of ours says, to applications that print its first text as to those that print its second.
fn back(message: &gst::Message) -> Option<String> {
    match message.view() {
        gst::MessageView::Info(info) => {
            let text = info.error().message().to_owned();
            assert_eq!(info.debug().as_deref(), Some(&*text));
            Some(text)
        }
        _ => None,
    }
}

/// Row 3: who looks at the terminal sees that it goes on again, of publisher and player.
#[test]
fn the_return_of_a_relay_is_told_by_whoever_told_its_loss() {
    let first = relay();
    let (address, url) = (first.bound()[0], first.url());
    let publisher = common::Pipeline::play(&format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120 ! x264enc tune=zerolatency ! \
         moqsink url={url}?jwt=secret broadcast={BROADCAST}"
    ));
    let player = common::Pipeline::play(&format!(
        "moqsrc name=src url={url} broadcast={BROADCAST} src.video_0 ! queue ! fakesink name=video"
    ));
    player.record("video").wait_count(5);
    assert!(first.stop_blocking(STOP));
    for pipeline in [&publisher, &player] {
        pipeline.wait_for("a loss", |message| match message.view() {
            gst::MessageView::Warning(warning) => cause(warning.details()),
            _ => None,
        });
    }
    let _second = relay_at(address);
    for pipeline in [&publisher, &player] {
        let text = pipeline.wait_for("word of its return", back);
        let want = format!("Connected again to {url} after ");
        assert!(text.starts_with(&want) && text.ends_with(" s"), "{text}");
    }
}

/// The pictures that this publisher sent.
fn of(feed: &Feed, got: &[Seen]) -> Vec<Seen> {
    let sent = feed.video.all();
    let is_its = |seen: &&Seen| sent.iter().any(|sent| sent.hash == seen.hash);
    got.iter().filter(is_its).cloned().collect()
}

/// The first publisher vanishes, and another starts when the relay has noticed, or at once; the pads go on with what that
/// sends.
fn another_publisher_takes_over(noticed: bool, options: impl FnOnce(FeedOptions) -> FeedOptions) {
    let relay = watchful_relay();
    let (first, path) = mortal(&relay);
    let view = ViewOptions::new(&relay.url()).play();
    let before = settled_delay(&first, &view, 0);
    path.cut(FOR_EVER);
    if noticed {
        view.pipeline
            .wait_for("the loss", |message| match message.view() {
                gst::MessageView::Warning(warning) => cause(warning.details()),
                _ => None,
            });
    }
    let from = view.video.len();
    let second = options(FeedOptions::new(&relay.url())).start();
    let started = view.now();
    view.video.wait("pictures of the second", |got| {
        of(&second, &got[from..]).len() >= 60
    });
    let got = view.video.all();
    let seconds = of(&second, &got[from..]);
    assert!(seconds[0].is_key() && seconds[0].is_discont());
    assert_decodable(&second.video.all(), &seconds);
    assert_eq!(
        got.last(),
        seconds.last(),
        "nothing of the first comes after it"
    );
    eprintln!(
        "playing {} ms after it began",
        (view.arrived(&seconds[0]) - started) / 1_000_000
    );
    let delays = path_delays(&view, &second.video.all(), &seconds[seconds.len() - 30..]);
    let sound = second.audio.all();
    view.audio.wait("sound of the second", |got| {
        let is_its = |seen: &&Seen| sound.iter().any(|sent| sent.hash == seen.hash);
        got.iter().filter(is_its).count() >= 50
    });
    assert_in_sync(&view, &second);
    view.assert_undisturbed();
    assert_same_delay(before, spread(delays).0);
    drop(first);
}

fn cause(details: Option<&gst::StructureRef>) -> Option<String> {
    details?.get::<String>("cause").ok()
}

#[test]
fn a_publisher_that_starts_anew_at_media_time_zero_is_joined_anew_row_18() {
    another_publisher_takes_over(true, |options| options);
}

#[test]
fn a_publisher_that_comes_back_with_other_track_names_goes_on_at_the_same_pads() {
    another_publisher_takes_over(true, |options| options.tracks("camera", "microphone"));
}

#[test]
fn a_pad_that_goes_on_with_a_track_of_another_name_says_so_row_6() {
    let relay = watchful_relay();
    let (first, path) = mortal(&relay);
    let view = ViewOptions::new(&relay.url()).play();
    view.video.wait_count(30);
    let pad = view.pipeline.by_name("src").static_pad("video_0");
    let pad = pad.expect("a pad");
    let stream = || {
        let start = pad.sticky_event::<gst::event::StreamStart>(0);
        let start = start.expect("a stream");
        (start.stream_id().to_string(), start.group_id())
    };
    let before = stream();
    path.cut(FOR_EVER);
    let from = view.video.len();
    let second = FeedOptions::new(&relay.url())
        .tracks("camera", "microphone")
        .start();
    view.video.wait("pictures of the second", |got| {
        of(&second, &got[from..]).len() >= 10
    });
    let after = stream();
    assert!(after.0.ends_with("/camera"), "{after:?}");
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1, "the group goes on");
    drop(first);
}

/// For a while the relay has two publishers of one name, of which one is silent.
#[test]
fn a_publisher_that_vanished_is_replaced_by_the_next_of_its_name_at_once() {
    another_publisher_takes_over(false, |options| options);
}

#[test]
fn a_publisher_that_finishes_ends_all_pads_with_eos() {
    let relay = relay();
    let feed = FeedOptions::new(&relay.url()).start();
    let view = ViewOptions::new(&relay.url()).play();
    view.video.wait_count(45);
    feed.finish();
    view.pipeline.wait_eos();
    let (sent, got) = (feed.video.all(), view.video.all());
    let indices = assert_decodable(&sent, &got);
    assert_eq!(
        indices.last(),
        Some(&(sent.len() - 1)),
        "the last frame came"
    );
    let mut eos = view.heard().eos;
    eos.sort();
    assert_eq!(eos, ["audio", "video"]);
}

#[test]
fn a_broadcast_that_is_not_there_yet_is_waited_for_with_progress() {
    let relay = relay();
    let view = ViewOptions::new(&relay.url()).play();
    view.pipeline.wait_for("PROGRESS start", |message| {
        progress(message, gst::ProgressType::Start)
    });
    let feed = FeedOptions::new(&relay.url()).start();
    view.pipeline.wait_for("PROGRESS complete", |message| {
        progress(message, gst::ProgressType::Complete)
    });
    view.video.wait_count(30);
    view.audio.wait_count(30);
    assert_decodable(&feed.video.all(), &view.video.all());
    view.assert_undisturbed();
}

/// The connection and the search for the broadcast are told of from places of their own, but in one order.
#[test]
fn progress_of_the_connection_comes_before_that_of_what_goes_by_it() {
    use gst::ProgressType::{Complete, Start};
    let relay = relay();
    let _feed = FeedOptions::new(&relay.url()).start();
    for _ in 0..8 {
        let view = ViewOptions::new(&relay.url()).play();
        let mut told = Vec::new();
        view.pipeline.wait_for("the end of both", |message| {
            if let gst::MessageView::Progress(progress) = message.view() {
                let (kind, code, _) = progress.get();
                told.push((code.to_owned(), kind));
            }
            let over = told.iter().filter(|(_, kind)| *kind == Complete);
            (over.count() == 2).then_some(())
        });
        let at = |code: &str, kind| {
            let found = told.iter().position(|it| *it == (code.to_owned(), kind));
            found.unwrap_or_else(|| panic!("no {code} {kind:?}: {told:?}"))
        };
        let order = [
            at("connect", Start),
            at("connect", Complete),
            at("broadcast", Complete),
        ];
        assert!(order.is_sorted(), "{told:?}");
        assert!(
            at("connect", Start) < at("broadcast", Start)
                && at("broadcast", Start) < at("broadcast", Complete),
            "{told:?}"
        );
    }
}

fn progress(message: &gst::Message, wanted: gst::ProgressType) -> Option<()> {
    match message.view() {
        gst::MessageView::Progress(progress) => {
            let (kind, code, _) = progress.get();
            (kind == wanted && code == "broadcast").then_some(())
        }
        _ => None,
    }
}

#[test]
fn a_broadcast_that_does_not_come_within_its_timeout_is_an_error() {
    let relay = relay();
    let view = ViewOptions::new(&relay.url())
        .with("broadcast-timeout=300000000")
        .play();
    let (text, cause) = view.pipeline.wait_error();
    assert_eq!(cause.as_deref(), Some("no-broadcast"), "{text}");
    assert!(text.contains(BROADCAST), "{text}");
}

#[test]
fn a_broadcast_that_stays_away_longer_than_its_timeout_is_an_error() {
    let relay = watchful_relay();
    let (feed, path) = mortal(&relay);
    let view = ViewOptions::new(&relay.url())
        .with("broadcast-timeout=500000000")
        .play();
    view.video.wait_count(30);
    path.cut(FOR_EVER);
    let (text, cause) = view.pipeline.wait_error();
    assert_eq!(cause.as_deref(), Some("no-broadcast"), "{text}");
    assert_eq!(view.heard().eos, Vec::<String>::new());
    drop(feed);
}

#[test]
fn a_track_is_subscribed_while_its_pad_is_linked_row_5() {
    let relay = relay();
    let feed = FeedOptions::new(&relay.url()).start();
    let view = ViewOptions::new(&relay.url()).video_only().play();
    view.video.wait_count(30);
    assert!(feed.demand("video_0"));
    assert!(!feed.demand("audio_0"), "nobody linked the pad");
    assert_eq!(view.heard().pads_added.len(), 2);

    let pad = view
        .pipeline
        .by_name("src")
        .static_pad("audio_0")
        .expect("a pad");
    let sink = gst::ElementFactory::make("fakesink")
        .name("later")
        .build()
        .expect("a sink");
    view.pipeline.0.add(&sink).expect("added");
    sink.sync_state_with_parent().expect("started");
    let audio = view.pipeline.record("later");
    let into = sink.static_pad("sink").expect("a pad");
    pad.link(&into).expect("linked");
    feed.wait_demand("audio_0", true);
    let got = audio.wait_count(50);
    assert!(got.iter().filter(|seen| seen.running.is_some()).count() >= 45);

    pad.unlink(&into).expect("unlinked");
    feed.wait_demand("audio_0", false);
    view.video.wait_count(view.video.len() + 30);
    view.assert_undisturbed();
    let _ = sink.set_state(gst::State::Null);
}

#[test]
fn streams_are_selected_by_an_event_row_5() {
    let relay = relay();
    let feed = FeedOptions::new(&relay.url()).start();
    let view = ViewOptions::new(&relay.url()).play();
    let collection = view
        .pipeline
        .wait_for("a collection", |message| match message.view() {
            gst::MessageView::StreamCollection(message) => Some(message.stream_collection()),
            _ => None,
        });
    view.audio.wait_count(30);
    let id = |kind: gst::StreamType| {
        collection
            .iter()
            .find(|stream| stream.stream_type().contains(kind))
            .and_then(|stream| stream.stream_id())
            .expect("a stream")
    };
    let (video, audio) = (id(gst::StreamType::VIDEO), id(gst::StreamType::AUDIO));
    let src = view.pipeline.by_name("src");
    assert!(src.send_event(gst::event::SelectStreams::new([video.as_str()])));
    view.pipeline
        .wait_for("the selection", |message| match message.view() {
            gst::MessageView::StreamsSelected(message) => {
                let ids: Vec<_> = message
                    .streams()
                    .filter_map(|stream| stream.stream_id())
                    .collect();
                (ids == [video.clone()]).then_some(())
            }
            _ => None,
        });
    feed.wait_demand("audio_0", false);
    assert_eq!(view.heard().pads_removed, ["audio_0"]);
    assert!(src.send_event(gst::event::SelectStreams::new([
        video.as_str(),
        audio.as_str()
    ])));
    view.pipeline
        .wait_for("both again", |message| match message.view() {
            gst::MessageView::StreamsSelected(message) => {
                (message.streams().count() == 2).then_some(())
            }
            _ => None,
        });
    let from = view.video.len();
    view.video.wait_count(from + 30);
    assert_eq!(view.heard().errors, Vec::<String>::new());
}

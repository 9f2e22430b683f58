//! What moqsrc and moqsink say when they cannot do what they are there for, and with which cause.

mod common;

use std::time::Duration;

use common::{
    Pipeline, init,
    paths::{FeedOptions, relay_at},
    publisher::{BROADCAST, Publisher},
};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

fn player(relay: &Relay, properties: &str) -> Pipeline {
    Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} {properties} src.video_0 ! queue ! fakesink name=video sync=true",
        relay.url()
    ))
}

/// The first error, with its domain's code looked at.
fn settings_error(description: &str) -> (String, bool) {
    init();
    let pipeline = Pipeline::launch(&format!("{description} fakesink"));
    assert!(pipeline.0.set_state(gst::State::Playing).is_err());
    let bus = pipeline.0.bus().expect("a bus");
    let mut errors = Vec::new();
    while let Some(message) = bus.pop() {
        if let gst::MessageView::Error(err) = message.view() {
            let cause = err
                .details()
                .and_then(|details| details.get::<String>("cause").ok());
            assert_eq!(cause.as_deref(), Some("settings"));
            errors.push((
                err.error().to_string(),
                err.error().matches(gst::ResourceError::Settings),
            ));
        }
    }
    assert_eq!(errors.len(), 1, "one error: {errors:?}");
    errors.remove(0)
}

/// Row 16.
#[test]
fn settings_that_cannot_work_are_one_error_that_names_the_property() {
    for (description, names) in [
        ("moqsrc", "url"),
        ("moqsrc url=https://127.0.0.1/", "broadcast"),
        ("moqsrc url=\"no url\" broadcast=a", "no"),
        ("moqsrc url=gopher://127.0.0.1/ broadcast=a", "gopher"),
        (
            "moqsrc url=https://127.0.0.1/ broadcast=a server-certificate-hashes=<\"xyz\">",
            "server-certificate-hashes",
        ),
    ] {
        let (text, settings) = settings_error(description);
        assert!(settings && text.contains(names), "{description}: {text}");
    }
}

/// The cause of the first warning, then that of the error that ends it.
fn warning_then_error(pipeline: &Pipeline) -> (String, String) {
    pipeline.set(gst::State::Playing);
    let warned = pipeline.wait_for("a warning", |message| match message.view() {
        gst::MessageView::Warning(warning) => warning
            .details()
            .and_then(|details| details.get::<String>("cause").ok()),
        _ => None,
    });
    let (text, cause) = pipeline.wait_error();
    assert!(!text.contains("secret"), "{text}");
    (warned, cause.expect("a cause"))
}

/// Row 16: why it does not come about is said while it retries, and the first connection is bounded.
#[test]
fn failures_to_connect_are_warnings_with_a_cause_and_in_the_end_an_error() {
    init();
    let limit = "connect-timeout=700000000";
    let launch = |url: &str, more: &str| {
        Pipeline::launch(&format!(
            "moqsrc url={url} broadcast=a {limit} {more} fakesink async=false"
        ))
    };
    let both = |cause: &str| (cause.to_owned(), cause.to_owned());

    let absent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let nowhere = format!("https://{}/", absent.local_addr().expect("an address"));
    drop(absent);
    assert_eq!(
        warning_then_error(&launch(&nowhere, "")),
        both("udp-blocked")
    );

    let absent = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let nowhere = format!("http://{}/", absent.local_addr().expect("an address"));
    drop(absent);
    assert_eq!(
        warning_then_error(&launch(&nowhere, "")),
        both("tcp-refused")
    );

    let closed = Relay::start(RelayConfig {
        trust_loopback: false,
        ..RelayConfig::local()
    })
    .expect("a relay");
    for transport in ["quic", "webtransport"] {
        let more = format!("auth-token=secret transport={transport}");
        let refused = launch(&closed.url(), &more);
        assert_eq!(warning_then_error(&refused), both("auth"), "{transport}");
    }
}

/// Row 16: what trying again cannot mend is an error at once, and no warning before it.
#[test]
fn a_certificate_that_is_not_trusted_is_one_error_at_once() {
    let relay = relay();
    let url = format!("https://{}/", relay.bound()[0]);
    let wrong_pin = format!("server-certificate-hashes=<\"{}\">", "07".repeat(32));
    for (element, more) in [("moqsrc", ""), ("moqsrc", &*wrong_pin), ("moqsink", "")] {
        let pipeline = Pipeline::launch(&format!(
            "{element} url={url} broadcast=a connect-timeout=3600000000000 {more} fakesink async=false"
        ));
        pipeline.set(gst::State::Playing);
        let mut warnings = 0;
        let cause = pipeline.wait_for("an error", |message| match message.view() {
            gst::MessageView::Error(err) if err.details().is_some() => {
                Some(err.details()?.get::<String>("cause"))
            }
            gst::MessageView::Warning(_) => {
                warnings += 1;
                None
            }
            _ => None,
        });
        assert_eq!(
            (cause.as_deref(), warnings),
            (Ok("tls"), 0),
            "{element} {more}"
        );
    }
}

/// Row 16: nobody reads the same sentence for every retry.
#[test]
fn a_relay_that_is_not_there_is_one_warning_and_one_error_however_often_it_is_dialled() {
    init();
    let absent = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let nowhere = absent.local_addr().expect("an address");
    drop(absent);
    let pipeline = Pipeline::launch(&format!(
        "moqsrc url=http://{nowhere}/ broadcast=a connect-timeout=6000000000 fakesink async=false"
    ));
    pipeline.set(gst::State::Playing);
    let mut texts = Vec::new();
    pipeline.wait_for("the error", |message| match message.view() {
        gst::MessageView::Error(err) => {
            texts.push(err.error().message().to_owned());
            Some(())
        }
        gst::MessageView::Warning(warning) => {
            texts.push(warning.error().message().to_owned());
            None
        }
        gst::MessageView::Progress(progress) => {
            texts.push(progress.get().2.to_owned());
            None
        }
        _ => None,
    });
    let sentences = texts
        .iter()
        .filter(|text| text.contains("is the relay running"));
    assert_eq!(sentences.count(), 2, "{texts:?}");
}

/// Row 16: a broadcast that is not there is waited for, for as long as `broadcast-timeout` says.
#[test]
fn a_broadcast_that_never_comes_is_an_error_after_its_timeout_and_one_that_comes_late_plays() {
    let relay = relay();
    let player = player(&relay, "broadcast-timeout=300000000");
    player.set(gst::State::Playing);
    let (text, cause) = player.wait_error();
    assert_eq!(cause.as_deref(), Some("no-broadcast"));
    assert!(text.contains(BROADCAST), "{text}");

    let late = self::player(&relay, "");
    let video = late.record("video");
    late.set(gst::State::Playing);
    late.wait_for("waiting for the broadcast", |message| {
        match message.view() {
            gst::MessageView::Progress(progress) => (progress.get().1 == "broadcast").then_some(()),
            _ => None,
        }
    });
    let _publisher = Publisher::start(&relay.url(), 30);
    assert!(video.wait_count(10)[0].is_key());
}

/// Row 16: whoever got the name wrong is told what there is, once, although it is waited for without an end.
#[test]
fn a_name_that_is_not_announced_is_told_with_those_that_are() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast=tset.hang src.video_0 ! fakesink name=video",
        relay.url()
    ));
    player.set(gst::State::Playing);
    let mut progress = String::new();
    let told = player.wait_for("a warning", |message| match message.view() {
        gst::MessageView::Progress(message) => {
            let (_, code, text) = message.get();
            if code == "broadcast" {
                progress = text.to_owned();
            }
            None
        }
        gst::MessageView::Warning(warning) => Some(warning.error().message().to_owned()),
        _ => None,
    });
    assert!(progress.contains("'tset.hang'"), "{progress}");
    for part in ["'tset.hang'", &format!("'{BROADCAST}'"), &relay.url()] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Properties count in nanoseconds, and seconds are easily meant.
#[test]
fn a_timeout_that_was_set_in_another_unit_is_told_with_its_unit() {
    let relay = relay();
    let player = player(&relay, "broadcast-timeout=2");
    player.set(gst::State::Playing);
    let (text, _) = player.wait_error();
    assert!(text.contains(" 2 ns "), "{text}");
}

/// Row 16: an end that is asked for before anything came repeats why.
#[test]
fn the_error_of_an_end_that_ends_nothing_says_why_nothing_came() {
    let relay = relay();
    let connected = player(&relay, "");
    connected.set(gst::State::Playing);
    connected.wait_for("the search", |message| match message.view() {
        gst::MessageView::Progress(progress) => {
            let (kind, code, _) = progress.get();
            (code == "connect" && kind == gst::ProgressType::Complete).then_some(())
        }
        _ => None,
    });
    connected.0.send_event(gst::event::Eos::new());
    let (text, cause) = connected.wait_error();
    assert_eq!(cause.as_deref(), Some("no-broadcast"), "{text}");
    assert!(text.contains(BROADCAST), "{text}");

    let address = relay.bound()[0];
    assert!(relay.stop_blocking(Duration::from_secs(1)));
    let alone = Pipeline::launch(&format!(
        "moqsrc url=http://{address}/ broadcast=a connect-timeout=60000000000 fakesink async=false"
    ));
    alone.set(gst::State::Playing);
    alone.wait_for("a failed dial", |message| match message.view() {
        gst::MessageView::Warning(_) => Some(()),
        _ => None,
    });
    alone.0.send_event(gst::event::Eos::new());
    let (text, cause) = alone.wait_error();
    assert_eq!(cause.as_deref(), Some("tcp-refused"), "{text}");
    assert!(text.contains("TCP port"), "{text}");
}

/// A file without a parser is one error of moqsink, which names what is missing.
#[test]
fn input_that_nothing_has_parsed_is_an_error_that_names_the_parser() {
    init();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("video.h264");
    let writer = Pipeline::play(&format!(
        "videotestsrc num-buffers=30 ! x264enc ! video/x-h264,stream-format=byte-stream ! filesink location={}",
        file.display()
    ));
    writer.wait_eos();
    for (source, names) in [
        (format!("filesrc location={}", file.display()), "h264parse"),
        (
            format!(
                "filesrc location={} ! video/x-h264,stream-format=byte-stream,alignment=au",
                file.display()
            ),
            "h264parse",
        ),
        ("filesrc location=Cargo.toml".to_owned(), "a parser"),
    ] {
        let pipeline = Pipeline::launch(&format!(
            "{source} ! moqsink name=sink url=https://127.0.0.1:9/ broadcast=a"
        ));
        pipeline.set(gst::State::Playing);
        let bus = pipeline.0.bus().expect("a bus");
        let limit = gst::ClockTime::try_from(common::LIMIT).expect("a time");
        let mut told = Vec::new();
        loop {
            let message = bus.timed_pop_filtered(limit, &[gst::MessageType::Error]);
            let message = message.expect("the source stops, and says so last");
            if message.src().is_none_or(|src| src.name() != "sink") {
                break;
            }
            if let gst::MessageView::Error(err) = message.view() {
                told.push(err.error().message().to_owned());
            }
        }
        assert!(
            matches!(&told[..], [text] if text.contains(names)),
            "{told:?}"
        );
    }
}

/// Lists of buffers take another way through the base class.
#[test]
fn lists_of_what_nothing_has_parsed_are_an_error_that_names_the_parser() {
    init();
    let pipeline = Pipeline::play(
        "appsrc name=src format=bytes caps=video/x-h264,stream-format=byte-stream,alignment=au ! \
         moqsink url=https://127.0.0.1:9/ broadcast=a",
    );
    let source: gst_app::AppSrc = pipeline.by_name("src").downcast().expect("an appsrc");
    let (listed, is_list) = std::sync::mpsc::channel();
    let pad = source.static_pad("src").expect("src");
    pad.add_probe(gst::PadProbeType::BUFFER_LIST, move |_, _| {
        let _ = listed.send(());
        gst::PadProbeReturn::Ok
    });
    let list: gst::BufferList = (0..3)
        .map(|_| gst::Buffer::from_slice([0, 0, 0, 1, 0x65, 0x88]))
        .collect();
    source.push_buffer_list(list).expect("pushed");
    is_list.recv_timeout(common::LIMIT).expect("a list");
    let (text, cause) = pipeline.wait_error();
    assert_eq!(cause.as_deref(), Some("codec"), "{text}");
    assert!(text.contains("h264parse"), "{text}");
}

/// Row 17: the token may be replaced at any time and can never be read.
#[test]
fn the_token_is_writable_while_playing_and_never_shown() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = player(&relay, "auth-token=first");
    let video = player.record("video");
    player.set(gst::State::Playing);
    video.wait_count(5);
    let source = player.by_name("src");
    source.set_property("auth-token", "second");
    let pspec = source.find_property("auth-token").expect("the property");
    assert!(pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING));
    assert!(!pspec.flags().contains(gst::glib::ParamFlags::READABLE));
    let stats: gst::Structure = source.property("stats");
    assert!(!stats.to_string().contains("second") && !stats.to_string().contains("first"));
    let so_far = video.len();
    video.wait_count(so_far + 10);
}

/// Answers `request-token` with what `answer` gives; tells the URL and the thread of each request.
fn on_request_token(
    element: &gst::Element,
    answer: Option<&'static str>,
) -> std::sync::mpsc::Receiver<(String, String)> {
    let (told, requests) = std::sync::mpsc::channel();
    element.connect("request-token", false, move |values| {
        let url: String = values[1].get().expect("the URL");
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let _ = told.send((url, thread));
        Some(answer.to_value())
    });
    requests
}

/// Row 17.
#[test]
fn a_refused_token_is_asked_for_on_a_thread_of_its_own_and_not_in_a_loop() {
    init();
    let closed = Relay::start(RelayConfig {
        trust_loopback: false,
        ..RelayConfig::local()
    })
    .expect("a relay");
    let to = format!(
        "url={} auth-token=secret connect-timeout=1500000000 broadcast={BROADCAST}",
        closed.url()
    );
    for (name, description) in [
        ("moqsrc", format!("moqsrc name=e {to} fakesink async=false")),
        (
            "moqsink",
            format!("audiotestsrc is-live=true ! opusenc ! moqsink name=e {to}"),
        ),
    ] {
        for answer in [Some("another"), None] {
            let pipeline = Pipeline::launch(&description);
            let requests = on_request_token(&pipeline.by_name("e"), answer);
            pipeline.set(gst::State::Playing);
            let (_, cause) = pipeline.wait_error();
            assert_eq!(cause.as_deref(), Some("auth"));
            let requests: Vec<_> = requests.try_iter().collect();
            assert!((1..=2).contains(&requests.len()), "{requests:?}");
            for (url, thread) in requests {
                assert_eq!(url, closed.url());
                assert_eq!(thread, format!("{name}-token"));
            }
        }
    }
}

/// Row 17: an application may take its time.
#[test]
fn a_handler_that_waits_for_a_token_holds_up_nothing() {
    init();
    let closed = Relay::start(RelayConfig {
        trust_loopback: false,
        ..RelayConfig::local()
    })
    .expect("a relay");
    let to = format!(
        "url={} auth-token=secret connect-timeout=700000000 broadcast={BROADCAST}",
        closed.url()
    );
    for description in [
        format!("moqsrc name=e {to} fakesink async=false"),
        format!("audiotestsrc is-live=true ! opusenc ! moqsink name=e {to}"),
    ] {
        let pipeline = Pipeline::launch(&description);
        let (asked, requests) = std::sync::mpsc::channel();
        let (answer, answers) = std::sync::mpsc::channel::<Option<String>>();
        let answers = std::sync::Mutex::new(answers);
        pipeline
            .by_name("e")
            .connect("request-token", false, move |_| {
                let _ = asked.send(());
                let answer = answers.lock().expect("one handler").recv();
                Some(answer.unwrap_or_default().to_value())
            });
        pipeline.set(gst::State::Playing);
        requests.recv_timeout(common::LIMIT).expect("a request");
        let (_, cause) = pipeline.wait_error();
        assert_eq!(cause.as_deref(), Some("auth"));
        pipeline.set(gst::State::Null);
        drop(answer);
    }
}

/// Row 17: before a token expires the next one is there, and nothing is disturbed.
#[test]
fn a_token_that_is_about_to_expire_is_asked_for_while_playing() {
    // {"alg":"none"}.{"iat":1,"exp":2}
    const EXPIRED: &str = "eyJhbGciOiJub25lIn0.eyJpYXQiOjEsImV4cCI6Mn0.c2ln";
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = player(&relay, "auth-token=first");
    let video = player.record("video");
    let source = player.by_name("src");
    let requests = on_request_token(&source, Some("second"));
    player.set(gst::State::Playing);
    video.wait_count(5);
    assert!(requests.try_recv().is_err());
    source.set_property("auth-token", EXPIRED);
    let request = requests.recv_timeout(common::LIMIT).expect("a request");
    assert_eq!(request.0, relay.url());
    let so_far = video.len();
    video.wait_count(so_far + 10);
    assert!(requests.try_recv().is_err());
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

/// Row 10: a publisher whose relay is gone says so before it says that it is done.
#[test]
fn the_end_of_a_stream_that_could_not_be_delivered_comes_with_a_warning() {
    let relay = relay();
    let feed = FeedOptions::new(&relay.url()).start();
    wait_element_message(&feed.pipeline, "moq-connected");
    assert!(relay.stop_blocking(Duration::from_secs(1)));
    wait_element_message(&feed.pipeline, "moq-disconnected");
    feed.pipeline.0.send_event(gst::event::Eos::new());
    let ended = feed
        .pipeline
        .wait_for("the warning", |message| match message.view() {
            gst::MessageView::Eos(_) => Some(false),
            gst::MessageView::Warning(warning) => {
                let undelivered = warning.error().message().contains("not delivered");
                undelivered.then_some(true)
            }
            _ => None,
        });
    assert!(ended, "it was told as delivered");
    feed.pipeline.wait_eos();
}

/// Row 10: the same when there never was a session.
#[test]
fn the_end_of_a_stream_before_the_first_connection_comes_with_a_warning() {
    init();
    let hole = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let pipeline = Pipeline::launch(&format!(
        "audiotestsrc num-buffers=10 ! opusenc ! moqsink url=https://{}/ broadcast=a drain-timeout=300000000",
        hole.local_addr().expect("an address")
    ));
    pipeline.set(gst::State::Playing);
    let cause = pipeline.wait_for("the warning", |message| match message.view() {
        gst::MessageView::Eos(_) => Some(None),
        gst::MessageView::Warning(warning) => {
            let undelivered = warning.error().message().contains("not delivered");
            let cause = || warning.details()?.get::<String>("cause").ok();
            undelivered.then(cause)
        }
        _ => None,
    });
    assert_eq!(cause.as_deref(), Some("timeout"));
    pipeline.wait_eos();
}

/// A relay that comes while the end of a stream waits for it is told all that a player gets of it: the WARNING is not posted.
#[test]
fn the_end_of_a_stream_waits_for_the_first_connection() {
    let address = {
        let relay = relay();
        let address = relay.bound()[0];
        assert!(relay.stop_blocking(Duration::from_secs(1)));
        address
    };
    let pipeline = Pipeline::launch(&format!(
        "audiotestsrc num-buffers=10 ! opusenc ! moqsink url=http://{address}/ broadcast=a drain-timeout=10000000000"
    ));
    pipeline.set(gst::State::Playing);
    pipeline.wait_for("a failed dial", |message| match message.view() {
        gst::MessageView::Warning(_) => Some(()),
        _ => None,
    });
    let _relay = relay_at(address);
    pipeline.wait_for("the end", |message| match message.view() {
        gst::MessageView::Warning(warning) => {
            let text = warning.error().message().to_owned();
            assert!(!text.contains("not delivered"), "{text}");
            None
        }
        gst::MessageView::Eos(_) => Some(()),
        _ => None,
    });
}

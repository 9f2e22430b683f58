//! The element relay-bridge, as an application uses it.

mod relay_support;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use gst::prelude::*;
use relay_support::{CertificateFiles, LIMIT};

fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstmoq::plugin_register_static().unwrap();
    });
}

fn bridge(listen: &str) -> gst::Element {
    init();
    gst::ElementFactory::make("relay-bridge")
        .property("listen", listen)
        .build()
        .unwrap()
}

/// A pipeline of nothing else, and its bus.
fn alone(element: &gst::Element) -> (gst::Pipeline, gst::Bus) {
    let pipeline = gst::Pipeline::new();
    pipeline.add(element).unwrap();
    let bus = pipeline.bus().unwrap();
    (pipeline, bus)
}

fn bound(element: &gst::Element) -> SocketAddr {
    let url = element
        .property::<Option<String>>("bound-url")
        .expect("it listens");
    url.trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .unwrap()
}

fn errors(bus: &gst::Bus) -> Vec<(String, Option<String>)> {
    std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error]))
        .map(|message| match message.view() {
            gst::MessageView::Error(err) => {
                let cause = err
                    .details()
                    .and_then(|details| details.get::<String>("cause").ok());
                (err.error().to_string(), cause)
            }
            _ => unreachable!(),
        })
        .collect()
}

#[test]
fn it_plays_alone_in_a_pipeline_and_tells_where_it_listens() {
    let element = bridge("127.0.0.1:0");
    // A sink would be waited for at the end of the pipeline; a source is told to end.
    let flags = element.element_flags() & (gst::ElementFlags::SOURCE | gst::ElementFlags::SINK);
    assert_eq!(flags, gst::ElementFlags::SOURCE);
    let (pipeline, bus) = alone(&element);
    let notified = Arc::new(Mutex::new(Vec::new()));
    let seen = notified.clone();
    element.connect_notify(Some("bound-url"), move |element, _| {
        seen.lock()
            .unwrap()
            .push(element.property::<Option<String>>("bound-url"));
    });

    assert_eq!(
        pipeline.set_state(gst::State::Playing),
        Ok(gst::StateChangeSuccess::Success)
    );
    let url = element.property::<Option<String>>("bound-url").unwrap();
    let fingerprint = element
        .property::<Option<String>>("certificate-fingerprint")
        .unwrap();
    let message = bus
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(10),
            &[gst::MessageType::Element],
        )
        .unwrap();
    let structure = message.structure().unwrap();
    assert_eq!(structure.name(), "relay-bridge-listening");
    assert_eq!(structure.get::<String>("url").unwrap(), url);
    assert_eq!(structure.get::<String>("fingerprint").unwrap(), fingerprint);

    // gst-launch-1.0 prints the second text of it, and no element message.
    let message = bus.pop_filtered(&[gst::MessageType::Info]);
    let message = message.expect("posted before the state was reached");
    let gst::MessageView::Info(info) = message.view() else {
        unreachable!();
    };
    assert!(info.debug().is_some_and(|text| text.contains(&url)));

    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(element.property::<Option<String>>("bound-url"), None);
    assert_eq!(*notified.lock().unwrap(), [Some(url), None]);
    let stats = element.property::<gst::Structure>("stats");
    assert_eq!(
        (stats.name().as_str(), stats.n_fields()),
        ("application/x-relay-bridge-stats", 0)
    );
}

#[test]
fn allowed_origins_are_taken_from_a_launch_line_and_bad_ones_fail_at_ready() {
    init();
    let line = "relay-bridge listen=127.0.0.1:0 allowed-origins=<\"https://a.example\",\"http://b.example:5173\">";
    let element = gst::parse::launch(line).unwrap();
    let origins = element.property::<gst::Array>("allowed-origins");
    let origins: Vec<_> = origins
        .iter()
        .map(|origin| origin.get::<String>().unwrap())
        .collect();
    assert_eq!(origins, ["https://a.example", "http://b.example:5173"]);
    element.set_state(gst::State::Ready).unwrap();
    element.set_state(gst::State::Null).unwrap();

    let element = bridge("127.0.0.1:0");
    element.set_property("allowed-origins", gst::Array::new(["a.example/page"]));
    let (pipeline, bus) = alone(&element);
    assert!(pipeline.set_state(gst::State::Ready).is_err());
    let errors = errors(&bus);
    assert!(
        errors.len() == 1 && errors[0].0.contains("allowed-origins: \"a.example/page\""),
        "{errors:?}"
    );
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn certificate_files_that_change_are_notified_or_warned_about() {
    let files = CertificateFiles::new();
    let (chain, key) = files.paths();
    let element = bridge("127.0.0.1:0");
    element.set_property("certificate-file", chain.to_str().unwrap());
    element.set_property("private-key-file", key.to_str().unwrap());
    let (pipeline, bus) = alone(&element);
    pipeline.set_state(gst::State::Playing).unwrap();
    let first = fingerprint(&element);
    let (sender, notified) = mpsc::channel();
    element.connect_notify(Some("certificate-fingerprint"), move |element, _| {
        let _ = sender.send(element.property::<Option<String>>("certificate-fingerprint"));
    });

    files.mismatch();
    let limit = gst::ClockTime::from_seconds(10);
    let message = bus
        .timed_pop_filtered(limit, &[gst::MessageType::Warning])
        .expect("a warning");
    let gst::MessageView::Warning(warning) = message.view() else {
        unreachable!()
    };
    let text = warning.error().to_string();
    assert!(text.contains("key.pem"), "{text}");
    assert_eq!(fingerprint(&element), first);

    files.replace();
    let second = notified.recv_timeout(LIMIT).expect("a notification");
    assert_ne!(second, Some(first));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn playing_and_null_twenty_times_on_one_port_and_nothing_stays() {
    let element = bridge("127.0.0.1:0");
    let (pipeline, bus) = alone(&element);
    pipeline.set_state(gst::State::Playing).unwrap();
    let address = bound(&element);
    pipeline.set_state(gst::State::Null).unwrap();
    element.set_property("listen", address.to_string());
    for round in 0..20 {
        pipeline
            .set_state(gst::State::Playing)
            .unwrap_or_else(|_| panic!("round {round}: {:?}", errors(&bus)));
        assert_eq!(bound(&element), address);
        assert!(get(address, "/certificate.sha256").ends_with(&fingerprint(&element)));
        let start = Instant::now();
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "round {round}: {:?}",
            start.elapsed()
        );
    }
    assert!(errors(&bus).is_empty());
    let (weak, weak_pipeline) = (element.downgrade(), pipeline.downgrade());
    drop((element, pipeline, bus));
    wait_for("the element to go", || {
        weak.upgrade().is_none() && weak_pipeline.upgrade().is_none()
    });
}

#[test]
fn a_busy_port_is_one_error_that_names_it_and_the_remedy() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [udp.local_addr().unwrap(), tcp.local_addr().unwrap()] {
        let element = bridge(&address.to_string());
        let (pipeline, bus) = alone(&element);
        assert!(pipeline.set_state(gst::State::Playing).is_err());
        let errors = errors(&bus);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let (text, cause) = &errors[0];
        assert!(
            text.contains(&address.to_string()) && text.contains("choose another"),
            "{text}"
        );
        assert_eq!(cause.as_deref(), Some("settings"));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn settings_that_cannot_work_fail_at_ready_with_the_remedy() {
    for (property, value, remedy) in [
        ("listen", "example.org:4443", "127.0.0.1:4443"),
        ("listen", "0.0.0.0:0", "public-subscribe"),
        ("public-publish", "**/**", "public-publish"),
        ("certificate-file", "/nonexistent.pem", "private-key-file"),
    ] {
        let element = bridge("127.0.0.1:0");
        element.set_property(property, value);
        let (pipeline, bus) = alone(&element);
        assert!(
            pipeline.set_state(gst::State::Ready).is_err(),
            "{property}={value}"
        );
        let errors = errors(&bus);
        assert_eq!(errors.len(), 1, "{property}={value}: {errors:?}");
        assert!(errors[0].0.contains(remedy), "{errors:?}");
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// It may be set in READY.
#[test]
fn without_an_address_it_is_ready_but_to_start_is_an_error_that_names_the_property() {
    let element = bridge("");
    let (pipeline, bus) = alone(&element);
    pipeline.set_state(gst::State::Ready).unwrap();
    assert!(pipeline.set_state(gst::State::Paused).is_err());
    let errors = errors(&bus);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].1.as_deref(), Some("settings"));
    assert!(errors[0].0.contains("listen is empty"), "{errors:?}");
    pipeline.set_state(gst::State::Ready).unwrap();
    element.set_property("listen", "127.0.0.1:0");
    pipeline.set_state(gst::State::Paused).unwrap();
    assert!(element.property::<Option<String>>("bound-url").is_some());
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn signals_tell_of_sessions_and_broadcasts_and_may_use_the_element() {
    let element = bridge("127.0.0.1:0");
    let (pipeline, _bus) = alone(&element);
    let (sender, told) = mpsc::channel();
    for signal in [
        "session-added",
        "session-removed",
        "broadcast-added",
        "broadcast-removed",
    ] {
        let sender = Mutex::new(sender.clone());
        element.connect(signal, false, move |values| {
            let element = values[0].get::<gst::Element>().unwrap();
            // Takes the element's locks: none may be held here.
            let _ = (
                element.property::<gst::Structure>("stats"),
                element.property::<Option<String>>("bound-url"),
            );
            assert_ne!(std::thread::current().name(), Some("moq-server"));
            let _ = sender
                .lock()
                .unwrap()
                .send((signal, values[1].get::<String>().ok()));
            None
        });
    }
    pipeline.set_state(gst::State::Playing).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let next = || told.recv_timeout(LIMIT).expect("a signal");

    let peer = runtime.block_on(relay_support::dial_at(
        bound(&element),
        &fingerprint(&element),
        relay_support::Wire::WebTransport,
        "/",
        moq_net::Versions::all(),
    ));
    let peer = peer.unwrap();
    assert_eq!(next().0, "session-added");
    let published = peer.publish("demo");
    assert_eq!(next(), ("broadcast-added", Some("demo".to_owned())));
    let stats = element.property::<gst::Structure>("stats");
    assert_eq!(
        (stats.get::<u64>("sessions"), stats.get::<u64>("broadcasts")),
        (Ok(1), Ok(1))
    );
    assert_eq!(stats.get::<gst::Array>("peers").unwrap().len(), 1);

    // The peer stays, so the stop takes its whole window; it is bounded all the same.
    let start = Instant::now();
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(600),
        "{:?}",
        start.elapsed()
    );
    let mut last = [next().0, next().0];
    last.sort_unstable();
    assert_eq!(last, ["broadcast-removed", "session-removed"]);
    let goaway = runtime.block_on(relay_support::soon("GOAWAY", async {
        peer.moq.draining().recv().await
    }));
    assert!(goaway.is_some(), "the stop said GOAWAY");
    drop(published);
}

#[test]
fn it_may_be_stopped_from_inside_a_runtime_and_dropped_while_playing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let element = bridge("127.0.0.1:0");
        let (pipeline, _bus) = alone(&element);
        pipeline.set_state(gst::State::Playing).unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
    });
    // An element outside a pipeline, and a state change from a signal's thread.
    let element = bridge("127.0.0.1:0");
    element.set_state(gst::State::Playing).unwrap();
    let address = bound(&element);
    element.connect("session-added", false, |values| {
        values[0]
            .get::<gst::Element>()
            .unwrap()
            .set_state(gst::State::Null)
            .unwrap();
        None
    });
    let fingerprint = fingerprint(&element);
    runtime.block_on(async {
        let versions = moq_net::Versions::all();
        let dialled = relay_support::dial_at(
            address,
            &fingerprint,
            relay_support::Wire::Quic,
            "/",
            versions,
        )
        .await;
        if let Ok(peer) = dialled {
            relay_support::soon("the close", peer.moq.closed()).await;
        }
    });
    wait_for("NULL", || element.current_state() == gst::State::Null);
}

#[test]
fn it_answers_eos_in_a_pipeline_without_sinks_and_leaves_it_to_sinks_otherwise() {
    let limit = gst::ClockTime::from_nseconds(LIMIT.as_nanos() as u64);
    let element = bridge("127.0.0.1:0");
    let (pipeline, bus) = alone(&element);
    pipeline.set_state(gst::State::Playing).unwrap();
    assert!(pipeline.send_event(gst::event::Eos::new()));
    let eos = bus.timed_pop_filtered(limit, &[gst::MessageType::Eos]);
    assert_eq!(eos.expect("EOS").src(), Some(pipeline.upcast_ref()));
    pipeline.set_state(gst::State::Null).unwrap();

    let source = gst::ElementFactory::make("fakesrc")
        .property("is-live", true)
        .build()
        .unwrap();
    let sink = gst::ElementFactory::make("fakesink").build().unwrap();
    pipeline.add_many([&source, &sink]).unwrap();
    source.link(&sink).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    assert!(element.send_event(gst::event::Eos::new()));
    assert!(bus.pop_filtered(&[gst::MessageType::Eos]).is_none());
    assert!(source.send_event(gst::event::Eos::new()));
    let eos = bus.timed_pop_filtered(limit, &[gst::MessageType::Eos]);
    assert!(eos.is_some(), "the sink's end is the pipeline's");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn settings_stay_as_they_are_while_it_runs() {
    let element = bridge("127.0.0.1:0");
    let (pipeline, _bus) = alone(&element);
    pipeline.set_state(gst::State::Playing).unwrap();
    element.set_property("max-sessions", 7_u32);
    assert_ne!(element.property::<u32>("max-sessions"), 7);
    pipeline.set_state(gst::State::Ready).unwrap();
    element.set_property("max-sessions", 7_u32);
    assert_eq!(element.property::<u32>("max-sessions"), 7);
    pipeline.set_state(gst::State::Null).unwrap();
}

fn fingerprint(element: &gst::Element) -> String {
    element
        .property::<Option<String>>("certificate-fingerprint")
        .expect("it listens")
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// MoQ has no word for it: who runs the relay is told.
#[test]
fn two_publishers_of_one_broadcast_are_a_warning_of_the_relay() {
    let element = bridge("127.0.0.1:0");
    let (pipeline, bus) = alone(&element);
    pipeline.set_state(gst::State::Playing).unwrap();
    let url = element.property::<Option<String>>("bound-url").unwrap();
    // With equal settings those of one process share a connection.
    let publishers = [9, 10].map(|seconds| {
        let line = format!(
            "audiotestsrc is-live=true ! opusenc ! moqsink broadcast=same url={url} connect-timeout={seconds}000000000"
        );
        let publisher = gst::parse::launch(&line).unwrap();
        publisher.set_state(gst::State::Playing).unwrap();
        publisher
    });
    let limit = gst::ClockTime::try_from(2 * LIMIT).unwrap();
    let message = bus.timed_pop_filtered(limit, &[gst::MessageType::Warning]);
    let message = message.expect("the warning");
    let gst::MessageView::Warning(warning) = message.view() else {
        unreachable!();
    };
    let details = warning.details().unwrap();
    assert_eq!(details.name(), "moq-taken-over");
    assert_eq!(details.get::<String>("broadcast").unwrap(), "same");
    assert_eq!(details.get::<gst::Array>("peers").unwrap().len(), 2);
    for element in publishers.iter().chain([pipeline.upcast_ref()]) {
        element.set_state(gst::State::Null).unwrap();
    }
}

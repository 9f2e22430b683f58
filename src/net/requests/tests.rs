//! Both ends over the embedded relay.

use std::sync::mpsc;

use super::{
    listener::ListenerStats,
    message::{MAX_BYTES, Request},
    *,
};
use crate::net::{
    config::{ConnectConfig, Secret},
    publish::{Broadcast, TrackOptions, TrackWriter},
    relay::{Relay, RelayConfig},
    session::Role,
    transport::{parse_url, versions},
};

const LIMIT: Duration = Duration::from_secs(15);
const BROADCAST: &str = "studio/a.hang";

fn config(relay: &Relay, version: Option<&str>) -> ConnectConfig {
    ConnectConfig {
        versions: version.into_iter().map(str::to_owned).collect(),
        ..ConnectConfig::new(vec![parse_url(&relay.url()).unwrap()])
    }
}

fn listen(config: ConnectConfig) -> (Listener, mpsc::Receiver<Heard>) {
    let (told, heard) = mpsc::channel();
    let listener = Listener::start(config, BROADCAST, move |event| {
        let _ = told.send(event);
    });
    (listener.expect("a name that can be asked for"), heard)
}

fn asker(config: ConnectConfig) -> (Asker, mpsc::Receiver<Error>) {
    let (told, errors) = mpsc::channel();
    let asker = Asker::new(config, BROADCAST, move |err| {
        let _ = told.send(err);
    });
    (asker, errors)
}

/// What is heard while the asker does what is due.
fn heard(asker: &mut Asker, heard: &mpsc::Receiver<Heard>) -> Heard {
    let end = std::time::Instant::now() + LIMIT;
    loop {
        asker.poll();
        match heard.recv_timeout(Duration::from_millis(20)) {
            Ok(heard) => return heard,
            Err(err) => assert!(std::time::Instant::now() < end, "{err}"),
        }
    }
}

fn wanted(heard: Heard) -> Vec<String> {
    match heard {
        Heard::Wanted(tracks) => tracks.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LIMIT;
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A requester that says what it likes.
fn stranger(connection: &Connection, name: &str) -> (Broadcast, TrackWriter) {
    let broadcast = Broadcast::create(connection, &format!("{BROADCAST}/.requests/{name}"));
    let broadcast = broadcast.unwrap();
    let options = TrackOptions {
        priority: 0,
        max_age: LIMIT,
        timely: false,
    };
    let track = broadcast.track(TRACK, options).unwrap();
    (broadcast, track)
}

#[test]
fn a_request_is_heard_in_every_promised_version_and_by_nobody_else() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    for version in versions::NAMES {
        let (_listener, heard_here) = listen(config(&relay, Some(version)));
        let (mut asker, _) = asker(config(&relay, Some(version)));
        asker.ask("0.avc3");
        let tracks = wanted(heard(&mut asker, &heard_here));
        assert_eq!(tracks, ["0.avc3"], "{version}");
        assert_eq!(relay.announced(), [""; 0], "{version}: no media");
    }
    assert_eq!(relay.stats().broadcasts, 0);
}

#[test]
fn it_is_heard_by_those_who_begin_to_listen_later_and_ends_with_the_player() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let (mut asker, _) = asker(config(&relay, None));
    asker.ask("v");
    asker.ask("w");
    asker.poll();
    assert_eq!((asker.total("v"), asker.total("x")), (1, 0));
    let (listener, heard_here) = listen(config(&relay, None));
    assert_eq!(wanted(heard(&mut asker, &heard_here)), ["v", "w"]);
    assert_eq!(listener.stats().requesters, 1);
    drop(asker);
    wait_until("nobody asks", || {
        listener.stats() == ListenerStats::default()
    });
    wait_until("one session is left", || relay.stats().sessions == 1);
    drop(listener);
    wait_until("no session is left", || relay.stats().sessions == 0);
}

#[test]
fn a_player_that_is_content_is_not_announced() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let (listener, heard_here) = listen(config(&relay, None));
    let (mut asker, _) = asker(config(&relay, None));
    wait_until("it listens", || relay.stats().sessions == 1);
    asker.poll();
    assert_eq!(relay.stats().sessions_total, 1, "no connection yet");
    asker.ask("v");
    wanted(heard(&mut asker, &heard_here));
    asker.idle = Duration::from_millis(100);
    asker.key_frame("v");
    let end = std::time::Instant::now() + LIMIT;
    while listener.stats().requesters > 0 {
        assert!(std::time::Instant::now() < end, "it goes by itself");
        asker.poll();
        std::thread::sleep(Duration::from_millis(5));
    }
    asker.ask("v");
    assert_eq!(wanted(heard(&mut asker, &heard_here)), ["v"], "again");
    asker.clear();
    wait_until("it is gone", || listener.stats().requesters == 0);
    asker.ask("v");
    assert_eq!(wanted(heard(&mut asker, &heard_here)), ["v"], "again");
}

#[test]
fn a_player_that_was_content_for_long_has_no_connection_until_it_asks_again() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let (_listener, heard_here) = listen(config(&relay, None));
    let (mut asker, _) = asker(config(&relay, None));
    asker.linger = Duration::from_millis(200);
    asker.ask("v");
    assert_eq!(wanted(heard(&mut asker, &heard_here)), ["v"]);
    wait_until("both are there", || relay.stats().sessions == 2);
    asker.key_frame("v");
    let end = std::time::Instant::now() + LIMIT;
    while relay.stats().sessions > 1 {
        let now = std::time::Instant::now();
        assert!(now < end, "it is closed");
        let wake = asker.poll().unwrap_or(end);
        std::thread::sleep((wake - now.min(wake)).min(Duration::from_millis(20)));
    }
    assert_eq!(asker.poll(), None, "nothing is left to do");
    asker.ask("v");
    assert_eq!(wanted(heard(&mut asker, &heard_here)), ["v"], "again");
}

#[test]
fn strangers_are_few_bounded_and_told_of_once() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let (listener, heard_here) = listen(config(&relay, None));
    let connection = Connection::open(config(&relay, None), Role::Publisher, RETENTION);
    let (broadcast, mut track) = stranger(&connection, "bad");
    track.write_snapshot(0, "{\"version\":1".into()).unwrap();
    broadcast.announce().unwrap();
    let told = heard_here.recv_timeout(LIMIT).unwrap();
    assert!(
        matches!(&told, Heard::Malformed { requester, .. } if requester.ends_with("/bad")),
        "{told:?}"
    );
    for n in 2..5 {
        track.write_snapshot(n, vec![0xff; 100].into()).unwrap();
        wait_until("it is counted", || listener.stats().malformed == n);
    }
    // It may mend its ways; what it said before is not heard again.
    let request = |seq| Request::new(seq, vec!["v".to_owned()]).write();
    track.write_snapshot(5, request(5)).unwrap();
    assert_eq!(wanted(heard_here.recv_timeout(LIMIT).unwrap()), ["v"]);
    track.write_snapshot(6, request(5)).unwrap();
    track
        .write_snapshot(7, vec![b' '; MAX_BYTES as usize + 1].into())
        .unwrap();
    wait_until("it is counted", || listener.stats().malformed == 5);
    track.write_snapshot(8, request(8)).unwrap();

    let mut crowd = Vec::new();
    for n in 0..100 {
        let (broadcast, track) = stranger(&connection, &n.to_string());
        broadcast.announce().unwrap();
        crowd.push((broadcast, track));
    }
    wait_until("all places are taken", || listener.stats().requesters == 64);
    let (broadcast, mut last) = stranger(&connection, "last");
    last.write_snapshot(0, Request::new(0, vec!["w".to_owned()]).write())
        .unwrap();
    broadcast.announce().unwrap();
    let (deep, mut track) = stranger(&connection, "deep/er");
    track.write_snapshot(0, request(0)).unwrap();
    deep.announce().unwrap();
    drop(crowd);
    assert_eq!(
        wanted(heard_here.recv_timeout(LIMIT).unwrap()),
        ["w"],
        "who waits gets a place, and nothing was heard of the others"
    );
    wait_until("all places but one are free", || {
        listener.stats().requesters == 1
    });
}

#[test]
fn who_is_not_let_in_is_told_so_once_at_either_end() {
    let mut rules = RelayConfig::local();
    rules.trust_loopback = false;
    let relay = Relay::start(rules).unwrap();
    let (_listener, heard_here) = listen(config(&relay, None));
    let told = heard_here.recv_timeout(LIMIT).unwrap();
    assert!(
        matches!(&told, Heard::Refused(err) if err.cause == Cause::Auth),
        "{told:?}"
    );
    let (mut asker, errors) = asker(config(&relay, None));
    asker.ask("v");
    asker.poll();
    let err = errors.recv_timeout(LIMIT).unwrap();
    assert_eq!(err.cause, Cause::Auth, "{err}");
    assert!(err.message.ends_with("the media goes on without"), "{err}");
}

/// Waits until a connection has failed that somebody else has.
fn wait_failed(connection: &Connection) {
    let state = connection.state();
    wait_until("it gives up", || {
        matches!(*state.borrow(), State::Failed(_))
    });
}

#[test]
fn who_was_not_let_in_is_there_again_with_another_token() {
    let rules = RelayConfig {
        trust_loopback: false,
        ..RelayConfig::local()
    };
    let relay = Relay::start(rules).unwrap();
    let address = relay.bound()[0];
    let config = ConnectConfig {
        connect_timeout: Duration::from_millis(500),
        auth_token: Some(Secret("old".to_owned())),
        ..config(&relay, None)
    };
    let (listener, heard_here) = listen(config.clone());
    let (mut asker, errors) = asker(config.clone());
    asker.ask("v");
    asker.poll();
    // The same connections: equal ones are shared.
    wait_failed(&Connection::watch(config.clone(), &place(BROADCAST), RETENTION).unwrap());
    wait_failed(&Connection::open(config, Role::Publisher, RETENTION));
    assert_eq!(errors.recv_timeout(LIMIT).unwrap().cause, Cause::Auth);
    let told = heard_here.recv_timeout(LIMIT).unwrap();
    assert!(matches!(told, Heard::Refused(_)), "{told:?}");
    asker.linger = Duration::ZERO;
    asker.poll();
    asker.linger = LIMIT;
    asker.ask("x");
    asker.poll();
    let again = errors.recv_timeout(Duration::from_millis(300));
    assert!(again.is_err(), "it is not tried again: {again:?}");

    relay.stop_blocking(Duration::ZERO);
    drop(relay);
    let mut relay = None;
    wait_until("a relay that lets them in", || {
        relay = Relay::start(RelayConfig::new(vec![address])).ok();
        relay.is_some()
    });
    let relay = relay.unwrap();
    let token = Some(Secret("new".to_owned()));
    listener.set_token(token.clone());
    asker.set_token(token);
    asker.clear();
    asker.ask("w");
    assert_eq!(wanted(heard(&mut asker, &heard_here)), ["w"]);
    assert_eq!(relay.stats().sessions, 2);
}

#[test]
fn what_cannot_be_announced_is_not_laid_at_the_publishers_door() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let (told, errors) = mpsc::channel();
    let mut asker = Asker::new(config(&relay, None), "a/*", move |err| {
        let _ = told.send(err);
    });
    asker.ask("v");
    let end = std::time::Instant::now() + LIMIT;
    let err = loop {
        asker.poll();
        match errors.recv_timeout(Duration::from_millis(20)) {
            Ok(err) => break err,
            Err(err) => assert!(std::time::Instant::now() < end, "{err}"),
        }
    };
    assert_eq!(err.cause, Cause::Settings, "{err}");
    assert!(
        err.message.starts_with("Key frames cannot be asked for"),
        "{err}"
    );
}

#[test]
fn a_name_with_wildcards_is_an_error_that_says_so() {
    let url = parse_url("https://127.0.0.1:1/").unwrap();
    let err = Listener::start(ConnectConfig::new(vec![url]), "a/*", |_| {});
    assert_eq!(err.err().map(|err| err.cause), Some(Cause::Settings));
}

use std::sync::mpsc;

use super::*;
use crate::net::{
    config::ConnectConfig,
    publish::{Broadcast, TrackOptions, TrackWriter},
    relay::{Relay, RelayConfig},
    session::{Retention, Role, State},
    transport::parse_url,
};

const LIMIT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(1);
const BROADCAST: &str = "a.hang";

/// A clock of a pipeline that does not play.
struct Stopped;

impl RunningClock for Stopped {
    fn now(&self) -> Option<Nanos> {
        None
    }
}

fn open(relay: &Relay, role: Role, versions: &[&str]) -> Connection {
    let config = ConnectConfig {
        versions: versions.iter().map(|&version| version.to_owned()).collect(),
        ..ConnectConfig::new(vec![parse_url(&relay.url()).unwrap()])
    };
    Connection::open(config, role, Retention::default())
}

/// A broadcast with an empty catalog.
fn publish(connection: &Connection) -> (Broadcast, TrackWriter) {
    let broadcast = Broadcast::create(connection, BROADCAST).unwrap();
    let options = TrackOptions {
        priority: 0,
        max_age: LIMIT,
        timely: false,
    };
    let mut catalog = broadcast.track("catalog.json", options).unwrap();
    catalog.write_snapshot(0, "{}".into()).unwrap();
    broadcast.announce().unwrap();
    (broadcast, catalog)
}

/// Plays over a version that has no word for the end of a track.
fn play(relay: &Relay) -> (Player, Connection, mpsc::Receiver<PlayerEvent>) {
    let connection = open(relay, Role::Subscriber, &["moq-lite-04"]);
    let config = PlayerConfig {
        broadcast: BROADCAST.into(),
        latency: 0,
        max_age: None,
        start: Start::Live,
        catalog: CatalogFormat::default(),
        broadcast_timeout: Duration::ZERO,
        silence_is_end: SILENCE,
        requests: None,
    };
    let (told, events) = mpsc::channel();
    let player = Player::start(
        connection.clone(),
        config,
        Arc::new(Stopped),
        move |event| {
            let _ = told.send(event);
        },
    );
    // Media comes a little earlier.
    wait_state(&connection, |state| {
        matches!(state, State::Connected { .. })
    });
    (player, connection, events)
}

fn wait_state(connection: &Connection, wanted: impl FnMut(&State) -> bool) {
    runtime::handle().block_on(async {
        let mut state = connection.state();
        let reached = tokio::time::timeout(LIMIT, state.wait_for(wanted)).await;
        assert!(reached.is_ok(), "{:?}", connection.state().borrow());
    });
}

fn wait(events: &mpsc::Receiver<PlayerEvent>, wanted: impl Fn(&PlayerEvent) -> bool) {
    while !wanted(&events.recv_timeout(LIMIT).expect("an event")) {}
}

#[test]
fn a_broadcast_that_is_retracted_while_the_relay_is_there_has_ended() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let publisher = open(&relay, Role::Publisher, &[]);
    let broadcast = publish(&publisher);
    let (_player, _connection, events) = play(&relay);
    wait(&events, |event| matches!(event, PlayerEvent::Catalog(_)));
    drop(broadcast);
    wait(&events, |event| matches!(event, PlayerEvent::Lost(_)));
    wait(&events, |event| matches!(event, PlayerEvent::Ended));
}

/// Row 3: the broadcast is retracted before the connection knows that the relay is gone.
#[test]
fn a_broadcast_whose_relay_stops_is_waited_for() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    let address = relay.bound()[0];
    let publisher = open(&relay, Role::Publisher, &[]);
    let _broadcast = publish(&publisher);
    let (_player, connection, events) = play(&relay);
    wait(&events, |event| matches!(event, PlayerEvent::Catalog(_)));
    relay.stop_blocking(Duration::from_millis(200));
    wait(&events, |event| matches!(event, PlayerEvent::Lost(_)));
    wait_state(&connection, |state| {
        matches!(state, State::Reconnecting { .. })
    });
    let end = std::time::Instant::now() + 2 * SILENCE;
    while let Ok(event) =
        events.recv_timeout(end.saturating_duration_since(std::time::Instant::now()))
    {
        assert!(matches!(event, PlayerEvent::Searching), "{event:?}");
    }
    let _relay = loop {
        // The port is free a moment later.
        match Relay::start(RelayConfig::new(vec![address])) {
            Ok(relay) => break relay,
            Err(_) => std::thread::yield_now(),
        }
    };
    wait(&events, |event| {
        assert!(!matches!(event, PlayerEvent::Ended));
        matches!(event, PlayerEvent::Catalog(_))
    });
}

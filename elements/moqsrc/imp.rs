//! The element: properties, states, queries and events. What exists while it runs is a [`Session`].
//!
//! Locks: `settings`, `running`, `warned`; each is taken alone, and none is held while GStreamer, the application or the session is
//! called.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gst::{glib, prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use super::{MoqSrcStart, mailbox::mailbox, session::Session, stats, streams};
use crate::{
    elements::{
        caps,
        connection::{
            ConnectionSettings, ConnectionStatus, Direction, EventPump, Reporter, forward_states,
            forward_token_requests, post_error, post_warning, request_token, token_signal,
        },
    },
    media::codec::Kind,
    net::{
        ConnectConfig,
        error::{Cause, Error},
        session::{Connection, Retention, Role, State},
        subscribe::{Player, PlayerConfig, PlayerEvent, RunningClock},
    },
    policy::Nanos,
    runtime,
};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("moqsrc", gst::DebugColorFlags::empty(), Some("MoQ source"))
});

const DEFAULT_LATENCY_MS: u32 = 200;

/// How soon the same warning is posted again.
const WARN_AGAIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Settings {
    connection: ConnectionSettings,
    latency_ms: u32,
    /// ns; `u64::MAX` = follow the latency.
    max_age: u64,
    start: MoqSrcStart,
    /// ns; 0 = for ever.
    broadcast_timeout: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection: ConnectionSettings::default(),
            latency_ms: DEFAULT_LATENCY_MS,
            max_age: u64::MAX,
            start: MoqSrcStart::default(),
            broadcast_timeout: 0,
        }
    }
}

impl Settings {
    fn latency(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(self.latency_ms.into())
    }

    fn max_age(&self) -> Option<Duration> {
        (self.max_age != u64::MAX).then(|| Duration::from_nanos(self.max_age))
    }

    /// The name of the broadcast and how to get at it.
    fn target(&self) -> Result<(ConnectConfig, String), Error> {
        let config = self.connection.config()?;
        let broadcast = self.connection.broadcast().filter(|name| !name.is_empty()).ok_or_else(|| {
            Error::new(Cause::Settings, "no broadcast is named: set the property broadcast to the name its publisher uses")
        })?;
        Ok((config, broadcast))
    }
}

/// What the element's event thread does.
enum Event {
    Connection(State),
    /// A token is wanted for this URL.
    Token(String),
    Player(PlayerEvent),
    Select(Vec<String>),
}

/// The running time of the element, while it plays.
struct ElementClock {
    element: glib::WeakRef<super::MoqSrc>,
    playing: AtomicBool,
}

impl RunningClock for ElementClock {
    fn now(&self) -> Option<Nanos> {
        if !self.playing.load(Ordering::Acquire) {
            return None;
        }
        let now = self.element.upgrade()?.current_running_time()?;
        Nanos::try_from(now.nseconds()).ok()
    }
}

/// What exists from PAUSED on.
#[derive(Clone)]
struct Running {
    session: Arc<Session>,
    clock: Arc<ElementClock>,
    pump: Arc<EventPump<Event>>,
}

#[derive(Default)]
pub struct MoqSrc {
    settings: Mutex<Settings>,
    running: Mutex<Option<Running>>,
    status: Arc<ConnectionStatus>,
    /// The cause and time of the last warning about the broadcast.
    warned: Mutex<Option<(Cause, Instant)>>,
}

#[glib::object_subclass]
impl ObjectSubclass for MoqSrc {
    const NAME: &'static str = "GstMoqSrc";
    type Type = super::MoqSrc;
    type ParentType = gst::Bin;
}

impl ObjectImpl for MoqSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut specs = ConnectionSettings::param_specs();
            specs.extend(ConnectionStatus::param_specs());
            specs.extend(own_properties());
            specs
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![token_signal()]);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let obj = self.obj();
        let handled = self.settings.lock().connection.set(&*obj, value, pspec);
        if handled {
            self.apply_token(pspec.name());
            return;
        }
        let running = self.running.lock().clone();
        let mut settings = self.settings.lock();
        match pspec.name() {
            "latency" => {
                settings.latency_ms = value.get().expect("type checked upstream");
                let latency = settings.latency();
                drop(settings);
                if let Some(running) = running {
                    running.session.set_latency(latency);
                    let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
                }
            }
            "max-age" => {
                settings.max_age = value.get().expect("type checked upstream");
                let max_age = settings.max_age();
                drop(settings);
                if let Some(running) = running {
                    running.session.player.set_max_age(max_age);
                }
            }
            "start" | "broadcast-timeout" if running.is_some() => {
                gst::warning!(
                    CAT,
                    imp = self,
                    "{} can be set in NULL and READY only",
                    pspec.name()
                );
            }
            "start" => settings.start = value.get().expect("type checked upstream"),
            "broadcast-timeout" => {
                settings.broadcast_timeout = value.get().expect("type checked upstream")
            }
            _ => unreachable!("every installed property is handled"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if let Some(value) = self.status.get(pspec) {
            return value;
        }
        if pspec.name() == "stats" {
            let running = self.running.lock().clone();
            return stats::structure(running.as_ref().map(|running| &*running.session)).to_value();
        }
        let settings = self.settings.lock();
        if let Some(value) = settings.connection.get(pspec) {
            return value;
        }
        match pspec.name() {
            "latency" => settings.latency_ms.to_value(),
            "max-age" => settings.max_age.to_value(),
            "start" => settings.start.to_value(),
            "broadcast-timeout" => settings.broadcast_timeout.to_value(),
            _ => unreachable!("every installed property is handled"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        obj.set_element_flags(gst::ElementFlags::SOURCE | gst::ElementFlags::REQUIRE_CLOCK);
    }
}

fn own_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb("How long after the live edge a frame is presented (ms): what loss, jitter and queues may take; a change posts LATENCY. Changeable in any state")
            .maximum(60_000)
            .default_value(DEFAULT_LATENCY_MS)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("max-age")
            .nick("Maximum age")
            .blurb("How far a group may fall behind the newest frame before the relay stops sending it (ns, 18446744073709551615 = follow latency). Changeable in any state")
            .default_value(u64::MAX)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("start", MoqSrcStart::default())
            .nick("Start")
            .blurb("Where playing begins: at the live edge, or with the next group for recordings. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("broadcast-timeout")
            .nick("Broadcast timeout")
            .blurb("How long the broadcast may be absent, at the start or later, before that is an error (ns, 0 = wait for ever). Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("application/x-moqsrc-stats: transport (kind, version, rtt, bytes, packets, reconnects), and tracks with frames, groups, bytes, drops by reason, delay and jitter (ns) of each pad; empty while stopped")
            .read_only()
            .build(),
    ]
}

impl GstObjectImpl for MoqSrc {}

impl ElementImpl for MoqSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MoQ source",
                "Source/Network/MoQ",
                "Plays a Media over QUIC broadcast from a relay, live and in sync, through losses and reconnects",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let sometimes = |name, caps: &gst::Caps| {
                gst::PadTemplate::new(
                    name,
                    gst::PadDirection::Src,
                    gst::PadPresence::Sometimes,
                    caps,
                )
                .expect("a valid template")
            };
            vec![
                sometimes("video_%u", &caps::template(Some(Kind::Video))),
                sometimes("audio_%u", &caps::template(Some(Kind::Audio))),
            ]
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self.check_settings()?,
            gst::StateChange::ReadyToPaused => self.start()?,
            gst::StateChange::PlayingToPaused => self.set_playing(false),
            gst::StateChange::PausedToReady => self.announce_stop(),
            _ => {}
        }
        let changed = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if changed.is_err() => {
                self.announce_stop();
                self.stop();
            }
            gst::StateChange::PausedToPlaying if changed.is_ok() => self.set_playing(true),
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        match transition {
            gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused => {
                changed.map(|_| gst::StateChangeSuccess::NoPreroll)
            }
            _ => changed,
        }
    }

    fn send_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::SelectStreams(select) => self.select(select),
            gst::EventView::Seek(_) => false,
            _ => self.parent_send_event(event),
        }
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        // The bin asks its sinks, of which there are none.
        if let gst::QueryViewMut::Latency(query) = query.view_mut() {
            query.set(true, self.settings.lock().latency(), gst::ClockTime::NONE);
            return true;
        }
        answer(query).unwrap_or_else(|| ElementImplExt::parent_query(self, query))
    }
}

impl BinImpl for MoqSrc {}

impl MoqSrc {
    /// Posts a WARNING with its cause.
    pub(super) fn warn(&self, err: &Error) {
        let url = self.url();
        post_warning(&*self.obj(), Direction::Read, err, &url);
    }

    /// Posts a WARNING unless one with the same cause was posted a moment ago: what a peer does wrong it may do often.
    fn warn_rarely(&self, err: &Error) {
        let again = {
            let mut warned = self.warned.lock();
            let again =
                warned.is_some_and(|(cause, at)| cause == err.cause && at.elapsed() < WARN_AGAIN);
            if !again {
                *warned = Some((err.cause, Instant::now()));
            }
            again
        };
        if again {
            gst::info!(CAT, imp = self, "{err}");
        } else {
            self.warn(err);
        }
    }

    /// For messages: without a query.
    fn url(&self) -> String {
        let config = self.settings.lock().connection.config();
        let url = config
            .ok()
            .and_then(|config| config.urls.first().map(crate::net::transport::redact));
        url.unwrap_or_default()
    }

    fn check_settings(&self) -> Result<(), gst::StateChangeError> {
        let checked = self.settings.lock().target();
        self.posted(checked).map(drop)
    }

    /// Turns an error into a message and a failed state change.
    fn posted<T>(&self, result: Result<T, Error>) -> Result<T, gst::StateChangeError> {
        result.map_err(|err| {
            post_error(&*self.obj(), Direction::Read, &err, &self.url());
            gst::StateChangeError
        })
    }

    /// Starts everything in the background.
    fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = self.settings.lock().clone();
        let (config, broadcast) = self.posted(settings.target())?;
        let obj = self.obj();
        let url = config
            .urls
            .first()
            .map(crate::net::transport::redact)
            .unwrap_or_default();
        let source_id = streams::source_id(&url, &broadcast);
        let mut reporter = Reporter::new(Direction::Read, self.status.clone(), &config);
        let pump = EventPump::new(
            &*obj,
            "moqsrc-events",
            move |element: &super::MoqSrc, event| match event {
                Event::Connection(state) => reporter.report(element, state),
                Event::Token(url) => element.imp().renew_token(&url),
                Event::Player(event) => element.imp().player_event(event),
                Event::Select(ids) => element.imp().apply_selection(ids),
            },
        );
        let pump = self.posted(pump.map_err(|err| {
            Error::new(Cause::Settings, format!("no thread can be started: {err}"))
        }))?;
        let connection = Connection::open(config, Role::Subscriber, Retention::default());
        forward_states(&connection, pump.sender(), Event::Connection);
        let clock = Arc::new(ElementClock {
            element: obj.downgrade(),
            playing: AtomicBool::new(false),
        });
        let config = PlayerConfig {
            broadcast,
            latency: Nanos::try_from(settings.latency().nseconds()).unwrap_or(Nanos::MAX / 4),
            max_age: settings.max_age(),
            start: settings.start.into(),
            broadcast_timeout: Duration::from_nanos(settings.broadcast_timeout),
        };
        let (slot, mut letters) = mailbox();
        let player = Player::start(connection.clone(), config, clock.clone(), move |event| {
            slot.put(event);
        });
        let requests = connection.clone();
        let session = Session::new(connection, player, source_id, settings.latency());
        let events = pump.sender();
        *self.running.lock() = Some(Running {
            session: Arc::new(session),
            clock,
            pump: Arc::new(pump),
        });
        // Not before: what they tell is for the session that runs.
        forward_token_requests(&requests, events.clone(), Event::Token);
        runtime::handle().spawn(async move {
            while let Some(batch) = letters.take().await {
                for event in batch {
                    if !events.send(Event::Player(event)).await {
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    fn set_playing(&self, playing: bool) {
        let running = self.running.lock().clone();
        if let Some(running) = running {
            running.clock.playing.store(playing, Ordering::Release);
            running.session.set_playing(playing);
        }
    }

    /// No pads are made from here on, and the sources' threads are let go.
    fn announce_stop(&self) {
        let running = self.running.lock().clone();
        if let Some(running) = running {
            running.clock.playing.store(false, Ordering::Release);
            running.session.set_stopping();
        }
    }

    fn stop(&self) {
        let running = self.running.lock().take();
        let Some(Running { session, pump, .. }) = running else {
            return;
        };
        drop(pump);
        session.remove_slots(&self.obj());
        // The player goes with the session; nothing is owed to the relay, so that closing need not be waited for.
        drop(session);
        self.status.reset(&*self.obj());
    }

    fn apply_token(&self, property: &str) {
        if property != "auth-token" {
            return;
        }
        let token = self.settings.lock().connection.auth_token();
        let running = self.running.lock().clone();
        if let Some(running) = running {
            running.session.connection.set_token(token);
        }
    }

    fn renew_token(&self, url: &str) {
        let Some(token) = request_token(&*self.obj(), url) else {
            return;
        };
        self.settings.lock().connection.set_auth_token(token);
        self.apply_token("auth-token");
    }

    fn player_event(&self, event: PlayerEvent) {
        let obj = self.obj();
        let Some(session) = self.session() else {
            return;
        };
        match event {
            PlayerEvent::Searching => {
                self.progress(gst::ProgressType::Start, "waiting for the broadcast")
            }
            PlayerEvent::Catalog(catalog) => {
                self.progress(gst::ProgressType::Complete, "the broadcast is there");
                session.take_catalog(&obj, &catalog);
            }
            PlayerEvent::Lost(err) => {
                gst::info!(CAT, imp = self, "{err}");
                self.warn(&err);
            }
            PlayerEvent::Ended => gst::info!(CAT, imp = self, "the broadcast ended"),
            PlayerEvent::Warning(err) => self.warn_rarely(&err),
            PlayerEvent::Failed(err) => {
                post_error(&*obj, Direction::Read, &err, &self.url());
                self.progress(gst::ProgressType::Error, &err.message);
            }
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.running
            .lock()
            .as_ref()
            .map(|running| running.session.clone())
    }

    fn progress(&self, kind: gst::ProgressType, text: &str) {
        let obj = self.obj();
        let message = gst::message::Progress::builder(kind, "broadcast", text)
            .src(&*obj)
            .build();
        let _ = obj.post_message(message);
    }

    /// Takes a choice of streams; pads change in the event thread.
    fn select(&self, select: &gst::event::SelectStreams) -> bool {
        let ids = select.streams().iter().map(|id| id.to_string()).collect();
        let running = self.running.lock().clone();
        running.is_some_and(|running| running.pump.sender().try_send(Event::Select(ids)).is_ok())
    }

    fn apply_selection(&self, ids: Vec<String>) {
        if let Some(session) = self.session() {
            session.select(&self.obj(), ids);
        }
    }
}

/// What the element and its pads answer alike; `None` for what is left to the default.
fn answer(query: &mut gst::QueryRef) -> Option<bool> {
    match query.view_mut() {
        gst::QueryViewMut::Selectable(query) => {
            query.set_selectable(true);
            Some(true)
        }
        gst::QueryViewMut::Seeking(query) => {
            let format = query.format();
            let zero = gst::GenericFormattedValue::new(format, 0);
            let none = gst::GenericFormattedValue::none_for_format(format);
            query.set(false, zero, none);
            Some(true)
        }
        gst::QueryViewMut::Duration(_) => Some(false),
        _ => None,
    }
}

pub(super) fn src_pad_query(
    pad: &gst::GhostPad,
    parent: Option<&gst::Object>,
    query: &mut gst::QueryRef,
) -> bool {
    answer(query).unwrap_or_else(|| gst::Pad::query_default(pad, parent, query))
}

/// Events that come from downstream.
pub(super) fn src_pad_event(
    pad: &gst::GhostPad,
    parent: Option<&gst::Object>,
    event: gst::Event,
) -> bool {
    match event.view() {
        gst::EventView::SelectStreams(select) => parent
            .and_then(|parent| parent.downcast_ref::<super::MoqSrc>())
            .is_some_and(|element| element.imp().select(select)),
        // Live, and a relay has no word for it.
        gst::EventView::Seek(_) => false,
        _ => gst::Pad::event_default(pad, parent, event),
    }
}

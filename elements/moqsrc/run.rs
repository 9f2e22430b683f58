//! What exists from PAUSED on: started and stopped here, and what it tells turned into messages and pads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{
    MoqSrc,
    imp::{self, CAT},
    mailbox::mailbox,
    session::Session,
    starved::is_endless,
    streams,
};
use crate::{
    elements::connection::{
        Direction, EventPump, MoqConnectionState, Progress, Reporter, TokenRequests,
        forward_states, post_error, post_warning,
    },
    net::{
        config::Secret,
        error::{Cause, Error},
        session::{Connection, Retention, Role, State},
        subscribe::{Player, PlayerConfig, PlayerEvent, RunningClock},
    },
    policy::Nanos,
    runtime,
};

/// How soon the same warning is posted again.
const WARN_AGAIN: Duration = Duration::from_secs(5);

/// Longer than a publisher takes to come back.
const SILENCE_IS_END: Duration = Duration::from_secs(30);

/// What the element's event thread does.
pub(super) enum Event {
    Connection(State),
    Player(PlayerEvent),
    Select(Vec<String>),
}

/// The running time of the element, while it plays.
pub(super) struct ElementClock {
    element: glib::WeakRef<MoqSrc>,
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
pub(super) struct Running {
    pub session: Arc<Session>,
    /// Of the search for the broadcast; stands for this run, too.
    search: Arc<Progress>,
    clock: Arc<ElementClock>,
    pump: Arc<EventPump<Event>>,
}

/// Tells what happens, on the element's event thread. The connection and the player tell of it by ways of their own, and a session
/// that is up is held back until the relay had the time to refuse it: what goes by the connection is told after it all the same.
struct Teller {
    reporter: Reporter,
    search: Arc<Progress>,
    /// The search is over, as it will be told.
    found: Option<&'static str>,
}

impl Teller {
    fn tell(&mut self, element: &MoqSrc, event: Event) {
        let imp = element.imp();
        match event {
            Event::Connection(state) => self.reporter.report(element, state),
            Event::Player(event) => {
                if imp.status.state() == MoqConnectionState::Disconnected {
                    self.reporter
                        .report(element, State::Connecting { last: None });
                }
                match &event {
                    PlayerEvent::Searching | PlayerEvent::Lost(_) | PlayerEvent::Failed(_) => {
                        self.found = None;
                    }
                    PlayerEvent::Catalog(_) => self.found = Some("The broadcast is there"),
                    PlayerEvent::Ended => self.found = Some("The broadcast ended"),
                    PlayerEvent::Resumed { .. }
                    | PlayerEvent::Warning(_)
                    | PlayerEvent::Unheard(_) => {}
                }
                imp.player_event(&self.search, event);
            }
            Event::Select(ids) => imp.apply_selection(&self.search, ids),
        }
        if imp.status.state() == MoqConnectionState::Connected
            && let Some(text) = self.found.take()
        {
            self.search.complete(element, text);
        }
    }
}

impl imp::MoqSrc {
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

    pub(super) fn check_settings(&self) -> Result<(), gst::StateChangeError> {
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
    pub(super) fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = self.settings.lock().clone();
        let (config, broadcast) = self.posted(settings.target())?;
        let obj = self.obj();
        let url = config
            .urls
            .first()
            .map(crate::net::transport::redact)
            .unwrap_or_default();
        let source_id = streams::source_id(&url, &broadcast);
        let name = broadcast.clone();
        let search = Arc::new(Progress::new("broadcast"));
        let mut teller = Teller {
            reporter: Reporter::new(Direction::Read, self.status.clone(), &config),
            search: search.clone(),
            found: None,
        };
        let pump = EventPump::new(&*obj, "moqsrc-events", move |element: &MoqSrc, event| {
            teller.tell(element, event)
        });
        let pump = self.posted(pump.map_err(|err| {
            Error::new(Cause::Settings, format!("no thread can be started: {err}"))
        }))?;
        let requests = settings.allow_requests.then(|| config.clone());
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
            catalog: settings.catalog.into(),
            broadcast_timeout: Duration::from_nanos(settings.broadcast_timeout),
            silence_is_end: SILENCE_IS_END,
            requests,
        };
        let (slot, mut letters) = mailbox();
        let player = Player::start(connection.clone(), config, clock.clone(), move |event| {
            slot.put(event);
        });
        let asked = connection.clone();
        let session = Session::new(connection, player, name, source_id, settings.latency());
        let events = pump.sender();
        *self.running.lock() = Some(Running {
            session: Arc::new(session),
            search,
            clock,
            pump: Arc::new(pump),
        });
        // Not before: what they tell is for the session that runs.
        let take = |element: &MoqSrc, token| element.imp().take_token(token);
        let tokens = TokenRequests::answer(&*obj, "moqsrc-token", &asked, take);
        *self.tokens.lock() = Some(tokens);
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

    pub(super) fn set_playing(&self, playing: bool) {
        let running = self.running.lock().clone();
        if let Some(running) = running {
            running.clock.playing.store(playing, Ordering::Release);
            running.session.set_playing(playing);
        }
    }

    /// No pads are made from here on, and the sources' threads are let go.
    pub(super) fn announce_stop(&self) {
        let running = self.running.lock().clone();
        if let Some(running) = running {
            running.clock.playing.store(false, Ordering::Release);
            running.session.set_stopping();
        }
    }

    pub(super) fn stop(&self) {
        let running = self.running.lock().take();
        let Some(Running {
            session,
            search,
            pump,
            ..
        }) = running
        else {
            return;
        };
        let tokens = self.tokens.lock().take();
        drop((pump, tokens));
        search.close(&*self.obj());
        session.remove_slots(&self.obj());
        // The player goes with the session; nothing is owed to the relay, so that closing need not be waited for.
        drop(session);
        self.status.reset(&*self.obj());
    }

    pub(super) fn apply_token(&self, property: &str) {
        if property != "auth-token" {
            return;
        }
        let token = self.settings.lock().connection.auth_token();
        let running = self.running.lock().clone();
        if let Some(running) = running {
            running.session.connection.set_token(token.clone());
            running.session.player.set_token(token);
        }
    }

    /// On the thread of the token requests.
    fn take_token(&self, token: Secret) {
        self.settings.lock().connection.set_auth_token(token);
        self.apply_token("auth-token");
    }

    fn player_event(&self, search: &Arc<Progress>, event: PlayerEvent) {
        let obj = self.obj();
        let Some(session) = self.session_of(search) else {
            return;
        };
        match event {
            PlayerEvent::Searching => {
                let text = format!("Waiting for the broadcast '{}'", session.broadcast);
                search.start(&*obj, &text);
            }
            PlayerEvent::Catalog(catalog) => {
                session.set_trouble(None);
                session.take_catalog(&obj, &catalog);
            }
            PlayerEvent::Resumed { track } => session.resume(&track),
            PlayerEvent::Lost(err) => {
                gst::info!(CAT, imp = self, "{err}");
                session.set_trouble(Some(err.clone()));
                self.warn(&err);
            }
            PlayerEvent::Ended => gst::info!(CAT, imp = self, "the broadcast ended"),
            PlayerEvent::Warning(err) => {
                session.set_trouble(Some(err.clone()));
                self.warn_rarely(&err);
            }
            PlayerEvent::Unheard(err) => self.warn(&err),
            PlayerEvent::Failed(err) => {
                // The ERROR has the sentence.
                search.fail(&*obj, &format!("Given up ({})", err.cause));
                post_error(&*obj, Direction::Read, &err, &self.url());
            }
        }
    }

    /// The session of the run that this search belongs to; none when the run is over.
    fn session_of(&self, search: &Arc<Progress>) -> Option<Arc<Session>> {
        let running = self.running.lock();
        let running = running.as_ref()?;
        Arc::ptr_eq(&running.search, search).then(|| running.session.clone())
    }

    /// Takes a choice of streams; pads change in the event thread.
    pub(super) fn select(&self, select: &gst::event::SelectStreams) -> bool {
        let ids = select.streams().iter().map(|id| id.to_string()).collect();
        let running = self.running.lock().clone();
        running.is_some_and(|running| running.pump.sender().try_send(Event::Select(ids)).is_ok())
    }

    fn apply_selection(&self, search: &Arc<Progress>, ids: Vec<String>) {
        if let Some(session) = self.session_of(search) {
            session.select(&self.obj(), ids);
        }
    }

    /// Ends every pad, and makes no more of them. Before any is linked a pipeline with sinks that nothing else feeds would wait for
    /// ever for those to end: that is an error, as it is for a demuxer of a stream without tracks.
    pub(super) fn end(&self, event: gst::Event) -> bool {
        let session = self.running.lock().as_ref().map(|it| it.session.clone());
        if let Some(session) = &session {
            session.set_ending();
        }
        let feeds = self.feeds_something();
        let taken = self.parent_send_event(event);
        if !feeds && is_endless(&*self.obj()) {
            let err = session.map_or_else(
                || {
                    Error::new(
                        Cause::NoBroadcast,
                        "EOS came to an element that does not run",
                    )
                },
                |session| session.nothing_to_end(),
            );
            post_error(&*self.obj(), Direction::Read, &err, &self.url());
        }
        taken
    }

    fn feeds_something(&self) -> bool {
        self.obj().src_pads().iter().any(|pad| pad.is_linked())
    }
}

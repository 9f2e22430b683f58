//! The bin: properties, templates, states.
//!
//! Locks, in this order: streaming lock of a pad, `Feed` of a track, `Publication`. Those of a track's `Network` and
//! `Counters` are leaves. Everything here (`settings`, `pads`, `pump`, `tokens`, `held`, what `requests` has) is a leaf: copied out of, never held while
//! something is posted, notified, pushed, emitted, waited for or another lock is taken.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use gst::{glib, prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use super::{
    compat::{self, Compat},
    events::Held,
    pads::Pads,
    publication::{Offer, Publication, TrackId},
    requests::Requests,
    settings::{PROPERTIES, Settings, empty_stats},
    stats,
    track::Event,
};
use crate::{
    elements::{
        caps,
        connection::{
            ConnectionStatus, Direction, EventPump, EventSender, Reporter, TokenRequests,
            forward_states, may_change, post_error, post_warning, token_signal,
        },
    },
    media::codec::Kind,
    net::{
        error::{Cause, Error},
        session::{Connection, Role},
        transport::redact,
    },
    policy::group::Limits,
};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "moqsink",
        gst::DebugColorFlags::empty(),
        Some("Media over QUIC publisher"),
    )
});

#[derive(Default)]
pub struct MoqSink {
    pub(super) settings: Mutex<Settings>,
    status: Arc<ConnectionStatus>,
    pub(super) compat: Compat,
    pub(super) publication: Arc<Publication>,
    pub(super) pads: Mutex<Pads>,
    /// There from READY→PAUSED to PAUSED→READY.
    pump: Mutex<Option<EventPump<Event>>>,
    tokens: Mutex<Option<TokenRequests>>,
    pub(super) held: Mutex<BTreeMap<TrackId, Held>>,
    pub(super) limits: Mutex<Limits>,
    pub(super) requests: Requests,
}

#[glib::object_subclass]
impl ObjectSubclass for MoqSink {
    const NAME: &'static str = "GstMoqSink";
    type Type = super::MoqSink;
    type ParentType = gst::Bin;
    type Interfaces = (gst::ChildProxy,);
}

impl ObjectImpl for MoqSink {
    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        obj.set_element_flags(gst::ElementFlags::SINK);
        Compat::follow(&obj);
        // The children of the proxy are the pads, but GstBin tells of each element in it: its word ends here, at the first
        // handler there is.
        for signal in ["child-added", "child-removed"] {
            obj.connect(signal, false, move |values| {
                let is_pad = values[1].get::<super::MoqSinkPad>().is_ok();
                if let (false, Ok(obj)) = (is_pad, values[0].get::<super::MoqSink>()) {
                    obj.stop_signal_emission_by_name(signal);
                }
                None
            });
        }
    }

    fn properties() -> &'static [glib::ParamSpec] {
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![token_signal()]);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !may_change(&*self.obj(), pspec) || compat::set(&self.obj(), value, pspec) {
            return;
        }
        self.settings.lock().set(value, pspec);
        if pspec.name() == "auth-token"
            && let Some(connection) = self.publication.connection()
        {
            let token = self.settings.lock().connection.auth_token();
            connection.set_token(token.clone());
            self.requests.set_token(token);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let connection = self.publication.connection();
        if let Some(value) = compat::get(&self.obj(), connection.as_ref(), pspec) {
            return value;
        }
        self.status
            .get(pspec)
            .unwrap_or_else(|| self.settings.lock().get(pspec))
    }
}

impl GstObjectImpl for MoqSink {}

impl ElementImpl for MoqSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Media over QUIC publisher",
                "Sink/Network/MoQ",
                "Publishes encoded video and audio as a MoQ broadcast, one track for each pad, over WebTransport or raw QUIC",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [
                ("sink_%u", None),
                ("video_%u", Some(Kind::Video)),
                ("audio_%u", Some(Kind::Audio)),
            ]
            .into_iter()
            .map(|(name, kind)| {
                gst::PadTemplate::with_gtype(
                    name,
                    gst::PadDirection::Sink,
                    gst::PadPresence::Request,
                    &caps::template(kind),
                    super::MoqSinkPad::static_type(),
                )
                .expect("a valid template")
            })
            .collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        match self.add_track(template, name) {
            Ok(pad) => Some(pad.upcast()),
            Err(err) => {
                gst::error!(CAT, imp = self, "No pad: {err}");
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.remove_track(pad);
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::trace!(CAT, imp = self, "{transition:?}");
        match transition {
            gst::StateChange::NullToReady => self.check().map_err(|error| self.refuse(&error))?,
            gst::StateChange::ReadyToPaused => self.start().map_err(|error| {
                self.stop();
                self.refuse(&error)
            })?,
            _ => {}
        }
        let done = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if done.is_err() => self.stop(),
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        done
    }
}

impl BinImpl for MoqSink {
    fn handle_message(&self, message: gst::Message) {
        if let gst::MessageView::Eos(_) = message.view()
            && let Some(track) = self.track_of(message.src())
        {
            self.hold_end(&track, message);
            return;
        }
        self.parent_handle_message(message);
    }
}

impl MoqSink {
    pub(super) fn events(&self) -> Option<EventSender<Event>> {
        self.pump.lock().as_ref().map(EventPump::sender)
    }

    fn refuse(&self, error: &Error) -> gst::StateChangeError {
        post_error(&*self.obj(), Direction::Write, error, &self.url());
        gst::StateChangeError
    }

    /// The URLs for messages: without queries and passwords, and empty if they cannot be read.
    pub(super) fn url(&self) -> String {
        let config = self.settings.lock().connection.config();
        let urls = config.map(|config| config.urls).unwrap_or_default();
        let urls: Vec<String> = urls.iter().map(redact).collect();
        urls.join(" ")
    }

    /// What can be said about the settings without doing anything.
    fn check(&self) -> Result<(), Error> {
        let settings = self.settings.lock().clone();
        settings.connection.config()?;
        broadcast(&settings)?;
        if settings.catalogs.is_empty() {
            return Err(Error::new(
                Cause::Settings,
                "Nobody could play a broadcast without catalog: set catalog to hang, msf or both",
            ));
        }
        Ok(())
    }

    fn start(&self) -> Result<(), Error> {
        let obj = self.obj();
        let settings = self.settings.lock().clone();
        let config = settings.connection.config()?;
        let path = broadcast(&settings)?;
        let retention = settings.retention();
        let mut reporter = Reporter::new(Direction::Write, self.status.clone(), &config);
        let listens = settings
            .allow_requests
            .then(|| (config.clone(), path.clone()));
        let connection = Connection::open(config, Role::Publisher, retention);
        let entries = self.entries();
        self.publication.start(
            connection.clone(),
            Offer {
                path,
                retention: retention.age,
                catalogs: settings.catalogs(),
            },
            entries.iter().map(|entry| entry.track.id),
        )?;
        let pump = EventPump::new(&*obj, "moqsink-events", move |element, event| {
            element.imp().handle_event(&mut reporter, event);
        })
        .map_err(|err| {
            Error::new(
                Cause::Settings,
                format!("The system gives no thread: {err}"),
            )
        })?;
        let events = pump.sender();
        *self.pump.lock() = Some(pump);
        let limits = *self.limits.lock();
        for entry in &entries {
            entry
                .sink
                .imp()
                .configure(settings.sync, settings.drain_timeout);
            entry.track.start(events.clone(), limits);
        }
        if let Some((config, path)) = listens {
            self.requests.start(config, &path, events.clone())?;
        }
        forward_states(&connection, events, Event::Connection);
        let take = |element: &super::MoqSink, token| element.imp().take_token(token);
        let tokens = TokenRequests::answer(&*obj, "moqsink-token", &connection, take);
        *self.tokens.lock() = Some(tokens);
        Ok(())
    }

    fn stop(&self) {
        let said = (self.pump.lock().take(), self.tokens.lock().take());
        drop(said);
        self.requests.stop();
        self.held.lock().clear();
        let writers: Vec<_> = self
            .entries()
            .iter()
            .filter_map(|entry| entry.track.stop())
            .collect();
        if let Some(remains) = self.publication.stop() {
            let drain = Duration::from_nanos(self.settings.lock().drain_timeout);
            if let Err(lost) = remains.shut_down(writers, drain) {
                post_warning(&*self.obj(), Direction::Write, &lost, &self.url());
            }
        }
        self.status.reset(&*self.obj());
    }

    fn stats(&self) -> gst::Structure {
        let Some(connection) = self.publication.connection() else {
            return empty_stats();
        };
        let entries = self.entries();
        let mut stats = stats::structure(
            Some(&connection),
            entries
                .iter()
                .map(|entry| (entry.pad.name().to_string(), &*entry.track)),
        );
        if let Some(requests) = self.requests.stats() {
            stats.set("requests", requests);
        }
        stats
    }
}

fn broadcast(settings: &Settings) -> Result<String, Error> {
    settings.connection.broadcast().ok_or_else(|| {
        Error::new(
            Cause::Settings,
            "No broadcast to publish: set broadcast, or ?broadcast= in the URI",
        )
    })
}

#[cfg(test)]
impl MoqSink {
    pub(super) fn publication_tracks(&self) -> usize {
        self.publication.tracks()
    }

    /// Groups that fill up sooner than those of the protocol library.
    pub(super) fn set_limits(&self, limits: Limits) {
        *self.limits.lock() = limits;
    }
}

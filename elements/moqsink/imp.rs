//! The bin: pads, states, end of stream, events of the runtime.
//!
//! Locks, in this order: streaming lock of a pad, `Feed` of a track, `Publication`. Everything here (`settings`, `pads`,
//! `pump`, `held`) is a leaf: copied out of, never held while something is posted, notified, pushed, emitted, waited for or
//! another lock is taken.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::prelude::*;
use parking_lot::Mutex;

use super::{
    key_unit,
    publication::{Publication, TrackId, end_track},
    settings::{PROPERTIES, Settings, empty_stats},
    stats,
    track::{Event, Track},
};
use crate::{
    elements::{
        caps,
        connection::{
            ConnectionStatus, Direction, EventPump, Reporter, forward_states,
            forward_token_requests, post_error, post_warning, request_token, token_signal,
        },
    },
    media::codec::Kind,
    net::{
        error::{Cause, Error},
        session::{Connection, Role, State},
        transport::redact,
    },
    policy::group::Limits,
};

/// PAUSED→READY takes no longer than this and the drain, whatever the network does.
const CLOSE_LIMIT: Duration = Duration::from_millis(400);

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "moqsink",
        gst::DebugColorFlags::empty(),
        Some("Media over QUIC publisher"),
    )
});

#[derive(Default)]
pub struct MoqSink {
    settings: Mutex<Settings>,
    status: Arc<ConnectionStatus>,
    publication: Arc<Publication>,
    pads: Mutex<Pads>,
    /// There from READY→PAUSED to PAUSED→READY.
    pump: Mutex<Option<EventPump<Event>>>,
    held: Mutex<BTreeMap<TrackId, Held>>,
    limits: Mutex<Limits>,
}

#[derive(Default)]
struct Pads {
    next: TrackId,
    /// Names in use, from the request of a pad to its release.
    names: BTreeMap<TrackId, String>,
    all: BTreeMap<TrackId, Entry>,
}

#[derive(Clone)]
struct Entry {
    pad: super::MoqSinkPad,
    sink: super::MoqTrackSink,
    track: Arc<Track>,
}

/// An end of stream is told when the sink has posted it and the track is drained, both in the same epoch.
#[derive(Default)]
struct Held {
    message: Option<(u64, gst::Message)>,
    drained: Option<u64>,
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
        self.settings.lock().set(&self.obj(), value, pspec);
        if pspec.name() == "auth-token"
            && let Some(connection) = self.publication.connection()
        {
            let token = self.settings.lock().connection.auth_token();
            connection.set_token(token);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
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
                "Publishes H.264 and Opus as a MoQ broadcast, one track for each pad, over WebTransport or raw QUIC",
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
            let epoch = track.epoch();
            self.held.lock().entry(track.id).or_default().message = Some((epoch, message));
            self.tell_end(&track);
            return;
        }
        self.parent_handle_message(message);
    }
}

impl ChildProxyImpl for MoqSink {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let pads = self.pads.lock();
        let entry = pads.all.values().nth(usize::try_from(index).ok()?)?;
        Some(entry.pad.clone().upcast())
    }

    fn children_count(&self) -> u32 {
        u32::try_from(self.pads.lock().all.len()).unwrap_or(u32::MAX)
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        let pads = self.pads.lock();
        let entry = pads.all.values().find(|entry| entry.pad.name() == name)?;
        Some(entry.pad.clone().upcast())
    }
}

impl MoqSink {
    fn entries(&self) -> Vec<Entry> {
        self.pads.lock().all.values().cloned().collect()
    }

    fn entry(&self, id: TrackId) -> Option<Entry> {
        self.pads.lock().all.get(&id).cloned()
    }

    fn track_of(&self, sink: Option<&gst::Object>) -> Option<Arc<Track>> {
        let sink = sink?;
        let pads = self.pads.lock();
        let entry = pads
            .all
            .values()
            .find(|entry| entry.sink.upcast_ref::<gst::Object>() == sink)?;
        Some(entry.track.clone())
    }

    fn add_track(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Result<super::MoqSinkPad, glib::BoolError> {
        let kind = match template.name_template() {
            "video_%u" => Some(Kind::Video),
            "audio_%u" => Some(Kind::Audio),
            _ => None,
        };
        let (id, name) = self.reserve(template, name)?;
        let track = Arc::new(Track::new(id, self.publication.clone()));
        let sink: super::MoqTrackSink = glib::Object::builder()
            .property("name", format!("{name}-track"))
            .build();
        sink.imp().set_up(track.clone(), kind);
        let pad = gst::PadBuilder::<super::MoqSinkPad>::from_template(template)
            .name(name.as_str())
            .build();
        pad.imp().set_up(track.clone(), kind);
        let entry = Entry { pad, sink, track };
        if let Err(err) = self.insert(&entry) {
            self.discard(&entry);
            return Err(err);
        }
        self.obj().child_added(&entry.pad, &name);
        gst::debug!(CAT, imp = self, "Added {name}");
        Ok(entry.pad)
    }

    /// What it leaves behind when it fails is for [`Self::discard`].
    fn insert(&self, entry: &Entry) -> Result<(), glib::BoolError> {
        let obj = self.obj();
        let Entry { pad, sink, track } = entry;
        let settings = self.settings.lock().clone();
        sink.imp().configure(settings.sync, settings.drain_timeout);
        let running = self.events().is_some();
        obj.add(sink)?;
        pad.set_target(Some(sink.sink_pad()))?;
        self.pads.lock().all.insert(track.id, entry.clone());
        self.publication.add(track.id);
        if let Some(events) = self.events() {
            track.start(events, *self.limits.lock());
        }
        if sink.sync_state_with_parent().is_err() {
            gst::warning!(
                CAT,
                obj = pad,
                "The pad does not follow the element's state"
            );
        }
        if running {
            pad.set_active(true)?;
        }
        obj.add_pad(pad)
    }

    /// The name that was asked for, if it is free, or the next free number.
    fn reserve(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Result<(TrackId, String), glib::BoolError> {
        let mut pads = self.pads.lock();
        let taken = |name: &str| pads.names.values().any(|other| other == name);
        let prefix = template.name_template().trim_end_matches("%u");
        let name = match name {
            Some(name) if name.contains('%') => None,
            other => other,
        };
        let name = match name {
            Some(name) if taken(name) => return Err(glib::bool_error!("There is a pad {name}")),
            Some(name) => name.to_owned(),
            None => (0..)
                .map(|n| format!("{prefix}{n}"))
                .find(|name| !taken(name))
                .unwrap_or_default(),
        };
        let id = pads.next;
        pads.next += 1;
        pads.names.insert(id, name.clone());
        Ok((id, name))
    }

    fn remove_track(&self, pad: &gst::Pad) {
        let entry = {
            let pads = self.pads.lock();
            let mut entries = pads.all.values();
            entries.find(|entry| entry.pad == *pad).cloned()
        };
        let Some(entry) = entry else {
            return;
        };
        self.discard(&entry);
        let name = entry.pad.name();
        self.obj().child_removed(&entry.pad, &name);
        gst::debug!(CAT, imp = self, "Released {name}");
    }

    /// Takes out what there is of a track, also of one that was not added to the end.
    fn discard(&self, entry: &Entry) {
        let obj = self.obj();
        let Entry { pad, sink, track } = entry;
        self.pads.lock().all.remove(&track.id);
        self.held.lock().remove(&track.id);
        // Going to NULL wakes a streaming thread that waits in the base class; deactivating the pad waits until it has left.
        sink.set_locked_state(true);
        let _ = sink.set_state(gst::State::Null);
        let _ = pad.set_active(false);
        if let Some(writer) = track.stop() {
            let drain = Duration::from_nanos(self.settings.lock().drain_timeout);
            end_track(&self.publication, track.id, writer, drain, drop);
        }
        self.publication.remove(track.id);
        let _ = pad.set_target(None::<&gst::Pad>);
        let owner = obj.upcast_ref::<gst::Object>();
        if pad.parent().as_ref() == Some(owner) {
            let _ = obj.remove_pad(pad);
        }
        if sink.parent().as_ref() == Some(owner) {
            let _ = obj.remove(sink);
        }
        self.pads.lock().names.remove(&track.id);
    }

    fn events(&self) -> Option<crate::elements::connection::EventSender<Event>> {
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
        Ok(())
    }

    fn start(&self) -> Result<(), Error> {
        let obj = self.obj();
        let settings = self.settings.lock().clone();
        let config = settings.connection.config()?;
        let path = broadcast(&settings)?;
        let retention = settings.retention();
        let mut reporter = Reporter::new(Direction::Write, self.status.clone(), &config);
        let connection = Connection::open(config, Role::Publisher, retention);
        let entries = self.entries();
        self.publication.start(
            connection.clone(),
            path,
            retention.age,
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
        forward_states(&connection, events.clone(), Event::Connection);
        forward_token_requests(&connection, events, Event::Token);
        Ok(())
    }

    fn stop(&self) {
        let pump = self.pump.lock().take();
        drop(pump);
        self.held.lock().clear();
        let writers: Vec<_> = self
            .entries()
            .iter()
            .filter_map(|entry| entry.track.stop())
            .collect();
        if let Some(remains) = self.publication.stop() {
            let drain = Duration::from_nanos(self.settings.lock().drain_timeout);
            if let Err(lost) = remains.shut_down(writers, drain, CLOSE_LIMIT) {
                post_warning(&*self.obj(), Direction::Write, &lost, &self.url());
            }
        }
        self.status.reset(&*self.obj());
    }

    /// On the pump's thread.
    fn handle_event(&self, reporter: &mut Reporter, event: Event) {
        let obj = self.obj();
        match event {
            Event::Connection(state) => {
                let connected = matches!(state, State::Connected { .. });
                reporter.report(&*obj, state);
                if connected {
                    self.entries()
                        .iter()
                        .filter(|entry| entry.track.info.lock().demand)
                        .for_each(|entry| entry.track.want_key_unit());
                }
            }
            Event::Demand(id, demand) => self.demand(id, demand),
            Event::Changed(id) => {
                if let Some(entry) = self.entry(id) {
                    for property in ["track", "track-status", "track-error"] {
                        entry.pad.notify(property);
                    }
                }
            }
            Event::KeyUnit(id) => {
                if let Some(entry) = self.entry(id) {
                    let handled = key_unit::request(entry.sink.sink_pad());
                    gst::debug!(CAT, obj = entry.pad, "Asked for a key frame: {handled}");
                }
            }
            Event::Dropped(id, reason) => {
                if let Some(entry) = self.entry(id) {
                    let structure = gst::Structure::builder("moq-dropped")
                        .field("pad", entry.pad.name())
                        .field("reason", reason.as_str())
                        .build();
                    self.post(structure);
                }
            }
            Event::Warning(error) => {
                post_warning(&*obj, Direction::Write, &error, &self.url());
            }
            Event::Token(url) => self.renew_token(&url),
            Event::Drained(id, epoch) => {
                if let Some(entry) = self.entry(id) {
                    self.held.lock().entry(id).or_default().drained = Some(epoch);
                    self.tell_end(&entry.track);
                }
            }
        }
    }

    fn renew_token(&self, url: &str) {
        let Some(token) = request_token(&*self.obj(), url) else {
            return;
        };
        let connection = self.publication.connection();
        self.settings
            .lock()
            .connection
            .set_auth_token(token.clone());
        if let Some(connection) = connection {
            connection.set_token(Some(token));
        }
    }

    fn demand(&self, id: TrackId, demand: bool) {
        let Some(entry) = self.entry(id) else {
            return;
        };
        let track = {
            let mut info = entry.track.info.lock();
            if std::mem::replace(&mut info.demand, demand) == demand {
                return;
            }
            info.name.clone()
        };
        entry.pad.notify("demand");
        let structure = gst::Structure::builder("moq-track-demand")
            .field("pad", entry.pad.name())
            .field("track", track)
            .field("demand", demand)
            .build();
        self.post(structure);
        if demand {
            entry.track.want_key_unit();
        }
    }

    /// Hands the sink's end of stream on once its track is drained.
    fn tell_end(&self, track: &Track) {
        let message = {
            let mut held = self.held.lock();
            let Some(entry) = held.get_mut(&track.id) else {
                return;
            };
            let epoch = track.epoch();
            match (&entry.message, entry.drained) {
                (Some((posted, _)), Some(drained)) if *posted == epoch && drained == epoch => {
                    held.remove(&track.id).and_then(|held| held.message)
                }
                _ => None,
            }
        };
        if let Some((_, message)) = message {
            gst::debug!(CAT, imp = self, "Drained, telling end of stream");
            self.parent_handle_message(message);
        }
    }

    fn post(&self, structure: gst::Structure) {
        let obj = self.obj();
        let message = gst::message::Element::builder(structure).src(&*obj).build();
        // Fails while the element has no bus.
        let _ = obj.post_message(message);
    }

    fn stats(&self) -> gst::Structure {
        let Some(connection) = self.publication.connection() else {
            return empty_stats();
        };
        let entries = self.entries();
        stats::structure(
            Some(&connection),
            entries
                .iter()
                .map(|entry| (entry.pad.name().to_string(), &*entry.track)),
        )
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

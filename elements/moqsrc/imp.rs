//! The element: properties, states, queries and events. What exists while it runs is in `run`.
//!
//! Locks: `settings`, `running`, `tokens`, `warned`; each is taken alone, and none is held while GStreamer, the application or the session is
//! called.

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use gst::{glib, prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use super::{
    pad::answer,
    run::Running,
    settings::{self, Settings},
    stats,
};
use crate::{
    elements::{
        caps,
        connection::{ConnectionStatus, TokenRequests, may_change, token_signal},
    },
    media::codec::Kind,
    net::error::Cause,
};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "moqsrc",
        gst::DebugColorFlags::empty(),
        Some("Media over QUIC source"),
    )
});

#[derive(Default)]
pub struct MoqSrc {
    pub(super) settings: Mutex<Settings>,
    pub(super) running: Mutex<Option<Running>>,
    /// While `running`.
    pub(super) tokens: Mutex<Option<TokenRequests>>,
    pub(super) status: Arc<ConnectionStatus>,
    /// The cause and time of the last warning about the broadcast.
    pub(super) warned: Mutex<Option<(Cause, Instant)>>,
}

#[glib::object_subclass]
impl ObjectSubclass for MoqSrc {
    const NAME: &'static str = "GstMoqSrc";
    type Type = super::MoqSrc;
    type ParentType = gst::Bin;
}

impl ObjectImpl for MoqSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::properties()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![token_signal()]);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let obj = self.obj();
        if !may_change(&*obj, pspec) {
            return;
        }
        let handled = self.settings.lock().connection.set(value, pspec);
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
            "start" => settings.start = value.get().expect("type checked upstream"),
            "catalog" => settings.catalog = value.get().expect("type checked upstream"),
            "broadcast-timeout" => {
                settings.broadcast_timeout = value.get().expect("type checked upstream")
            }
            "allow-requests" => {
                settings.allow_requests = value.get().expect("type checked upstream")
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
            "catalog" => settings.catalog.to_value(),
            "broadcast-timeout" => settings.broadcast_timeout.to_value(),
            "allow-requests" => settings.allow_requests.to_value(),
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

impl GstObjectImpl for MoqSrc {}

impl ElementImpl for MoqSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Media over QUIC source",
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
                sometimes("video_%u", &caps::output_template(Kind::Video)),
                sometimes("audio_%u", &caps::output_template(Kind::Audio)),
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
            gst::EventView::Eos(_) => self.end(event),
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

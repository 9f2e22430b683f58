//! The element: settings, states, signals. The relay itself is [`Relay`].
//!
//! Locks: `settings` and `relay` are leaves; neither is held while the other is taken, nor while anything is
//! emitted, notified, posted or waited for.

use std::{
    sync::{LazyLock, mpsc},
    time::Duration,
};

use gst::{glib, prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use super::{
    settings::{PROPERTIES, Settings},
    structures,
};
use crate::elements::{connection::post_info, log::RELAY as CAT};
use crate::net::{
    error::{Cause, Error},
    relay::{Event, Relay, RelayConfig, SessionInfo},
};

/// PAUSED→READY takes no longer, whatever the peers do.
const STOP_LIMIT: Duration = Duration::from_millis(480);

#[derive(Default)]
pub struct RelayBridge {
    settings: Mutex<Settings>,
    /// There from READY→PAUSED to PAUSED→READY.
    relay: Mutex<Option<Relay>>,
}

#[glib::object_subclass]
impl ObjectSubclass for RelayBridge {
    const NAME: &'static str = "GstRelayBridge";
    type Type = super::RelayBridge;
    type ParentType = gst::Element;
}

impl ObjectImpl for RelayBridge {
    fn constructed(&self) {
        self.parent_constructed();
        // A pipeline that is told to end sends EOS to its sources.
        self.obj().set_element_flags(gst::ElementFlags::SOURCE);
    }

    fn properties() -> &'static [glib::ParamSpec] {
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            let structure = gst::Structure::static_type();
            vec![
                /*
                 * GstRelayBridge::session-added:
                 * @session: `id` (guint64), `peer`, `transport` (`webtransport` or `quic`), `version`, `scope`
                 *
                 * A peer connected. Emitted, like all signals here, from a thread that neither streams nor serves
                 * the network; it may be blocked.
                 */
                glib::subclass::Signal::builder("session-added")
                    .param_types([structure])
                    .build(),
                /*
                 * GstRelayBridge::session-removed:
                 * @session: as in #GstRelayBridge::session-added
                 * @reason: why it ended, in words
                 */
                glib::subclass::Signal::builder("session-removed")
                    .param_types([structure, String::static_type()])
                    .build(),
                /*
                 * GstRelayBridge::broadcast-added:
                 * @name: the broadcast that is announced, from the relay's root
                 */
                glib::subclass::Signal::builder("broadcast-added")
                    .param_types([String::static_type()])
                    .build(),
                /*
                 * GstRelayBridge::broadcast-removed:
                 * @name: the broadcast that is not announced any more
                 */
                glib::subclass::Signal::builder("broadcast-removed")
                    .param_types([String::static_type()])
                    .build(),
            ]
        });
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if self.obj().current_state() > gst::State::Ready {
            gst::warning!(
                CAT,
                imp = self,
                "{} may change only in NULL or READY; keeping the old value",
                pspec.name()
            );
            return;
        }
        self.settings.lock().set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "bound-url" => self.relay.lock().as_ref().map(Relay::url).to_value(),
            "certificate-fingerprint" => self
                .relay
                .lock()
                .as_ref()
                .map(Relay::fingerprint)
                .to_value(),
            "stats" => {
                let stats = self.relay.lock().as_ref().map(Relay::stats);
                stats
                    .map_or_else(
                        || gst::Structure::new_empty(structures::STATS),
                        |s| structures::stats(&s),
                    )
                    .to_value()
            }
            name => self.settings.lock().get(name),
        }
    }
}

impl GstObjectImpl for RelayBridge {}

impl ElementImpl for RelayBridge {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Media over QUIC relay",
                "Network/MoQ",
                "Accepts MoQ publishers and subscribers over WebTransport and raw QUIC and passes what the ones send on \
                 to the others, held once; has no pads",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn send_event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Eos(eos) = event.view() {
            self.end_alone(eos.seqnum());
            return true;
        }
        self.parent_send_event(event)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self.validate()?,
            gst::StateChange::ReadyToPaused => self.start()?,
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if result.is_err() => self.stop(),
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        result
    }
}

impl RelayBridge {
    /// A bin tells EOS when all its sinks have. It would count this element for ever if it was a sink, and a bin without
    /// any tells nothing: so this is one while it posts, and only where there is no other.
    fn end_alone(&self, seqnum: gst::Seqnum) {
        let obj = self.obj();
        let bin = obj.parent().and_downcast::<gst::Bin>();
        if bin.is_none_or(|bin| bin.iterate_sinks().into_iter().next().is_some()) {
            return;
        }
        let message = gst::message::Eos::builder()
            .src(&*obj)
            .seqnum(seqnum)
            .build();
        obj.set_element_flags(gst::ElementFlags::SINK);
        let _ = obj.post_message(message);
        obj.unset_element_flags(gst::ElementFlags::SINK);
    }

    fn validate(&self) -> Result<(), gst::StateChangeError> {
        self.config().map(|_| ())
    }

    fn config(&self) -> Result<Option<RelayConfig>, gst::StateChangeError> {
        let settings = self.settings.lock().clone();
        let factory = self.obj().factory();
        let plugin = factory.and_then(|factory| factory.plugin()?.filename());
        settings
            .config(plugin.as_deref())
            .map_err(|err| self.fail(gst::ResourceError::Settings, &err))
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        let Some(config) = self.config()? else {
            let text =
                "nothing to do: listen is empty; set it to an address such as 127.0.0.1:4443";
            let err = Error::new(Cause::Settings, text);
            return Err(self.fail(gst::ResourceError::Settings, &err));
        };
        let relay = Relay::start(config)
            .map_err(|err| self.fail(gst::ResourceError::OpenReadWrite, &err))?;
        if let Some(events) = relay.events() {
            self.pump(events);
        }
        let message = gst::Structure::builder("relay-bridge-listening")
            .field("url", relay.url())
            .field("fingerprint", relay.fingerprint())
            .field(
                "addresses",
                gst::Array::new(relay.bound().iter().map(ToString::to_string)),
            )
            .build();
        gst::info!(CAT, imp = self, "listening: {message}");
        *self.relay.lock() = Some(relay);
        self.notify_bound();
        let obj = self.obj();
        let _ = obj.post_message(gst::message::Element::builder(message).src(&*obj).build());
        if let Some(text) = self.addresses() {
            gst::info!(CAT, imp = self, "{text}");
            post_info(&*obj, gst::ResourceError::OpenReadWrite, &text);
        }
        Ok(())
    }

    /// What to give to moqsink and moqsrc, and to a browser.
    fn addresses(&self) -> Option<String> {
        let relay = self.relay.lock();
        let relay = relay.as_ref()?;
        let urls = relay.urls().join(" or ");
        let page = match relay.has_page() {
            true => "; the same address in a browser is the player page",
            false => "",
        };
        Some(format!(
            "Listening: url={urls} for moqsink and moqsrc{page}"
        ))
    }

    fn stop(&self) {
        let Some(relay) = self.relay.lock().take() else {
            return;
        };
        if !relay.stop_blocking(STOP_LIMIT) {
            gst::warning!(
                CAT,
                imp = self,
                "still stopping after {STOP_LIMIT:?}, in the background"
            );
        }
        self.notify_bound();
    }

    fn notify_bound(&self) {
        self.obj().notify("bound-url");
        self.obj().notify("certificate-fingerprint");
    }

    /// The one error message of a failed state change.
    fn fail(&self, kind: gst::ResourceError, err: &Error) -> gst::StateChangeError {
        gst::error!(CAT, imp = self, "{err}");
        let details = gst::Structure::builder("moq-error")
            .field("cause", err.cause.as_str())
            .build();
        gst::element_imp_error!(self, kind, ("{}", err), ["cause {}", err.cause], details: details);
        gst::StateChangeError
    }

    /// Emits the relay's events from a thread of their own, which ends with the relay and holds nothing.
    fn pump(&self, events: mpsc::Receiver<Event>) {
        let element = self.obj().downgrade();
        let thread = std::thread::Builder::new()
            .name("relay-bridge".to_owned())
            .spawn(move || {
                while let Ok(event) = events.recv() {
                    let Some(element) = element.upgrade() else {
                        return;
                    };
                    emit(&element, event);
                }
            });
        if let Err(err) = thread {
            gst::warning!(
                CAT,
                imp = self,
                "no signals will be emitted: cannot start a thread: {err}"
            );
        }
    }
}

fn emit(element: &super::RelayBridge, event: Event) {
    gst::debug!(CAT, obj = element, "{event:?}");
    match event {
        Event::SessionAdded(info) => {
            element.emit_by_name::<()>("session-added", &[&structures::session(&info)]);
        }
        Event::SessionRemoved(info, reason) => {
            element.emit_by_name::<()>("session-removed", &[&structures::session(&info), &reason]);
        }
        Event::BroadcastAdded(name) => element.emit_by_name::<()>("broadcast-added", &[&name]),
        Event::BroadcastRemoved(name) => element.emit_by_name::<()>("broadcast-removed", &[&name]),
        Event::BroadcastContested(name, peers) => contested(element, &name, peers.each_ref()),
        Event::CertificateChanged => element.notify("certificate-fingerprint"),
        Event::CertificateKept(err) => gst::element_warning!(
            element,
            gst::ResourceError::Read,
            ("The old certificate stays in use: {err}"),
            ["cause {}", err.cause]
        ),
    }
}

/// MoQ has no word for it, so that only who runs the relay can be told.
fn contested(element: &super::RelayBridge, name: &str, peers: [&SessionInfo; 2]) {
    let addresses = peers.map(|info| info.peer.to_string());
    let text = format!(
        "The broadcast '{name}' has two publishers, {} and {}: players get the one that announced it last",
        addresses[0], addresses[1]
    );
    let message = gst::Structure::builder("moq-taken-over")
        .field("broadcast", name)
        .field("peers", gst::Array::new(addresses))
        .build();
    gst::element_warning!(element, gst::ResourceError::Busy, ("{text}"), details: message);
}

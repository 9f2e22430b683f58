//! The read-only properties `connection-state` and `moq-version`.

use gst::{glib, prelude::*};
use parking_lot::Mutex;

/// Where the connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMoqConnectionState")]
#[repr(i32)]
pub enum MoqConnectionState {
    #[default]
    #[enum_value(name = "Not started", nick = "disconnected")]
    Disconnected,
    #[enum_value(name = "Connecting for the first time", nick = "connecting")]
    Connecting,
    #[enum_value(name = "Connected", nick = "connected")]
    Connected,
    #[enum_value(name = "Lost, and trying again", nick = "reconnecting")]
    Reconnecting,
    #[enum_value(name = "Given up", nick = "failed")]
    Failed,
}

/// What the two properties show. Set by the reporter and by the element when it stops.
#[derive(Debug, Default)]
pub struct ConnectionStatus(Mutex<Status>);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Status {
    state: MoqConnectionState,
    version: Option<String>,
}

impl ConnectionStatus {
    /// The specifications, to be put among the element's own.
    pub fn param_specs() -> Vec<glib::ParamSpec> {
        vec![
            glib::ParamSpecEnum::builder_with_default(
                "connection-state",
                MoqConnectionState::default(),
            )
            .nick("Connection state")
            .blurb("State of the connection; notified on change")
            .read_only()
            .build(),
            glib::ParamSpecString::builder("moq-version")
                .nick("MoQ version")
                .blurb("Negotiated protocol version, unset while not connected; notified on change")
                .read_only()
                .build(),
        ]
    }

    /// The value of one of these properties.
    pub fn get(&self, pspec: &glib::ParamSpec) -> Option<glib::Value> {
        let status = self.0.lock();
        match pspec.name() {
            "connection-state" => Some(status.state.to_value()),
            "moq-version" => Some(status.version.to_value()),
            _ => None,
        }
    }

    pub fn state(&self) -> MoqConnectionState {
        self.0.lock().state
    }

    /// Disconnected again, after the pump was dropped.
    pub fn reset(&self, element: &impl IsA<gst::Element>) {
        self.set(element, MoqConnectionState::Disconnected, None);
    }

    /// Sets both and notifies what changed, without the lock.
    pub(super) fn set(
        &self,
        element: &impl IsA<gst::Element>,
        state: MoqConnectionState,
        version: Option<&str>,
    ) {
        let new = Status {
            state,
            version: version.map(str::to_owned),
        };
        let old = std::mem::replace(&mut *self.0.lock(), new.clone());
        let element = element.as_ref();
        if old.version != new.version {
            element.notify("moq-version");
        }
        if old.state != new.state {
            element.notify("connection-state");
        }
    }
}

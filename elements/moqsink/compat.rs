//! Properties by which applications that were written for moq-gst know their connection. Each shows something that has a
//! property of its own here, in other units or under another name.
//!
//! | Theirs | Ours |
//! |---|---|
//! | `status`, `connected` | `connection-state` |
//! | `connection-stats`, `estimated-send-rate`, `estimated-recv-rate`, `sessions` | `stats` |
//! | `quic-idle-timeout`, `quic-keep-alive` (ms) | `idle-timeout`, `keep-alive-interval` (ns) |

use gst::{glib, prelude::*, subclass::prelude::*};
use parking_lot::Mutex;

use crate::{
    elements::connection::{ConnectionSettings, MoqConnectionState, transport_stats},
    net::session::{Connection, State},
};

const NS_PER_MS: u64 = 1_000_000;

/// The life of the connection as moq-gst tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMoqSinkStatus")]
#[repr(i32)]
pub enum MoqSinkConnectionStatus {
    #[default]
    #[enum_value(name = "No session, connecting unless stopped", nick = "disconnected")]
    Disconnected,
    #[enum_value(name = "Connected", nick = "connected")]
    Connected,
    #[enum_value(name = "Given up", nick = "failed")]
    Failed,
}

impl From<MoqConnectionState> for MoqSinkConnectionStatus {
    fn from(state: MoqConnectionState) -> Self {
        match state {
            MoqConnectionState::Connected => Self::Connected,
            MoqConnectionState::Failed => Self::Failed,
            MoqConnectionState::Disconnected
            | MoqConnectionState::Connecting
            | MoqConnectionState::Reconnecting => Self::Disconnected,
        }
    }
}

/// What was notified last. A leaf.
#[derive(Debug, Default)]
pub(super) struct Compat(Mutex<MoqSinkConnectionStatus>);

impl Compat {
    /// Notifies `status` and `connected` with `connection-state`. To be called once.
    pub fn follow(element: &super::MoqSink) {
        element.connect_notify(Some("connection-state"), |element, _| {
            let state = element.property::<MoqConnectionState>("connection-state");
            let status = MoqSinkConnectionStatus::from(state);
            let compat = &element.imp().compat;
            let last = std::mem::replace(&mut *compat.0.lock(), status);
            if last == status {
                return;
            }
            element.notify("status");
            let connected = MoqSinkConnectionStatus::Connected;
            if (last == connected) != (status == connected) {
                element.notify("connected");
            }
        });
    }
}

pub(super) fn param_specs() -> Vec<glib::ParamSpec> {
    let rate = |name: &str, nick: &str, blurb: &str| {
        glib::ParamSpecUInt64::builder(name)
            .nick(nick)
            .blurb(blurb)
            .read_only()
            .build()
    };
    let ours = ConnectionSettings::param_specs();
    let time = |name: &str, nick: &str, blurb: &str| {
        let ours = ours.iter().find(|spec| Some(spec.name()) == in_ns(name));
        let default = ours.and_then(|spec| spec.default_value().get::<u64>().ok());
        glib::ParamSpecUInt64::builder(name)
            .nick(nick)
            .blurb(blurb)
            .default_value(default.unwrap_or(0) / NS_PER_MS)
            .mutable_ready()
            .build()
    };
    let structure = |name: &str, nick: &str, blurb: &str| {
        glib::ParamSpecBoxed::builder::<gst::Structure>(name)
            .nick(nick)
            .blurb(blurb)
            .read_only()
            .build()
    };
    vec![
        glib::ParamSpecEnum::builder_with_default("status", MoqSinkConnectionStatus::default())
            .nick("Status")
            .blurb(
                "As moq-gst has it: connection-state without its transitions; notified on change",
            )
            .read_only()
            .build(),
        glib::ParamSpecBoolean::builder("connected")
            .nick("Connected")
            .blurb("As moq-gst has it: status is connected; notified on change")
            .read_only()
            .build(),
        structure(
            "connection-stats",
            "Connection statistics",
            "As moq-gst has it: the part transport of stats, unset while not connected",
        ),
        rate(
            "estimated-send-rate",
            "Estimated send rate",
            "As moq-gst has it: what the congestion controller would send (bit/s, 0 = not known)",
        ),
        rate(
            "estimated-recv-rate",
            "Estimated receive rate",
            "As moq-gst has it; a publisher does not measure it (bit/s, 0 = not known)",
        ),
        structure(
            "sessions",
            "Sessions",
            "As moq-gst has it: how many sessions were started and how many of them have ended since the element started",
        ),
        time(
            "quic-idle-timeout",
            "QUIC idle timeout",
            "As moq-gst has it: idle-timeout in other units (ms, 0 = never). Changeable in NULL and READY",
        ),
        time(
            "quic-keep-alive",
            "QUIC keep-alive interval",
            "As moq-gst has it: keep-alive-interval in other units (ms, 0 = none). Changeable in NULL and READY",
        ),
    ]
}

/// The property that one in ms stands for.
fn in_ns(name: &str) -> Option<&'static str> {
    match name {
        "quic-idle-timeout" => Some("idle-timeout"),
        "quic-keep-alive" => Some("keep-alive-interval"),
        _ => None,
    }
}

/// Sets one of these properties; false when it is none of them.
pub(super) fn set(element: &super::MoqSink, value: &glib::Value, pspec: &glib::ParamSpec) -> bool {
    let Some(name) = in_ns(pspec.name()) else {
        return false;
    };
    let ms: u64 = value.get().expect("type checked upstream");
    element.set_property(name, ms.saturating_mul(NS_PER_MS));
    true
}

/// The value of one of these properties.
pub(super) fn get(
    element: &super::MoqSink,
    connection: Option<&Connection>,
    pspec: &glib::ParamSpec,
) -> Option<glib::Value> {
    let status = || {
        MoqSinkConnectionStatus::from(element.property::<MoqConnectionState>("connection-state"))
    };
    Some(match pspec.name() {
        "status" => status().to_value(),
        "connected" => (status() == MoqSinkConnectionStatus::Connected).to_value(),
        "connection-stats" => connection.and_then(connection_stats).to_value(),
        "estimated-send-rate" => connection
            .and_then(|connection| connection.stats().estimated_send_rate)
            .unwrap_or(0)
            .to_value(),
        "estimated-recv-rate" => 0u64.to_value(),
        "sessions" => sessions(connection).to_value(),
        name => (element.property::<u64>(in_ns(name)?) / NS_PER_MS).to_value(),
    })
}

fn connection_stats(connection: &Connection) -> Option<gst::Structure> {
    let state = connection.state().borrow().clone();
    match state {
        State::Connected { info, .. } => Some(transport_stats(&connection.stats(), Some(&info))),
        _ => None,
    }
}

fn sessions(connection: Option<&Connection>) -> gst::Structure {
    let (started, ended) = connection.map_or((0, 0), |connection| {
        let state = connection.state().borrow().clone();
        let reconnects = connection.stats().reconnects;
        match state {
            State::Connecting { .. } => (0, 0),
            State::Connected { .. } => (reconnects + 1, reconnects),
            State::Reconnecting { .. } => (reconnects + 1, reconnects + 1),
            // Whether there was a session before is not known unless there were several.
            State::Failed(_) if reconnects == 0 => (0, 0),
            State::Failed(_) => (reconnects + 1, reconnects + 1),
        }
    });
    gst::Structure::builder("sessions")
        .field("started", started)
        .field("ended", ended)
        .build()
}

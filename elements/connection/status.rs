//! The read-only properties `connection-state` and `moq-version`.

use std::sync::Arc;

use gst::{glib, prelude::*};
use parking_lot::Mutex;

use super::Progress;

/// The code of the PROGRESS messages of connecting.
const CONNECT: &str = "connect";

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
pub struct ConnectionStatus(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shown: Status,
    /// Of the run of the element that goes on; what a reporter of an earlier one still says is not for it.
    run: Option<Arc<Progress>>,
}

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
        let status = &self.0.lock().shown;
        match pspec.name() {
            "connection-state" => Some(status.state.to_value()),
            "moq-version" => Some(status.version.to_value()),
            _ => None,
        }
    }

    pub fn state(&self) -> MoqConnectionState {
        self.0.lock().shown.state
    }

    /// The element starts. The progress of its connection also stands for this run.
    pub(super) fn begin(&self) -> Arc<Progress> {
        let run = Arc::new(Progress::new(CONNECT));
        self.0.lock().run = Some(run.clone());
        run
    }

    /// Disconnected again, whatever a reporter of this run may still be about to say.
    pub fn reset(&self, element: &impl IsA<gst::Element>) {
        let (run, old) = {
            let mut inner = self.0.lock();
            (inner.run.take(), std::mem::take(&mut inner.shown))
        };
        if let Some(run) = run {
            run.close(element);
        }
        notify(element, &old, &Status::default());
    }

    /// Sets both and notifies what changed, without the lock. False when that run is over.
    pub(super) fn set(
        &self,
        element: &impl IsA<gst::Element>,
        run: &Arc<Progress>,
        state: MoqConnectionState,
        version: Option<&str>,
    ) -> bool {
        let new = Status {
            state,
            version: version.map(str::to_owned),
        };
        let old = {
            let mut inner = self.0.lock();
            if !inner.run.as_ref().is_some_and(|now| Arc::ptr_eq(now, run)) {
                return false;
            }
            std::mem::replace(&mut inner.shown, new.clone())
        };
        notify(element, &old, &new);
        true
    }
}

fn notify(element: &impl IsA<gst::Element>, old: &Status, new: &Status) {
    let element = element.as_ref();
    if old.version != new.version {
        element.notify("moq-version");
    }
    if old.state != new.state {
        element.notify("connection-state");
    }
}

//! The element's own properties and what they mean.

use std::{sync::LazyLock, time::Duration};

use gst::{glib, prelude::*};

use super::{MoqSrcCatalog, MoqSrcStart};
use crate::{
    elements::connection::{ConnectionSettings, ConnectionStatus},
    net::{
        ConnectConfig,
        error::{Cause, Error},
    },
};

const DEFAULT_LATENCY_MS: u32 = 200;

#[derive(Clone)]
pub(super) struct Settings {
    pub connection: ConnectionSettings,
    pub latency_ms: u32,
    /// ns; `u64::MAX` = follow the latency.
    pub max_age: u64,
    pub start: MoqSrcStart,
    pub catalog: MoqSrcCatalog,
    /// ns; 0 = for ever.
    pub broadcast_timeout: u64,
    pub allow_requests: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection: ConnectionSettings::default(),
            latency_ms: DEFAULT_LATENCY_MS,
            max_age: u64::MAX,
            start: MoqSrcStart::default(),
            catalog: MoqSrcCatalog::default(),
            broadcast_timeout: 0,
            allow_requests: false,
        }
    }
}

impl Settings {
    pub fn latency(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(self.latency_ms.into())
    }

    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age != u64::MAX).then(|| Duration::from_nanos(self.max_age))
    }

    /// The name of the broadcast and how to get at it.
    pub fn target(&self) -> Result<(ConnectConfig, String), Error> {
        let config = self.connection.config()?;
        let broadcast = self.connection.broadcast().filter(|name| !name.is_empty()).ok_or_else(|| {
            Error::new(Cause::Settings, "no broadcast is named: set the property broadcast to the name its publisher uses")
        })?;
        Ok((config, broadcast))
    }
}

/// All properties of the element.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let mut specs = ConnectionSettings::param_specs();
        specs.extend(ConnectionStatus::param_specs());
        specs.extend(own_properties());
        specs
    });
    &PROPERTIES
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
        glib::ParamSpecEnum::builder_with_default("catalog", MoqSrcCatalog::default())
            .nick("Catalog")
            .blurb("Which form of the broadcast's catalog is read. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("broadcast-timeout")
            .nick("Broadcast timeout")
            .blurb("How long the broadcast may be absent, at the start or later, before that is an error (ns, 0 = wait for ever). Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("allow-requests")
            .nick("Allow requests")
            .blurb("Ask the publisher for key frames, when downstream asks and when nothing can be decoded without: over a second connection, which publishes below the broadcast. A moqsink with allow-requests listens. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("application/x-moqsrc-stats: transport (kind, version, rtt, bytes, packets, reconnects), and tracks with frames, groups, bytes, drops by reason, key frames asked for, delay and jitter (ns) of each pad; empty while stopped")
            .read_only()
            .build(),
    ]
}

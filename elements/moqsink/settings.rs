//! Properties of the element.

use std::{sync::LazyLock, time::Duration};

use gst::{glib, prelude::*};

use super::{MoqSinkCatalogs, catalogs::Forms, compat, stats};
use crate::{
    elements::connection::{ConnectionSettings, ConnectionStatus},
    net::session::Retention,
};

const DEFAULT_RETENTION: u64 = 2_000_000_000;
const DEFAULT_RETENTION_BYTES: u64 = 8 << 20;
const DEFAULT_DRAIN_TIMEOUT: u64 = 1_000_000_000;

#[derive(Clone)]
pub(super) struct Settings {
    pub connection: ConnectionSettings,
    pub catalogs: MoqSinkCatalogs,
    pub sync: bool,
    /// ns
    pub retention: u64,
    pub retention_bytes: u64,
    /// ns
    pub drain_timeout: u64,
    pub allow_requests: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection: ConnectionSettings::default(),
            catalogs: MoqSinkCatalogs::all(),
            sync: true,
            retention: DEFAULT_RETENTION,
            retention_bytes: DEFAULT_RETENTION_BYTES,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            allow_requests: false,
        }
    }
}

impl Settings {
    pub fn retention(&self) -> Retention {
        Retention {
            age: Duration::from_nanos(self.retention),
            bytes: self.retention_bytes,
        }
    }

    pub fn catalogs(&self) -> Forms {
        Forms {
            hang: self.catalogs.contains(MoqSinkCatalogs::HANG),
            msf: self.catalogs.contains(MoqSinkCatalogs::MSF),
        }
    }

    /// Sets a property that may change now.
    pub fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) {
        if self.connection.set(value, pspec) {
            return;
        }
        let expect = "type checked upstream";
        match pspec.name() {
            "catalog" => self.catalogs = value.get().expect(expect),
            "sync" => self.sync = value.get().expect(expect),
            "retention" => self.retention = value.get().expect(expect),
            "retention-bytes" => self.retention_bytes = value.get().expect(expect),
            "drain-timeout" => self.drain_timeout = value.get().expect(expect),
            "allow-requests" => self.allow_requests = value.get().expect(expect),
            name => unreachable!("no property {name}"),
        }
    }

    pub fn get(&self, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "catalog" => self.catalogs.to_value(),
            "sync" => self.sync.to_value(),
            "retention" => self.retention.to_value(),
            "retention-bytes" => self.retention_bytes.to_value(),
            "drain-timeout" => self.drain_timeout.to_value(),
            "allow-requests" => self.allow_requests.to_value(),
            _ => self
                .connection
                .get(pspec)
                .unwrap_or_else(|| pspec.default_value().clone()),
        }
    }
}

pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = ConnectionSettings::param_specs();
    specs.extend(ConnectionStatus::param_specs());
    specs.extend(own_specs());
    specs.extend(compat::param_specs());
    specs
});

fn own_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecFlags::builder::<MoqSinkCatalogs>("catalog")
            .nick("Catalogs")
            .blurb(
                "Which catalogs the broadcast has: hang for the tracks catalog.json and catalog.json.z, msf for the track \
                 catalog. Changeable in NULL and READY",
            )
            .default_value(MoqSinkCatalogs::all())
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("sync")
            .nick("Sync")
            .blurb(
                "Pace input that is not live (a file) to the clock; live input is sent at once whatever this says. \
                 Changeable in NULL and READY",
            )
            .default_value(true)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("retention")
            .nick("Retention")
            .blurb(
                "How long a group that is not the newest is kept for subscribers that fall behind, and how long it may wait \
                 for the network before it is given up (ns). Changeable in NULL and READY",
            )
            .default_value(DEFAULT_RETENTION)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("retention-bytes")
            .nick("Retention in bytes")
            .blurb(
                "How much is kept over all tracks; the newest group of each track is always kept whole (bytes). Changeable \
                 in NULL and READY",
            )
            .default_value(DEFAULT_RETENTION_BYTES)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("drain-timeout")
            .nick("Drain timeout")
            .blurb(
                "How long end of stream, and a stop without it, wait until the last groups are on their way to those who \
                 subscribe (ns, 0 = not at all). Changeable in NULL and READY",
            )
            .default_value(DEFAULT_DRAIN_TIMEOUT)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("allow-requests")
            .nick("Allow requests")
            .blurb(
                "Listen to players that ask for key frames (moqsrc with allow-requests), over a second connection, and ask the \
                 encoder. Changeable in NULL and READY",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "application/x-moqsink-stats: transport (kind, version, rtt in ns, bytes and packets sent, lost, …) and for \
                 each pad, under its name, track, demand, groups, frames, bytes, what was dropped by reason (drops in frames, \
                 dropped-groups, dropped-bytes) and what waits for the network (pending-groups, pending-bytes, behind in ns, \
                 congested); with allow-requests also requests (requesters, received, granted, limited, refused, malformed); \
                 empty when stopped",
            )
            .read_only()
            .build(),
    ]
}

pub(super) fn empty_stats() -> gst::Structure {
    gst::Structure::new_empty(stats::NAME)
}

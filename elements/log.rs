//! What the protocol libraries say, in GST_DEBUG categories.

use std::sync::LazyLock;

use gst::prelude::*;

use crate::runtime::{Level, LogSink, set_log_sink};

/// quinn, rustls, WebTransport, our dialling.
static TRANSPORT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "moqtransport",
        gst::DebugColorFlags::empty(),
        Some("MoQ transport: QUIC, TLS, WebTransport"),
    )
});

/// moq_net and our sessions.
static SESSION: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "moqsession",
        gst::DebugColorFlags::empty(),
        Some("MoQ sessions"),
    )
});

/// Our relay and its HTTP server.
pub(crate) static RELAY: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("moqrelay", gst::DebugColorFlags::empty(), Some("MoQ relay"))
});

/// Registers the categories and sends the logs of the runtime to them.
pub(crate) fn init() {
    LazyLock::force(&TRANSPORT);
    LazyLock::force(&SESSION);
    LazyLock::force(&RELAY);
    set_log_sink(&Categories);
}

struct Categories;

impl LogSink for Categories {
    fn enabled(&self, level: Level, target: &str) -> bool {
        category(target).is_some_and(|category| category.above_threshold(debug_level(level)))
    }

    fn loudest(&self) -> Option<Level> {
        let loudest = [&TRANSPORT, &SESSION, &RELAY].map(|category| category.threshold());
        match loudest.into_iter().max()? {
            gst::DebugLevel::None => None,
            gst::DebugLevel::Error => Some(Level::Error),
            gst::DebugLevel::Warning => Some(Level::Warning),
            gst::DebugLevel::Fixme | gst::DebugLevel::Info => Some(Level::Info),
            gst::DebugLevel::Debug => Some(Level::Debug),
            _ => Some(Level::Trace),
        }
    }

    fn log(&self, level: Level, target: &str, message: &str) {
        if let Some(category) = category(target) {
            category.log(
                None::<&gst::Object>,
                debug_level(level),
                gst::glib::gstr!("src/runtime/log.rs"),
                target,
                0,
                format_args!("{message}"),
            );
        }
    }
}

const RELAY_TARGETS: [&str; 2] = ["gstmoq::net::relay", "gstmoq::http"];

fn category(target: &str) -> Option<gst::DebugCategory> {
    let root = target.split("::").next().unwrap_or(target);
    match root {
        "quinn"
        | "quinn_proto"
        | "quinn_udp"
        | "rustls"
        | "web_transport_quinn"
        | "web_transport_proto" => Some(*TRANSPORT),
        "gstmoq" if target.starts_with("gstmoq::net::transport") => Some(*TRANSPORT),
        "gstmoq"
            if RELAY_TARGETS
                .iter()
                .any(|prefix| target.starts_with(prefix)) =>
        {
            Some(*RELAY)
        }
        "moq_net" | "gstmoq" => Some(*SESSION),
        _ => None,
    }
}

fn debug_level(level: Level) -> gst::DebugLevel {
    match level {
        Level::Error => gst::DebugLevel::Error,
        Level::Warning => gst::DebugLevel::Warning,
        Level::Info => gst::DebugLevel::Info,
        Level::Debug => gst::DebugLevel::Debug,
        Level::Trace => gst::DebugLevel::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_level_follows_the_thresholds() {
        gst::init().unwrap();
        let before = SESSION.threshold();
        SESSION.set_threshold(gst::DebugLevel::Log);
        assert_eq!(Categories.loudest(), Some(Level::Trace));
        SESSION.set_threshold(before);
    }

    #[test]
    fn targets_find_their_category() {
        gst::init().unwrap();
        let name = |target| category(target).map(|category| category.name().to_owned());
        assert_eq!(
            name("quinn_proto::connection").as_deref(),
            Some("moqtransport")
        );
        assert_eq!(
            name("moq_net::lite::session").as_deref(),
            Some("moqsession")
        );
        assert_eq!(
            name("gstmoq::net::session::shared").as_deref(),
            Some("moqsession")
        );
        assert_eq!(
            name("gstmoq::net::relay::session").as_deref(),
            Some("moqrelay")
        );
        assert_eq!(name("application"), None);
    }
}

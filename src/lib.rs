//! GStreamer elements for Media over QUIC.
//!
//! | Module | What it is |
//! |---|---|
//! | [`runtime`] | the one tokio runtime of the process |
//! | [`net`] | speaks MoQ: transports, sessions, publishing, subscribing, the relay |
//! | [`media`] | catalogs, containers and codec strings; pure |
//! | [`policy`] | timing and loss decisions with time passed in; pure |
//! | [`http`] | the relay's HTTP server |
//! | [`netsim`] | the path emulator behind `moq-netsim` |
//! | [`elements`] | the GStreamer elements |

#[path = "../elements/mod.rs"]
pub mod elements;
pub mod http;
pub mod media;
pub mod net;
pub mod netsim;
pub mod policy;
pub mod runtime;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    elements::register(plugin)
}

gst::plugin_define!(
    moq,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);

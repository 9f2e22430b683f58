//! The GStreamer side: elements, pads, caps. No QUIC here.

pub mod caps;
pub mod connection;
mod log;
pub mod moqsink;
pub mod moqsrc;
pub mod relay_bridge;

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    log::init();
    connection::register_types();
    moqsink::register(plugin)?;
    moqsrc::register(plugin)?;
    relay_bridge::register(plugin)
}

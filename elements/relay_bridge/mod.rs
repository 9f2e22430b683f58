/**
 * SECTION:element-relay-bridge
 *
 * A Media over QUIC relay inside a pipeline: publishers send it broadcasts, subscribers get them from it, over
 * WebTransport and raw QUIC, in any mix of protocol versions. It has no pads and no part in the pipeline's clock,
 * latency or EOS, but for a pipeline without sinks, which it ends when it is told to; it works from READY→PAUSED to PAUSED→READY, alone in a pipeline or beside other elements.
 *
 * Each group is held once, however many subscribers there are, and one that joins late gets the current group from
 * its first frame on.
 *
 * Without #GstRelayBridge:certificate-file it makes a development certificate, valid for 13 days and renewed while it
 * runs, and tells its SHA-256 at `http://ADDRESS:PORT/certificate.sha256`, where moqsink and moqsrc fetch it when their
 * `url` starts with `http://`. `http://ADDRESS:PORT/announced` lists the broadcasts.
 *
 * Once it listens it posts an element message `relay-bridge-listening` with the fields `url` (string), `fingerprint`
 * (string) and `addresses` (array of strings). A port that is taken is an error on the bus, and the state change fails.
 *
 * ## Example pipelines
 * |[
 * gst-launch-1.0 relay-bridge listen=127.0.0.1:4443
 * ]| A relay for this machine.
 * |[
 * gst-launch-1.0 relay-bridge listen=:4443 public-subscribe="**"
 * ]| Everyone may watch; only this machine may publish.
 *
 * Since: 0.1
 */
mod imp;
mod settings;
mod structures;
mod web;

use gst::{glib, prelude::*};

glib::wrapper! {
    pub struct RelayBridge(ObjectSubclass<imp::RelayBridge>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "relay-bridge",
        gst::Rank::NONE,
        RelayBridge::static_type(),
    )
}

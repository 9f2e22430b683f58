//! The transport part of the `stats` property.

use crate::net::session::{SessionInfo, Stats};

/// `transport`: kind, url and version while connected; rtt (ns), cwnd (bytes) and estimated-send-rate (bit/s) once
/// known; counters over all sessions; last-error and its cause.
pub fn transport_stats(stats: &Stats, info: Option<&SessionInfo>) -> gst::Structure {
    let rtt = stats.rtt.and_then(|rtt| u64::try_from(rtt.as_nanos()).ok());
    gst::Structure::builder("transport")
        .field_if_some("kind", info.map(|info| info.transport))
        .field_if_some("url", info.map(|info| &info.url))
        .field_if_some("version", info.map(|info| &info.version))
        .field_if_some("rtt", rtt)
        .field_if_some("cwnd", stats.cwnd)
        .field_if_some("estimated-send-rate", stats.estimated_send_rate)
        .field("bytes-sent", stats.bytes_sent)
        .field("bytes-received", stats.bytes_received)
        .field("bytes-lost", stats.bytes_lost)
        .field("packets-sent", stats.packets_sent)
        .field("packets-received", stats.packets_received)
        .field("packets-lost", stats.packets_lost)
        .field("reconnects", stats.reconnects)
        .field("path-changes", stats.path_changes)
        .field_if_some(
            "last-error",
            stats.last_error.as_ref().map(|err| &err.message),
        )
        .field_if_some(
            "last-error-cause",
            stats.last_error.as_ref().map(|err| err.cause.as_str()),
        )
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_serialises_with_its_units() {
        gst::init().unwrap();
        let stats = Stats {
            rtt: Some(std::time::Duration::from_millis(20)),
            bytes_sent: 7,
            ..Stats::default()
        };
        let structure = transport_stats(&stats, None);
        assert_eq!(structure.get::<u64>("rtt").unwrap(), 20_000_000);
        assert_eq!(structure.get::<u64>("bytes-sent").unwrap(), 7);
        assert!(!structure.has_field("kind"));
    }
}

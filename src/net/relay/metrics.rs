//! The counters of a relay in the text format of Prometheus (version 0.0.4).

use std::fmt::Write as _;

use super::stats::Stats;

/// Without the counters of single peers, of which there may be any number.
pub(super) fn text(stats: &Stats) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, samples: &[(&str, u64)]| {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "# HELP moq_relay_{name} {help}\n# TYPE moq_relay_{name} {kind}"
        );
        for (labels, value) in samples {
            let _ = writeln!(text, "moq_relay_{name}{labels} {value}");
        }
    };
    metric("sessions", "Sessions that are up.", &[("", stats.sessions)]);
    metric(
        "sessions_total",
        "Sessions since the start.",
        &[("", stats.sessions_total)],
    );
    metric(
        "refusals_total",
        "Connections that became no session.",
        &[
            ("{reason=\"limit\"}", stats.refused_limit),
            ("{reason=\"access\"}", stats.refused_access),
            ("{reason=\"handshake\"}", stats.failed_handshakes),
        ],
    );
    metric(
        "closed_for_limit_total",
        "Sessions closed for using too much.",
        &[("", stats.closed_limit)],
    );
    metric(
        "stalled_streams_total",
        "Streams ended because the subscriber did not take an object in time.",
        &[("", stats.stalled_streams)],
    );
    metric(
        "broadcasts",
        "Broadcasts announced, by name.",
        &[("", stats.broadcasts)],
    );
    metric(
        "subscriptions",
        "Tracks that peers are subscribed to.",
        &[("", stats.subscriptions)],
    );
    metric(
        "payload_bytes_total",
        "Payload from publishers and to subscribers.",
        &[
            ("{direction=\"in\"}", stats.bytes_received),
            ("{direction=\"out\"}", stats.bytes_sent),
        ],
    );
    metric(
        "frames_total",
        "Objects from publishers and to subscribers.",
        &[
            ("{direction=\"in\"}", stats.frames_received),
            ("{direction=\"out\"}", stats.frames_sent),
        ],
    );
    metric("cache_bytes", "Payload held.", &[("", stats.cache_bytes)]);
    metric(
        "http_requests_total",
        "HTTP requests.",
        &[("", stats.http_requests)],
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sample_follows_its_type_and_counters_end_in_total() {
        let stats = Stats {
            sessions: 3,
            refused_access: 7,
            bytes_sent: 9,
            ..Stats::default()
        };
        let text = text(&stats);
        for line in [
            "# TYPE moq_relay_sessions gauge\nmoq_relay_sessions 3\n",
            "# TYPE moq_relay_refusals_total counter\nmoq_relay_refusals_total{reason=\"limit\"} 0\nmoq_relay_refusals_total{reason=\"access\"} 7\n",
            "moq_relay_payload_bytes_total{direction=\"out\"} 9\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.ends_with('\n') && text.lines().all(|line| !line.is_empty()));
    }
}

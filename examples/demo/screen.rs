//! The status line: rewritten in place on a terminal, a line a second elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use crate::{
    measure::{Live, Nanos, Total},
    play::Connection,
};

/// Back to the start of the line and clear it; no wrapping, so that a narrow window does not turn one line into many.
const REWRITE: &str = "\r\x1b[2K\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

pub struct Screen {
    terminal: bool,
    /// The cursor stands behind a status line.
    open: bool,
}

impl Screen {
    pub fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            open: false,
        }
    }

    /// How often the status line is to be written.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(if self.terminal { 200 } else { 1_000 })
    }

    pub fn status(&mut self, line: &str) {
        if self.terminal {
            self.open = true;
            write(&format!("{REWRITE}{line}{WRAP}"));
        } else {
            write(&format!("{line}\n"));
        }
    }

    /// A line that stays.
    pub fn line(&mut self, line: &str) {
        self.close();
        write(&format!("{line}\n"));
    }

    /// Whatever is written next begins a line of its own.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            write("\n");
        }
    }
}

/// Nobody may be reading any more; that is no reason to end.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// `latency` is what the player's pipeline adds to the running time.
pub fn status(connection: &Connection, live: &Live, latency: Option<Nanos>) -> String {
    let mut line = connection.state.clone();
    for part in [&connection.transport, &connection.version]
        .into_iter()
        .flatten()
    {
        line += ", ";
        line += part;
    }
    line += &format!(" | frames {} video", live.video_frames);
    line += &format!(" {} audio", live.audio_frames);
    line += &format!(" | latency {}", milliseconds(live.latency));
    line += &format!(", presented {}", milliseconds(presented(live, latency)));
    line += &format!(" | A/V {}", offset(live));
    line
}

/// What is said in the end: latency over the whole session, the rest over its last seconds.
pub fn summary(live: &Live, total: &Total, latency: Option<Nanos>) -> String {
    format!(
        "{} video and {} audio frames played; latency p50 {:.1}, p95 {:.1}, p99 {:.1} ms from pad to pad; \
         presented {}, A/V {}",
        live.video_frames,
        live.audio_frames,
        in_ms(total.p50),
        in_ms(total.p95),
        in_ms(total.p99),
        milliseconds(presented(live, latency)),
        offset(live),
    )
}

fn presented(live: &Live, latency: Option<Nanos>) -> Option<Nanos> {
    Some(live.shift? + latency?)
}

fn offset(live: &Live) -> String {
    live.offset
        .map_or_else(|| "-".into(), |offset| format!("{:+.1} ms", in_ms(offset)))
}

fn milliseconds(value: Option<Nanos>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{:.1} ms", in_ms(value)))
}

/// To a tenth, without a zero that is negative.
fn in_ms(value: Nanos) -> f64 {
    (value as f64 / 1e5).round() / 10.0 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(state: &str, rest: Option<(&str, &str)>) -> Connection {
        Connection {
            state: state.into(),
            transport: rest.map(|rest| rest.0.into()),
            version: rest.map(|rest| rest.1.into()),
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let line = status(&connection("connecting", None), &Live::default(), None);
        assert_eq!(
            line,
            "connecting | frames 0 video 0 audio | latency -, presented - | A/V -"
        );
    }

    #[test]
    fn nothing_to_speak_of_has_no_minus() {
        let live = Live {
            offset: Some(-30_000),
            ..Live::default()
        };
        let line = status(&connection("connected", None), &live, None);
        assert!(line.ends_with("A/V +0.0 ms"), "{line}");
    }

    #[test]
    fn presented_is_the_way_and_the_latency_of_the_player() {
        let live = Live {
            video_frames: 30,
            audio_frames: 50,
            latency: Some(1_240_000),
            shift: Some(1_500_000),
            offset: Some(-300_000),
        };
        let connection = connection("connected", Some(("webtransport", "moq-lite-06")));
        assert_eq!(
            status(&connection, &live, Some(200_000_000)),
            "connected, webtransport, moq-lite-06 | frames 30 video 50 audio | \
             latency 1.2 ms, presented 201.5 ms | A/V -0.3 ms"
        );
        let total = Total {
            p50: 1_250_000,
            p95: 2_050_000,
            p99: 3_050_000,
        };
        assert_eq!(
            summary(&live, &total, Some(200_000_000)),
            "30 video and 50 audio frames played; latency p50 1.3, p95 2.1, p99 3.1 ms from pad to pad; \
             presented 201.5 ms, A/V -0.3 ms"
        );
    }
}

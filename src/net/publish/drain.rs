use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::track::{Demand, TrackWriter};
use crate::net::{
    error::{Cause, Error, Result},
    session::{Connection, State},
};

/// How often it is looked at what is under way.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long everything must have been out before the track may end: about what was seen to save the tail of 1 MB frames
/// through a saturated relay.
const SETTLED: Duration = Duration::from_millis(250);

/// Bytes that keep-alives and acknowledgements may add while nothing else is sent.
const NOISE: u64 = 1024;

/// Waits until what was written to `tracks` is with those who subscribe, within `limit`; at once when nobody does or no
/// session is up. What other tracks of the connection send does not matter. Call it between the end of the last group and
/// the end of the track: a relay cancels its subscription when the track ends, also one whose last group is still under way.
///
/// # Errors
/// Why the session is lost that was up.
pub async fn drain(connection: &Connection, tracks: &[TrackWriter], limit: Duration) -> Result<()> {
    // Without a session nobody subscribes.
    if tracks.iter().any(TrackWriter::is_used) {
        // The limit ends it, as intended.
        let _ = timeout(limit, settled(connection, tracks)).await;
    }
    connection.delivered()
}

/// [`drain`] for the end of a stream: a first session that is still being dialled is waited for, within the same `limit`.
///
/// # Errors
/// Those of [`drain`], and why no session came up.
pub async fn drain_end(
    connection: &Connection,
    tracks: &[TrackWriter],
    limit: Duration,
) -> Result<()> {
    let end = Instant::now() + limit;
    let mut state = connection.state();
    let dialled = state.wait_for(|state| !matches!(state, State::Connecting { .. }));
    if timeout(limit, dialled).await.is_err() {
        return Err(not_connected(&connection.state().borrow()));
    }
    let left = end.saturating_duration_since(Instant::now());
    drain(connection, tracks, left).await
}

fn not_connected(state: &State) -> Error {
    let what = "there is no connection yet, and what was written is not delivered";
    match state {
        State::Connecting { last: Some(last) } => Error::new(last.cause, format!("{what}: {last}")),
        _ => Error::new(
            Cause::Timeout,
            format!("{what}: the relay did not answer within drain-timeout"),
        ),
    }
}

async fn settled(connection: &Connection, tracks: &[TrackWriter]) {
    let mut sent = connection.stats().bytes_sent;
    let mut since = Instant::now();
    while since.elapsed() < SETTLED && tracks.iter().any(TrackWriter::is_used) {
        sleep(SAMPLE).await;
        let now = connection.stats().bytes_sent;
        let sending = now > sent + NOISE;
        if sending {
            sent = now;
        }
        let waits = |track: &TrackWriter| {
            track.is_used() && track.delivery().is_delivered().map_or(sending, |out| !out)
        };
        if tracks.iter().any(waits) {
            since = Instant::now();
        }
    }
}

/// Waits, within `limit`, until those who subscribed to tracks that were finished have been told of the end.
pub async fn ends_told(tracks: &[Demand], limit: Duration) {
    let told = async {
        for track in tracks {
            track.unused().await;
        }
    };
    // The limit ends it, as intended.
    let _ = timeout(limit, told).await;
}

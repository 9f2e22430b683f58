//! Simulated paths in virtual time.

mod drift;
mod join;
mod jump;
mod path;

use super::*;

const MS: Nanos = MILLISECOND;
const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);
const FRAME: Nanos = 40 * MS;
const PACKET: Nanos = 20 * MS;
/// Running time at which media time is 0 at the publisher.
const ORIGIN: Nanos = 5 * SECOND;

#[derive(Debug, Clone, Copy)]
struct Arrival {
    now: Nanos,
    track: TrackId,
    group: u64,
    media: Nanos,
}

/// What a simulation saw.
#[derive(Debug, Default)]
struct Seen {
    /// Events other than `Ok`, with when and on which track.
    events: Vec<(Nanos, TrackId, Event)>,
    /// When the timeline settled, at which edge and which offset.
    settled: Vec<(Nanos, Nanos, Nanos)>,
    /// Offsets after each arrival while settled.
    offsets: Vec<(Nanos, Nanos)>,
}

impl Seen {
    fn count(&self, event: Event) -> usize {
        self.events.iter().filter(|seen| seen.2 == event).count()
    }
}

/// Feeds the arrivals in order of time and polls as a caller does: after each, and when told to.
fn run(timeline: &mut Timeline, mut arrivals: Vec<Arrival>) -> Seen {
    arrivals.sort_by_key(|arrival| arrival.now);
    let mut seen = Seen::default();
    let mut check_at: Option<Nanos> = None;
    for arrival in arrivals {
        while let Some(at) = check_at.filter(|&at| at < arrival.now) {
            check_at = look(timeline, at, &mut seen);
        }
        let Arrival {
            now,
            track,
            group,
            media,
        } = arrival;
        let event = timeline.arrived(track, group, media, now);
        if event != Event::Ok {
            seen.events.push((now, track, event));
        }
        check_at = look(timeline, now, &mut seen);
        if let Some(offset) = timeline.offset() {
            seen.offsets.push((now, offset));
        }
    }
    while let Some(at) = check_at {
        check_at = look(timeline, at, &mut seen);
    }
    seen
}

fn look(timeline: &mut Timeline, now: Nanos, seen: &mut Seen) -> Option<Nanos> {
    let was = timeline.offset().is_some();
    match timeline.poll(now) {
        Phase::Unsettled { check_at } => {
            assert!(check_at > now, "a poll at the time given makes progress");
            // Nothing has come yet: nothing to look for.
            timeline.first.is_some().then_some(check_at)
        }
        Phase::Settled { edge } => {
            let offset = timeline.offset().unwrap();
            if !was {
                seen.settled.push((now, edge, offset));
            }
            None
        }
    }
}

fn timeline(tracks: &[TrackId]) -> Timeline {
    let mut timeline = Timeline::new(Config::default());
    tracks.iter().for_each(|&track| timeline.add_track(track));
    timeline
}

/// A stream at the live edge: media times `from..to`, each arriving when `path` says after its capture.
fn live(
    track: TrackId,
    (from, to): (Nanos, Nanos),
    step: Nanos,
    per_group: i64,
    path: impl Fn(Nanos) -> Nanos,
) -> Vec<Arrival> {
    (from / step..to / step)
        .map(|n| Arrival {
            now: ORIGIN + n * step + path(n * step),
            track,
            group: (n / per_group) as u64,
            media: n * step,
        })
        .collect()
}

fn video(from: Nanos, to: Nanos, path: impl Fn(Nanos) -> Nanos) -> Vec<Arrival> {
    live(VIDEO, (from, to), FRAME, 50, path)
}

fn audio(from: Nanos, to: Nanos, path: impl Fn(Nanos) -> Nanos) -> Vec<Arrival> {
    live(AUDIO, (from, to), PACKET, 25, path)
}

/// Nothing arrives before `open`, the moment of the join, and the backlog then by `rank`.
fn joined_at(open: Nanos, arrivals: Vec<Arrival>, rank: impl Fn(usize) -> Nanos) -> Vec<Arrival> {
    arrivals
        .into_iter()
        .enumerate()
        .map(|(n, arrival)| Arrival {
            now: arrival.now.max(open + rank(n)),
            ..arrival
        })
        .collect()
}

fn random(seed: u64, amplitude: Nanos) -> impl Fn(Nanos) -> Nanos {
    let rng = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
    move |_| rng.borrow_mut().i64(-amplitude..=amplitude)
}

fn settled_once(seen: &Seen) -> (Nanos, Nanos, Nanos) {
    assert_eq!(seen.events, [], "events");
    assert_eq!(seen.settled.len(), 1, "{:?}", seen.settled);
    seen.settled[0]
}

const DELAY: Nanos = 20 * MS;

fn path(_: Nanos) -> Nanos {
    DELAY
}

#[test]
fn without_frames_there_is_no_mapping_and_unknown_tracks_are_stale() {
    let mut timeline = timeline(&[VIDEO]);
    assert!(matches!(timeline.poll(0), Phase::Unsettled { .. }));
    assert_eq!(timeline.arrived(AUDIO, 0, 0, 0), Event::Stale);
    assert_eq!(
        (
            timeline.to_running(0),
            timeline.live_edge(0),
            timeline.offset()
        ),
        (None, None, None)
    );
}

#[test]
fn the_edge_is_never_older_than_the_latency_absorbs() {
    let mut timeline = timeline(&[VIDEO]);
    timeline.set_tolerance(10 * MS);
    timeline.set_hold(200 * MS);
    assert_eq!(timeline.arrived(VIDEO, 0, 0, SECOND), Event::Ok);
    assert_eq!(
        timeline.poll(SECOND),
        Phase::Unsettled {
            check_at: SECOND + 200 * MS
        }
    );
    assert_eq!(
        timeline.poll(SECOND + 200 * MS),
        Phase::Settled {
            edge: SECOND + 190 * MS
        }
    );
}

#[test]
fn hostile_times_do_no_harm() {
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    timeline.set_hold(Nanos::MAX);
    let mut rng = fastrand::Rng::with_seed(3);
    for n in 0..20_000i64 {
        let media = match n % 3 {
            0 => rng.i64(..),
            1 => Nanos::MAX,
            _ => Nanos::MIN,
        };
        let track = TrackId(rng.usize(0..3));
        let _ = timeline.arrived(track, rng.u64(..), media, n * MS);
        let _ = timeline.poll(n * MS);
        let _ = (
            timeline.live_edge(n * MS),
            timeline.delay(VIDEO),
            timeline.jitter(AUDIO),
        );
    }
}

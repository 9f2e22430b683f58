//! An hour with a publisher whose clock is fast or slow, over quiet and unquiet paths (T12 of the figures).

use super::*;

const HOUR: Nanos = 3600 * SECOND;

/// What its encoder adds to the picture.
const ENCODER: Nanos = 8 * MS;

/// What an hour looked like to the sinks.
#[derive(Debug, Default)]
struct Hour {
    /// Epochs that were begun after the first.
    disturbances: usize,
    /// Frames that arrived after they were due.
    late: usize,
    /// Smallest and largest time from capture to presentation.
    presented: Option<(Nanos, Nanos)>,
    /// The largest difference of that between a picture and the sound before it.
    apart: Nanos,
    /// The most by which the distance of two packets of sound was not that of their capture, once the start was corrected.
    uneven: Nanos,
}

/// How long after its capture a frame arrives that would do so at the given time of the publisher's clock.
type Path<'a> = &'a dyn Fn(Nanos) -> Nanos;

/// Media times are of the publisher's clock, which runs faster than the player's by `ppm`.
fn stream(ppm: i64, path: Path) -> Vec<Arrival> {
    let captured = |media: Nanos| media - media / 1_000_000 * ppm;
    let through = |media: Nanos| captured(media) - media + path(media);
    let mut all = video(0, HOUR, |media| through(media) + ENCODER);
    all.extend(audio(0, HOUR, through));
    // A track is one stream: what is late holds up what follows it.
    all.sort_by_key(|arrival| (arrival.track, arrival.media));
    for at in 1..all.len() {
        if all[at].track == all[at - 1].track {
            all[at].now = all[at].now.max(all[at - 1].now);
        }
    }
    all.sort_by_key(|arrival| arrival.now);
    all
}

fn play(ppm: i64, latency: Nanos, path: Path) -> Hour {
    let mut timeline = timeline(&[VIDEO, AUDIO]);
    timeline.set_tolerance(latency);
    let mut hour = Hour::default();
    let (mut sound, mut packet) = (None, None);
    for Arrival {
        now,
        track,
        group,
        media,
    } in stream(ppm, path)
    {
        hour.disturbances += usize::from(timeline.arrived(track, group, media, now) != Event::Ok);
        let Phase::Settled { edge } = timeline.poll(now) else {
            continue;
        };
        let Some(running) = timeline.to_running(media).filter(|at| *at >= edge) else {
            continue;
        };
        hour.late += usize::from(now > running + latency);
        let after = running + latency - ORIGIN - (media - media / 1_000_000 * ppm);
        let (least, most) = hour.presented.unwrap_or((after, after));
        hour.presented = Some((least.min(after), most.max(after)));
        if track == AUDIO {
            let before = packet.replace((running, media));
            if let Some((before, captured)) = before.filter(|_| media > HASTE + SECOND) {
                let uneven = (running - before) - (media - captured);
                hour.uneven = hour.uneven.max(uneven.abs());
            }
            sound = Some(after);
        } else if let Some(sound) = sound {
            hour.apart = hour.apart.max((after - sound).abs());
        }
    }
    hour
}

/// Within `latency` every frame is in time, and when it is presented moves by no more than `steady`.
fn assert_undisturbed(latency: Nanos, steady: Nanos, path: Path) {
    for ppm in [0, 200, -200] {
        let hour = play(ppm, latency, path);
        assert_eq!(
            (hour.disturbances, hour.late),
            (0, 0),
            "{ppm} ppm: {hour:?}"
        );
        let (least, most) = hour.presented.expect("an hour was presented");
        assert!(most - least <= steady, "{ppm} ppm: {hour:?}");
        assert!(hour.apart <= MS, "{ppm} ppm: {hour:?}");
        // 500 ppm of the 20 ms between two packets, or of as long as they wait behind a late one.
        assert!(hour.uneven <= 50_000, "{ppm} ppm: {hour:?}");
    }
}

#[test]
fn an_hour_of_drift_over_a_quiet_path_is_presented_within_20_ms_and_steadily() {
    assert_undisturbed(20 * MS, 3 * MS, &|_| DELAY);
}

#[test]
fn an_hour_of_drift_with_5_ms_of_jitter_is_presented_within_20_ms() {
    let jitter = random(9, 5 * MS);
    assert_undisturbed(20 * MS, 8 * MS, &move |media| DELAY + jitter(media));
}

#[test]
fn an_hour_of_drift_with_bursts_of_30_ms_is_presented_within_40_ms() {
    // Every second or so nothing comes for 30 ms, and then everything at once.
    assert_undisturbed(40 * MS, 5 * MS, &|media| {
        let since = media % (1013 * MS);
        DELAY + (30 * MS - since).max(0)
    });
}

//! What one run shows.

use std::collections::{HashMap, HashSet};

use crate::{
    job::{Moment, Played, Published, RATE, Stage},
    rig::{figures::Percentiles, sights::Sight},
};

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: f64 = 1e6;

/// A picture that stands for longer is frozen: three of them are missing.
const FROZEN: i64 = 100_000_000;

/// The pictures that a pulse is held against are captured this close to it.
const NEAR: i64 = SECOND / 4;

/// One run of one plugin; times in ms, of what was shown after `from`.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub version: String,
    /// Capture to the sink's hand-over, of each picture, and their percentiles and those of the pulses.
    pub pictures: Vec<f64>,
    pub video: Percentiles,
    pub audio: Percentiles,
    /// How much later the picture is than the sound: the median, and the furthest from 0.
    pub apart: f64,
    pub apart_most: f64,
    pub pulses: usize,
    /// How often and for how long at most the picture stood.
    pub freezes: f64,
    pub freeze: f64,
    /// Pictures that were handed over after they were due, %, and that were never shown or could not be read.
    pub late: f64,
    pub lost: f64,
    pub holes: f64,
    pub realigned: f64,
    /// Player's start to the first picture.
    pub first: f64,
    /// From the end of what was done to the path, the relay or the publisher to the first picture in time after the longest gap.
    pub back: f64,
    /// Medians: capture to moqsink, from there to moqsrc's pad, decoding, and what waits for its time behind moqsrc.
    pub video_stages: [f64; 4],
    pub audio_stages: [f64; 4],
    pub cpu_publisher: f64,
    pub cpu_player: f64,
}

/// From when to when something was cut or stopped, ns of the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub from: i64,
    pub to: i64,
}

impl Figures {
    /// Of one publisher after the other. After a cut, only what follows it counts.
    pub fn of(published: &[Published], played: &Played, cut: Option<Cut>) -> Self {
        let back = cut.map_or(Some(played.joined), |cut| back_at(played, cut));
        // Nothing counts when it never came back.
        let from = back.unwrap_or(i64::MAX);
        let since = |moments: &[Moment]| -> Vec<Moment> {
            let after = moments.iter().filter(|moment| moment.at >= from);
            after.copied().collect()
        };
        let pictures = since(&played.pictures);
        let [video_stages, audio_stages] = stages(published, played, from);
        let pulses = unwrapped(&since(&played.pulses), audio_stages.iter().sum());
        let apart = apart(&pictures, &pulses);
        let gaps = gaps(&pictures);
        let longest = gaps.iter().copied().max();
        let late = since(&played.late_pictures).len();
        let times: Vec<f64> = pictures.iter().map(took).collect();
        let first = played.pictures.first();
        Self {
            version: published
                .last()
                .map_or_else(String::new, |p| p.version.clone()),
            video: Percentiles::of(times.clone()),
            audio: Percentiles::of(pulses.iter().map(took).collect()),
            apart: Percentiles::of(apart.clone()).p50,
            apart_most: apart
                .iter()
                .fold(f64::NAN, |most, apart| most.max(apart.abs())),
            pulses: pulses.len(),
            freezes: gaps.iter().filter(|gap| **gap > FROZEN).count() as f64,
            freeze: longest.map_or(f64::NAN, |gap| gap as f64 / MILLISECOND),
            late: 100.0 * late as f64 / pictures.len() as f64,
            lost: (lost(&pictures) + played.unread) as f64,
            holes: since(&played.holes).len() as f64,
            realigned: since(&played.realigned).len() as f64,
            first: first.map_or(f64::NAN, |first| {
                (first.at - played.joined) as f64 / MILLISECOND
            }),
            back: match (cut, back) {
                (Some(cut), Some(back)) => (back - cut.to) as f64 / MILLISECOND,
                _ => f64::NAN,
            },
            video_stages,
            audio_stages,
            cpu_publisher: published.last().map_or(f64::NAN, |p| p.cpu),
            cpu_player: played.cpu,
            pictures: times,
        }
    }
}

fn took(moment: &Moment) -> f64 {
    moment.took as f64 / MILLISECOND
}

/// When the first picture was shown in time after the longest gap since the beginning of the cut.
fn back_at(played: &Played, cut: Cut) -> Option<i64> {
    let pictures = &played.pictures;
    let from = pictures.partition_point(|picture| picture.at < cut.from);
    let after = &pictures[from.saturating_sub(1)..];
    let pairs = after.windows(2).filter(|pair| pair[1].at >= cut.from);
    let longest = pairs.max_by_key(|pair| pair[1].at - pair[0].at)?;
    let late: HashSet<i64> = played.late_pictures.iter().map(|late| late.at).collect();
    let is_back = |picture: &&Moment| picture.at >= longest[1].at && !late.contains(&picture.at);
    after.iter().find(is_back).map(|picture| picture.at)
}

/// The time that a pulse tells is that of any whole second; the one that it is follows from how long sound takes roughly, ms.
fn unwrapped(pulses: &[Moment], roughly: f64) -> Vec<Moment> {
    let roughly = if roughly.is_finite() {
        roughly * MILLISECOND
    } else {
        0.0
    };
    let whole = |took: i64| ((roughly - took as f64) / SECOND as f64).round().max(0.0) as i64;
    pulses
        .iter()
        .map(|pulse| Moment {
            took: pulse.took + whole(pulse.took) * SECOND,
            ..*pulse
        })
        .collect()
}

/// How much later the pictures around each pulse were shown than it was heard, ms.
fn apart(pictures: &[Moment], pulses: &[Moment]) -> Vec<f64> {
    let captured = |moment: &Moment| moment.at - moment.took;
    pulses
        .iter()
        .filter_map(|pulse| {
            let near = |picture: &&Moment| (captured(picture) - captured(pulse)).abs() <= NEAR;
            let near: Vec<f64> = pictures.iter().filter(near).map(took).collect();
            let shown = Percentiles::of(near).p50;
            (!shown.is_nan()).then(|| shown - took(pulse))
        })
        .collect()
}

fn gaps(pictures: &[Moment]) -> Vec<i64> {
    let pairs = pictures.windows(2);
    pairs.map(|pair| pair[1].at - pair[0].at).collect()
}

/// Pictures between the first and the last that were captured and not shown.
fn lost(pictures: &[Moment]) -> usize {
    let mut captured: Vec<i64> = pictures.iter().map(|it| it.at - it.took).collect();
    captured.sort_unstable();
    let missing = captured.windows(2).map(|pair| {
        let steps = ((pair[1] - pair[0]) * RATE + SECOND / 2) / SECOND;
        usize::try_from(steps).map_or(0, |steps| steps.saturating_sub(1))
    });
    missing.sum()
}

fn stages(published: &[Published], played: &Played, from: i64) -> [[f64; 4]; 2] {
    let video = |p: &Published| (p.video.clone(), p.video_encoded.clone());
    let audio = |p: &Published| (p.audio.clone(), p.audio_encoded.clone());
    [
        medians(
            published.iter().map(video).collect(),
            &played.video,
            &played.video_stages,
            from,
        ),
        medians(
            published.iter().map(audio).collect(),
            &played.audio,
            &played.audio_stages,
            from,
        ),
    ]
}

fn medians(
    sent: Vec<(Vec<Sight>, Vec<Moment>)>,
    got: &[Sight],
    stages: &[Stage],
    from: i64,
) -> [f64; 4] {
    let median = |values: Vec<f64>| Percentiles::of(values).p50;
    let mut times = HashMap::new();
    for sight in sent.iter().flat_map(|(sights, _)| sights) {
        times.insert(sight.key, sight.at);
    }
    let travelled = got.iter().filter(|sight| sight.inside).filter_map(|sight| {
        let sent = times.get(&sight.key)?;
        Some(sight.at.saturating_sub(*sent) as f64 / MILLISECOND)
    });
    let encoded = sent.iter().flat_map(|(_, moments)| moments).map(took);
    let after = || stages.iter().filter(|stage| stage.at >= from);
    [
        median(encoded.collect()),
        median(travelled.collect()),
        median(
            after()
                .map(|stage| stage.decode as f64 / MILLISECOND)
                .collect(),
        ),
        median(
            after()
                .map(|stage| stage.wait as f64 / MILLISECOND)
                .collect(),
        ),
    ]
}

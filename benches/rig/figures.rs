//! What one run measures, and its summary over rounds.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::sights::{Played, Published, Sight};

/// Frames sent less than this before the end may still be on their way.
const TAIL: Duration = Duration::from_millis(400);

/// What a presented frame may take beyond the path's delay and the player's latency: it takes time to send, too, a key frame of
/// 50 kB at 20 Mbit/s 20 ms on each leg.
const TOLERANCE: Duration = Duration::from_millis(30);

/// Percentiles of one quantity of one run, ms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// All NaN when there are no values.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self {
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// What a frame that is shown in time may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// One-way delay of the whole path, at most: its jitter is part of it.
    pub path: Duration,
    pub latency: Duration,
}

/// One run of one plugin.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// `version` of the plugin that was loaded.
    pub version: String,
    /// Frames of video sent from the first that was played on, how many of them came out of moqsrc, and how many were presented
    /// within the budget.
    pub sent: usize,
    pub delivered: usize,
    pub in_time: usize,
    /// The same of audio that came out of moqsrc.
    pub audio_sent: usize,
    pub audio_delivered: usize,
    /// Video, into moqsink to moqsrc's source pad; frames inside the segment. All of them, and their percentiles.
    pub latencies: Vec<f64>,
    pub video: Percentiles,
    pub audio: Percentiles,
    /// Video, into moqsink to presentation at a clock-synchronised sink.
    pub presented: Percentiles,
    /// The longest time without a new picture at that sink, ms.
    pub freeze: f64,
    /// From the end of a cut of the path to the first picture within the budget, ms.
    pub recovery: f64,
    /// PLAYING of the player to the first frame of video at the source pad, inside the segment or not, and to the first that
    /// is presented, ms.
    pub first_frame: f64,
    pub first_presented: f64,
    /// Cores used by the process that publishes, by the one that plays, and by the relay; without the first half second.
    pub cpu_publisher: f64,
    pub cpu_player: f64,
    pub cpu_relay: f64,
    /// Cores busy on the whole machine meanwhile.
    pub machine: f64,
    /// MiB resident at the end.
    pub memory_publisher: f64,
    pub memory_player: f64,
    /// How often threads of both were woken, a second.
    pub wakeups: f64,
}

impl Figures {
    /// `cut` from when to when the path was cut, ns.
    pub fn of(
        published: &Published,
        played: &Played,
        budget: Budget,
        cut: Option<(u64, u64)>,
    ) -> Self {
        let end = played.ended.saturating_sub(TAIL.as_nanos() as u64);
        let first = |seen: &[Sight]| {
            let first = seen.iter().find(|sight| sight.at >= played.joined);
            first.map_or(f64::NAN, |sight| milliseconds(played.joined, sight.at))
        };
        let due = self::due(&published.video, &played.video, end);
        let audio_due = self::due(&published.audio, &played.audio, end);
        let latencies = latencies(&published.video, &played.video);
        let presented = latencies_at(&published.video, &played.presented);
        let limit = (budget.path + budget.latency + TOLERANCE).as_secs_f64() * 1000.0;
        let in_time: HashSet<u64> = presented
            .iter()
            .filter(|(_, _, latency)| *latency <= limit)
            .map(|(key, _, _)| *key)
            .collect();
        let recovery = cut.map_or(f64::NAN, |(_, mended)| {
            let back = presented
                .iter()
                .find(|(_, at, latency)| *at >= mended && *latency <= limit);
            back.map_or(f64::NAN, |(_, at, _)| milliseconds(mended, *at))
        });
        Self {
            version: published.version.clone(),
            sent: due.len(),
            delivered: count(&due, &played.video),
            in_time: due.iter().filter(|key| in_time.contains(key)).count(),
            audio_sent: audio_due.len(),
            audio_delivered: count(&audio_due, &played.audio),
            video: Percentiles::of(latencies.clone()),
            latencies,
            audio: Percentiles::of(self::latencies(&published.audio, &played.audio)),
            presented: Percentiles::of(presented.iter().map(|(_, _, latency)| *latency).collect()),
            freeze: freeze(&played.presented, played.ended),
            recovery,
            first_frame: first(&played.video),
            first_presented: first(&played.presented),
            cpu_publisher: published.cpu,
            cpu_player: played.cpu,
            cpu_relay: f64::NAN,
            machine: published.machine,
            memory_publisher: published.memory,
            memory_player: played.memory,
            wakeups: published.wakeups + played.wakeups,
        }
    }

    /// Cores of both elements' processes.
    pub fn cpu(&self) -> f64 {
        self.cpu_publisher + self.cpu_player
    }
}

/// What was sent from the first that was played inside the segment, until `end`.
fn due(sent: &[Sight], got: &[Sight], end: u64) -> Vec<u64> {
    // What came damaged was never sent like that.
    let from = got
        .iter()
        .filter(|sight| sight.inside)
        .find_map(|first| sent.iter().position(|sent| sent.key == first.key))
        .unwrap_or(sent.len());
    sent[from..]
        .iter()
        .filter(|sight| sight.at < end)
        .map(|sight| sight.key)
        .collect()
}

fn count(due: &[u64], got: &[Sight]) -> usize {
    let arrived: HashSet<u64> = got.iter().map(|sight| sight.key).collect();
    due.iter().filter(|key| arrived.contains(key)).count()
}

/// Latencies of what was seen at both places, inside the segment, ms.
fn latencies(sent: &[Sight], got: &[Sight]) -> Vec<f64> {
    let of_each = latencies_at(sent, got);
    of_each.into_iter().map(|(_, _, latency)| latency).collect()
}

/// Key, time of arrival in ns, latency in ms.
fn latencies_at(sent: &[Sight], got: &[Sight]) -> Vec<(u64, u64, f64)> {
    let mut times = HashMap::new();
    for sight in sent {
        // What looks like another one says nothing.
        times
            .entry(sight.key)
            .and_modify(|time| *time = None)
            .or_insert(Some(sight.at));
    }
    got.iter()
        .filter(|sight| sight.inside)
        .filter_map(|sight| {
            let sent = times.get(&sight.key).copied().flatten()?;
            Some((sight.key, sight.at, milliseconds(sent, sight.at)))
        })
        .collect()
}

/// The longest gap between pictures, the one to the end included.
fn freeze(presented: &[Sight], ended: u64) -> f64 {
    let times = presented.iter().map(|sight| sight.at).chain([ended]);
    let times: Vec<u64> = times.collect();
    let gaps = times.windows(2).map(|pair| milliseconds(pair[0], pair[1]));
    gaps.fold(f64::NAN, f64::max)
}

fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

/// Median, smallest and largest over those rounds that have the figure; NaN if none has.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of<F>(rounds: &[F], pick: impl Fn(&F) -> f64) -> Self {
        let values = rounds.iter().map(pick);
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Self {
            median,
            min: values.first().copied().unwrap_or(f64::NAN),
            max: values.last().copied().unwrap_or(f64::NAN),
        }
    }
}

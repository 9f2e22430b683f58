//! What one run measures, and its summary over rounds.

use serde::{Deserialize, Serialize};

/// Percentiles of one quantity of one run, ms.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
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

/// One run of one plugin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// `version` of the plugin that was loaded.
    pub version: String,
    /// Frames of video sent from the first that was played on, and how many of them came out of moqsrc.
    pub sent: usize,
    pub delivered: usize,
    /// Video, into moqsink to moqsrc's source pad; frames inside the segment.
    pub video: Percentiles,
    pub audio: Percentiles,
    /// Video, into moqsink to presentation at a clock-synchronised sink.
    pub presented: Percentiles,
    /// PLAYING of the player to the first frame of video at the source pad, inside the segment or not, and to the first that
    /// is presented, ms.
    pub first_frame: f64,
    pub first_presented: f64,
    /// Cores used by the process that publishes and plays, without its first half second.
    pub cpu: f64,
    /// Cores busy on the whole machine meanwhile.
    pub machine: f64,
    /// MiB resident at the end.
    pub memory: f64,
}

/// Median, smallest and largest over rounds.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(rounds: &[Figures], pick: impl Fn(&Figures) -> f64) -> Self {
        let mut values: Vec<f64> = rounds.iter().map(pick).collect();
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

//! The wall clock of a broadcast, and its wire form in both catalogs.

use serde::Deserialize;
use serde_json::{Value, json};

use super::hang::MAX_SAFE_INTEGER;

/// Seconds from the Unix epoch to 2020-01-01T00:00:00Z, the epoch of [`Clock::wall_us`].
pub const CLOCK_EPOCH_UNIX_SECONDS: u64 = 1_577_836_800;

/// The unit of the clock where it does not say, and the one that is written.
const TIMESCALE: u64 = 1_000_000;

/// The broadcast's one mapping from media time to wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Wall-clock time of media time 0, in µs since 2020-01-01T00:00:00Z; at most 2^53 − 1.
    pub wall_us: u64,
}

impl Clock {
    /// The clock whose media time 0 was at `unix_ns`, rounded to the nearest µs. `None` for a time before 2020 or
    /// too far ahead for JSON.
    pub fn from_unix_ns(unix_ns: u64) -> Option<Self> {
        let unix_us = (unix_ns.checked_add(500)?) / 1_000;
        let wall_us = unix_us.checked_sub(CLOCK_EPOCH_UNIX_SECONDS * 1_000_000)?;
        (wall_us <= MAX_SAFE_INTEGER).then_some(Self { wall_us })
    }

    /// Unix time of media time `pts_us`, in ns; saturates at the year 2554.
    pub fn unix_ns(&self, pts_us: u64) -> u64 {
        (CLOCK_EPOCH_UNIX_SECONDS * 1_000_000)
            .saturating_add(self.wall_us)
            .saturating_add(pts_us)
            .saturating_mul(1_000)
    }

    /// A clock that cannot be used is none: media plays without it.
    pub(super) fn from_wire(value: &Value) -> Option<Self> {
        let wire = ClockWire::deserialize(value).ok()?;
        if wire.wall > MAX_SAFE_INTEGER {
            return None;
        }
        let wall_us =
            (u128::from(wire.wall) * u128::from(TIMESCALE)).checked_div(wire.timescale.into())?;
        let wall_us = u64::try_from(wall_us)
            .ok()
            .filter(|wall| *wall <= MAX_SAFE_INTEGER)?;
        Some(Self { wall_us })
    }

    /// `None` for what JSON cannot say.
    pub(super) fn to_wire(self) -> Option<Value> {
        (self.wall_us <= MAX_SAFE_INTEGER)
            .then(|| json!({ "wall": self.wall_us, "timescale": TIMESCALE }))
    }
}

#[derive(Deserialize)]
struct ClockWire {
    wall: u64,
    #[serde(default = "default_timescale")]
    timescale: u32,
}

fn default_timescale() -> u32 {
    TIMESCALE as u32
}

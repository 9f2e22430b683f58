//! The paths that are measured: what publisher and player each have between themselves and the relay.

use std::{path::Path, time::Duration};

use gstmoq::netsim::{Scenario as File, Settings};

use crate::rig::Result;

/// A path by its name.
pub struct Scenario {
    pub name: String,
    /// What the file says of it.
    pub title: String,
    /// Of each leg, but for the seed.
    pub settings: Settings,
    /// Cut so long after the player's start, for so long.
    pub cut: Option<(Duration, Duration)>,
}

/// Those of a page: files of examples/scenarios.
const ALL: [&str; 7] = [
    "delay-20ms",
    "loss-1-percent",
    "loss-3-percent",
    "loss-5-percent",
    "jitter-bursts",
    OUTAGE,
    "bottleneck-3mbit",
];

/// Timed from the player's start and not from the emulator's, so that it is known when it ends.
const OUTAGE: &str = "outage";
const CUT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(2));

/// Those with these names, or in these files; all if there are none.
pub fn named(names: &[String]) -> Result<Vec<Scenario>> {
    if names.is_empty() {
        return ALL.iter().copied().map(scenario).collect();
    }
    names.iter().map(|name| scenario(name)).collect()
}

fn scenario(name: &str) -> Result<Scenario> {
    if name == OUTAGE {
        let mut scenario = scenario("delay-20ms")?;
        scenario.name = name.to_owned();
        scenario.title = format!("{}, cut for {:?}", scenario.title, CUT.1);
        scenario.cut = Some(CUT);
        return Ok(scenario);
    }
    let given = Path::new(name);
    let path = match given.extension() {
        Some(_) => given.to_owned(),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/scenarios")
            .join(format!("{name}.toml")),
    };
    let file = File::read(&path)?;
    let stem = path.file_stem().unwrap_or_default();
    Ok(Scenario {
        name: stem.to_string_lossy().into_owned(),
        title: file.description.trim_end_matches('.').to_owned(),
        settings: file.settings(None),
        cut: None,
    })
}

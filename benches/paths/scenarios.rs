//! The paths that are measured: what publisher and player each have between themselves and the relay, both ways.

use std::time::Duration;

use gstmoq::netsim::{Bursts, PathSettings, Probability, QueueLimit, Rate, units};

use crate::rig::Result;

/// A path by its name.
pub struct Scenario {
    pub name: &'static str,
    /// As in a heading.
    pub title: &'static str,
    pub path: PathSettings,
    /// Cut so long after the player's start, for so long.
    pub cut: Option<(Duration, Duration)>,
}

const DELAY: Duration = Duration::from_millis(20);

/// 20 ms one way, 20 Mbit/s.
fn base() -> PathSettings {
    PathSettings {
        delay: DELAY,
        rate: Some(Rate::mbit(20)),
        ..PathSettings::default()
    }
}

fn lossy(percent: f64) -> PathSettings {
    PathSettings {
        loss: Probability::percent(percent),
        ..base()
    }
}

fn bursts() -> Result<Option<Bursts>> {
    Ok(units::burst("5@1%")?)
}

/// All of them, in the order of the page.
pub fn all() -> Result<Vec<Scenario>> {
    let plain = |name, title, path| Scenario {
        name,
        title,
        path,
        cut: None,
    };
    Ok(vec![
        plain("clean", "20 ms, no loss", base()),
        plain("loss-1", "20 ms, 1 % loss", lossy(1.0)),
        plain("loss-3", "20 ms, 3 % loss", lossy(3.0)),
        plain("loss-5", "20 ms, 5 % loss", lossy(5.0)),
        plain(
            "bursts",
            "20 ms, jitter 30 ms, bursts of 5 at 1 %",
            PathSettings {
                jitter: Duration::from_millis(30),
                bursts: bursts()?,
                ..base()
            },
        ),
        Scenario {
            name: "outage",
            title: "20 ms, cut for 2 s",
            path: base(),
            cut: Some((Duration::from_secs(5), Duration::from_secs(2))),
        },
        plain(
            "bottleneck",
            "20 ms, 3 Mbit/s, queue of 500 ms",
            PathSettings {
                rate: Some(Rate::mbit(3)),
                queue: QueueLimit::Time(Duration::from_millis(500)),
                ..base()
            },
        ),
    ])
}

/// Those with these names; all if there are none.
pub fn named(names: &[String]) -> Result<Vec<Scenario>> {
    let all = all()?;
    if let Some(unknown) = names
        .iter()
        .find(|name| !all.iter().any(|of| of.name == **name))
    {
        let known: Vec<_> = all.iter().map(|of| of.name).collect();
        return Err(format!("--path {unknown}: there are {}", known.join(", ")).into());
    }
    let wanted =
        |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(all.into_iter().filter(wanted).collect())
}

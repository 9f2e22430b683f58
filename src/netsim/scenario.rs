//! Scenario files: paths, listeners and schedules in TOML.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path as FilePath;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use super::change::PathChange;
use super::proxy::{Settings, Tcp};
use super::schedule::{Schedule, Step};
use super::units;

/// What a scenario file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// For people.
    pub description: String,
    /// Fixes the decisions of chance.
    pub seed: Option<u64>,
    /// How long a run takes.
    pub duration: Option<Duration>,
    /// Listeners; none where the file only describes a path.
    pub legs: Vec<Leg>,
    tcp: Tcp,
    up: PathChange,
    down: PathChange,
    steps: Vec<(Option<String>, Step)>,
    repeat: Option<Duration>,
}

/// A listener of a scenario: the way of the publisher to the relay, say.
#[derive(Debug, Clone, PartialEq)]
pub struct Leg {
    /// What reports and steps call it.
    pub name: String,
    /// Where clients connect to; port 0 is a free one.
    pub listen: SocketAddr,
    /// Where it forwards to, `HOST:PORT`; where there is none, whoever runs the scenario says.
    pub target: Option<String>,
    up: PathChange,
    down: PathChange,
}

/// What is wrong with a scenario file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Look at the path and the rights of the file.
    #[error("{file}: {reason}")]
    Read { file: String, reason: String },
    /// Mend this line.
    #[error("{file}:{line}: {what} (in `{text}`)")]
    Line {
        file: String,
        line: usize,
        what: String,
        /// The line as it is written.
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    description: String,
    seed: Option<u64>,
    duration: Option<Time>,
    repeat: Option<Spanned<Time>>,
    #[serde(default, deserialize_with = "tcp")]
    tcp: Tcp,
    #[serde(default)]
    path: PathChange,
    #[serde(default)]
    up: PathChange,
    #[serde(default)]
    down: PathChange,
    #[serde(default)]
    leg: Vec<RawLeg>,
    #[serde(default)]
    step: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLeg {
    name: Spanned<String>,
    listen: Option<SocketAddr>,
    target: Option<String>,
    #[serde(default)]
    path: PathChange,
    #[serde(default)]
    up: PathChange,
    #[serde(default)]
    down: PathChange,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    at: Spanned<Time>,
    leg: Option<Spanned<String>>,
    #[serde(default)]
    path: PathChange,
    #[serde(default)]
    up: PathChange,
    #[serde(default)]
    down: PathChange,
    cut: Option<Time>,
    #[serde(default)]
    rebind: bool,
}

struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::duration(&text).map(Self).map_err(D::Error::custom)
    }
}

fn tcp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tcp, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::tcp(&text).map_err(D::Error::custom)
}

impl Scenario {
    /// Reads a file.
    pub fn read(file: &FilePath) -> Result<Self, ScenarioError> {
        let name = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| ScenarioError::Read {
            file: name.clone(),
            reason: error.to_string(),
        })?;
        Self::parse(&name, &text)
    }

    /// Reads a text; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let source = Source { file, text };
        let raw: Raw = toml::from_str(text)
            .map_err(|error| source.wrong(error.span(), error.message().to_owned()))?;
        let legs = source.legs(raw.leg)?;
        let repeat = raw.repeat.as_ref().map(|repeat| repeat.get_ref().0);
        let steps = source.steps(raw.step, &legs, repeat)?;
        // What is left to be wrong is the repetition itself.
        Schedule::new(Vec::new(), repeat).map_err(|error| {
            let span = raw.repeat.as_ref().map(Spanned::span);
            source.wrong(span, error.to_string())
        })?;
        Ok(Self {
            description: raw.description,
            seed: raw.seed,
            duration: raw.duration.map(|time| time.0),
            legs,
            tcp: raw.tcp,
            up: raw.up.over(&raw.path),
            down: raw.down.over(&raw.path),
            steps,
            repeat,
        })
    }

    /// What a proxy of this scenario does: of the leg with this name, or outside of any. Legs have decisions of chance
    /// of their own.
    pub fn settings(&self, leg: Option<&str>) -> Settings {
        let index = self
            .legs
            .iter()
            .position(|known| Some(known.name.as_str()) == leg);
        let own = index.map(|index| &self.legs[index]);
        let mut settings = Settings {
            tcp: self.tcp,
            seed: self
                .seed
                .unwrap_or_default()
                .wrapping_add(index.unwrap_or_default() as u64),
            ..Settings::default()
        };
        self.up.apply(&mut settings.up);
        self.down.apply(&mut settings.down);
        if let Some(own) = own {
            own.up.apply(&mut settings.up);
            own.down.apply(&mut settings.down);
        }
        let concerns = |of: &Option<String>| of.is_none() || of.as_deref() == leg;
        let steps = self.steps.iter().filter(|(of, _)| concerns(of));
        let steps = steps.map(|(_, step)| step.clone()).collect();
        // Checked when it was read: all steps are before the repetition.
        settings.schedule = Schedule::new(steps, self.repeat).unwrap_or_default();
        settings
    }
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn wrong(&self, span: Option<Range<usize>>, what: String) -> ScenarioError {
        let at = span.map_or(0, |span| span.start).min(self.text.len());
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count();
        let text = self.text.lines().nth(line).unwrap_or_default().trim();
        ScenarioError::Line {
            file: self.file.to_owned(),
            line: line + 1,
            what: what.split_whitespace().collect::<Vec<_>>().join(" "),
            text: text.to_owned(),
        }
    }

    fn legs(&self, raw: Vec<RawLeg>) -> Result<Vec<Leg>, ScenarioError> {
        let mut legs: Vec<Leg> = Vec::new();
        for leg in raw {
            let name = leg.name.get_ref().clone();
            let fault = if legs.iter().any(|known| known.name == name) {
                Some("there is a leg of this name already")
            } else if name.is_empty() || name.contains(char::is_whitespace) {
                Some("a name of a leg is a word")
            } else {
                None
            };
            if let Some(fault) = fault {
                return Err(self.wrong(Some(leg.name.span()), fault.to_owned()));
            }
            legs.push(Leg {
                name,
                listen: leg.listen.unwrap_or(([127, 0, 0, 1], 0).into()),
                target: leg.target,
                up: leg.up.over(&leg.path),
                down: leg.down.over(&leg.path),
            });
        }
        Ok(legs)
    }

    fn steps(
        &self,
        raw: Vec<RawStep>,
        legs: &[Leg],
        repeat: Option<Duration>,
    ) -> Result<Vec<(Option<String>, Step)>, ScenarioError> {
        let mut steps = Vec::new();
        for step in raw {
            let leg = step.leg.as_ref().map(|leg| leg.get_ref().clone());
            if let Some(name) = &leg
                && !legs.iter().any(|leg| leg.name == *name)
            {
                let span = step.leg.as_ref().map(Spanned::span);
                return Err(self.wrong(span, format!("there is no leg {name:?}")));
            }
            let at = step.at.get_ref().0;
            if repeat.is_some_and(|repeat| at >= repeat) {
                let what = "a step must come before `repeat`, when all steps start anew";
                return Err(self.wrong(Some(step.at.span()), what.to_owned()));
            }
            let step = Step {
                at,
                up: step.up.over(&step.path),
                down: step.down.over(&step.path),
                cut: step.cut.map(|time| time.0),
                rebind: step.rebind,
            };
            steps.push((leg, step));
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests;

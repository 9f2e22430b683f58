//! A change of settings, as the command line, scenario files and schedules write it: `key` and `value`.

use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::loss::{Bursts, Probability};
use super::settings::{Aqm, JitterShape, Order, Outage, PathSettings, QueueLimit, Rate};
use super::units::{self, UnitError};

/// What changes in [`PathSettings`]; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PathChange {
    pub delay: Option<Duration>,
    pub jitter: Option<Duration>,
    pub jitter_shape: Option<JitterShape>,
    pub order: Option<Order>,
    pub loss: Option<Probability>,
    pub bursts: Option<Option<Bursts>>,
    pub corrupt: Option<Probability>,
    pub duplicate: Option<Probability>,
    pub rate: Option<Option<Rate>>,
    pub queue: Option<QueueLimit>,
    pub aqm: Option<Aqm>,
    pub outages: Option<Vec<Outage>>,
}

/// A setting of a path as users write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Name in scenario files and of the command line option.
    pub name: &'static str,
    /// What its value looks like.
    pub value: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
}

const fn key(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, value, help }
}

/// All settings of a path.
pub const KEYS: [Key; 13] = [
    key("delay", "TIME", "One-way delay, such as 20ms"),
    key("jitter", "TIME", "Added to the delay, from zero to this"),
    key(
        "jitter-shape",
        "SHAPE",
        "How jitter is spread: uniform, bell or exponential (then --jitter is its mean) [default: uniform]",
    ),
    key(
        "reorder",
        "BOOL",
        "Whether jitter changes the order of packets: true or false [default: false]",
    ),
    key("loss", "PROBABILITY", "Random loss, such as 1%"),
    key(
        "burst",
        "N@P",
        "N packets in a row are lost, begun by each packet with probability P, such as 5@1%",
    ),
    key(
        "gilbert-elliott",
        "P,P[,P[,P]]",
        "Loss after Gilbert and Elliott: good to bad, bad to good, loss in bad, loss in good",
    ),
    key(
        "corrupt",
        "PROBABILITY",
        "A random bit of the payload is flipped, such as 0.1%",
    ),
    key(
        "duplicate",
        "PROBABILITY",
        "A packet comes twice, such as 0.1%",
    ),
    key("rate", "RATE", "Rate of the bottleneck, such as 20Mbit"),
    key(
        "queue",
        "LIMIT",
        "Queue before it, such as 64kB [default: 100ms]",
    ),
    key(
        "aqm",
        "AQM",
        "What drops before the queue is full: drop-tail, codel, codel-ecn, or codel,TARGET,INTERVAL [default: drop-tail]",
    ),
    key(
        "outage",
        "TIME@TIME",
        "An outage of a length, and when, such as 2s@10s; may be repeated",
    ),
];

/// Why a setting cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It is none of [`KEYS`].
    #[error("there is no setting {0:?}; there are {list}", list = names())]
    Unknown(String),
    /// The value is not of its unit.
    #[error("{key}: {source}")]
    Value {
        key: &'static str,
        source: UnitError,
    },
    /// Only outages are more than one.
    #[error("{key} takes one value, not {count}")]
    Count { key: &'static str, count: usize },
}

fn names() -> String {
    KEYS.map(|key| key.name).join(", ")
}

impl PathChange {
    /// Takes a setting by its name in [`KEYS`]. A burst model takes the place of the other one.
    pub fn set(&mut self, key: &str, values: &[&str]) -> Result<(), ChangeError> {
        let known = KEYS.iter().find(|known| known.name == key);
        let key = known
            .ok_or_else(|| ChangeError::Unknown(key.to_owned()))?
            .name;
        let bad = |source| ChangeError::Value { key, source };
        if key == "outage" {
            let outages: Result<Vec<_>, _> = values.iter().map(|v| units::outage(v)).collect();
            self.outages = Some(outages.map_err(bad)?.into_iter().flatten().collect());
            return Ok(());
        }
        let [value] = values else {
            let count = values.len();
            return Err(ChangeError::Count { key, count });
        };
        self.set_one(key, value).map_err(bad)
    }

    fn set_one(&mut self, key: &str, value: &str) -> Result<(), UnitError> {
        match key {
            "delay" => self.delay = Some(units::duration(value)?),
            "jitter" => self.jitter = Some(units::duration(value)?),
            "jitter-shape" => self.jitter_shape = Some(units::jitter_shape(value)?),
            "reorder" => self.order = Some(units::order(value)?),
            "loss" => self.loss = Some(units::probability(value)?),
            "burst" => self.bursts = Some(units::burst(value)?),
            "gilbert-elliott" => self.bursts = Some(units::gilbert_elliott(value)?),
            "corrupt" => self.corrupt = Some(units::probability(value)?),
            "duplicate" => self.duplicate = Some(units::probability(value)?),
            "rate" => self.rate = Some(units::rate(value)?),
            "queue" => self.queue = Some(units::queue(value)?),
            "aqm" => self.aqm = Some(units::aqm(value)?),
            _ => unreachable!("{key} is in KEYS and not here"),
        }
        Ok(())
    }

    /// Changes `settings`.
    pub fn apply(&self, settings: &mut PathSettings) {
        fn take<T: Clone>(change: &Option<T>, setting: &mut T) {
            if let Some(value) = change {
                setting.clone_from(value);
            }
        }
        take(&self.delay, &mut settings.delay);
        take(&self.jitter, &mut settings.jitter);
        take(&self.jitter_shape, &mut settings.jitter_shape);
        take(&self.order, &mut settings.order);
        take(&self.loss, &mut settings.loss);
        take(&self.bursts, &mut settings.bursts);
        take(&self.corrupt, &mut settings.corrupt);
        take(&self.duplicate, &mut settings.duplicate);
        take(&self.rate, &mut settings.rate);
        take(&self.queue, &mut settings.queue);
        take(&self.aqm, &mut settings.aqm);
        take(&self.outages, &mut settings.outages);
    }

    /// What `self` says, and where it says nothing, what `base` does.
    pub fn over(&self, base: &Self) -> Self {
        Self {
            delay: self.delay.or(base.delay),
            jitter: self.jitter.or(base.jitter),
            jitter_shape: self.jitter_shape.or(base.jitter_shape),
            order: self.order.or(base.order),
            loss: self.loss.or(base.loss),
            bursts: self.bursts.or(base.bursts),
            corrupt: self.corrupt.or(base.corrupt),
            duplicate: self.duplicate.or(base.duplicate),
            rate: self.rate.or(base.rate),
            queue: self.queue.or(base.queue),
            aqm: self.aqm.or(base.aqm),
            outages: self.outages.clone().or_else(|| base.outages.clone()),
        }
    }
}

/// A table of [`KEYS`] with texts; `reorder` may be a boolean and `outage` a list. Errors come from within the value,
/// so that a format can say where it is.
impl<'de> Deserialize<'de> for PathChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ChangeVisitor)
    }
}

struct ChangeVisitor;

impl<'de> Visitor<'de> for ChangeVisitor {
    type Value = PathChange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of settings of a path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PathChange, A::Error> {
        let mut change = PathChange::default();
        let mut burst = None;
        while let Some(name) = map.next_key_seed(KeySeed)? {
            if matches!(name, "burst" | "gilbert-elliott")
                && let Some(other) = burst.replace(name)
            {
                let text = format!("{other} and {name} exclude each other");
                return Err(A::Error::custom(text));
            }
            map.next_value_seed(ValueSeed {
                name,
                change: &mut change,
            })?;
        }
        Ok(change)
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = KEYS.iter().find(|key| key.name == name);
        known
            .map(|key| key.name)
            .ok_or_else(|| D::Error::custom(ChangeError::Unknown(name)))
    }
}

struct ValueSeed<'a> {
    name: &'static str,
    change: &'a mut PathChange,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.name {
            "outage" => "a text in quotes, or a list of them",
            "reorder" => "true or false",
            _ => "a text in quotes",
        };
        write!(f, "{}: {what}", self.name)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.change.set(self.name, &[value]).map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        if self.name != "reorder" {
            return Err(E::invalid_type(de::Unexpected::Bool(value), &self));
        }
        self.visit_str(if value { "true" } else { "false" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut values: Vec<String> = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        self.change
            .set(self.name, &values)
            .map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(pairs: &[(&str, &str)]) -> PathChange {
        let mut change = PathChange::default();
        for (key, value) in pairs {
            change.set(key, &[value]).unwrap();
        }
        change
    }

    #[test]
    fn every_key_has_a_value_and_changes_something() {
        let values = [
            "20ms", "5ms", "bell", "true", "1%", "5@1%", "1%,25%", "2%", "3%", "3Mbit", "500ms",
            "codel", "2s@10s",
        ];
        for (key, value) in KEYS.iter().zip(values) {
            let mut settings = PathSettings::default();
            change(&[(key.name, value)]).apply(&mut settings);
            assert_ne!(settings, PathSettings::default(), "{}", key.name);
        }
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let mut settings = PathSettings::default();
        change(&[("delay", "20ms"), ("rate", "3Mbit")]).apply(&mut settings);
        change(&[("rate", "none")]).apply(&mut settings);
        assert_eq!(settings.delay, Duration::from_millis(20));
        assert_eq!(settings.rate, None);
    }

    #[test]
    fn the_upper_of_two_changes_counts_where_it_says_something() {
        let both = change(&[("delay", "1ms")]).over(&change(&[("delay", "2ms"), ("loss", "3%")]));
        assert_eq!(both, change(&[("delay", "1ms"), ("loss", "3%")]));
    }

    #[test]
    fn an_error_names_the_key_and_says_what_to_write() {
        let mut change = PathChange::default();
        let error = change.set("delay", &["20"]).unwrap_err().to_string();
        assert!(
            error.starts_with("delay:") && error.contains("such as 20ms"),
            "{error}"
        );
        let error = change.set("dealy", &["20ms"]).unwrap_err().to_string();
        assert!(
            error.contains("\"dealy\"") && error.contains("delay,"),
            "{error}"
        );
        let error = change.set("loss", &["1%", "2%"]).unwrap_err();
        assert_eq!(error.to_string(), "loss takes one value, not 2");
    }
}

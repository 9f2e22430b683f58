//! The notations of the command line. Each parser takes the whole text and says in its error what it expects.

use std::time::Duration;

use super::loss::{Bursts, Probability};
use super::proxy::Tcp;
use super::settings::{Aqm, CoDelSettings, JitterShape, Order, Outage, QueueLimit, Rate};

/// A text that is not what it should be, and what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

const DURATION: &str = "a duration: write a number and ns, us, ms, s, min or h, such as 20ms";
const PROBABILITY: &str =
    "a probability: write a percentage or a number from 0 to 1, such as 1% or 0.01";
const RATE: &str =
    "a rate: write a number above zero and bit, kbit, Mbit or Gbit, such as 20Mbit, or none";
const QUEUE: &str =
    "a queue: write a duration or a size in B, kB, MB, KiB or MiB, such as 100ms or 64kB";
const BURST: &str = "a burst: write a length in packets and a probability, such as 5@1%, or none";
const GILBERT: &str =
    "a Gilbert-Elliott loss: write ENTER,LEAVE[,LOSS-BAD[,LOSS-GOOD]], such as 1%,25%, or none";
const OUTAGE: &str = "an outage: write its length and when it begins, such as 2s@10s, or none";
const JITTER_SHAPE: &str = "a shape of jitter: write uniform, bell or exponential";
const TCP: &str = "a treatment of TCP: write shaped, plain or off";
const ORDER: &str = "true or false";
const AQM: &str = "a queue management: write drop-tail, codel, codel-ecn, or codel and a target and an interval above zero, such as codel,5ms,100ms";

/// `20ms`, `1.5s`; `0` needs no unit.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    try_duration(text).ok_or_else(|| wrong(text, DURATION))
}

/// `1%` or `0.01`.
pub fn probability(text: &str) -> Result<Probability, UnitError> {
    try_probability(text).ok_or_else(|| wrong(text, PROBABILITY))
}

/// `20Mbit`, with or without `/s`; `none` for no bottleneck. Letter case does not matter.
pub fn rate(text: &str) -> Result<Option<Rate>, UnitError> {
    if text == "none" {
        return Ok(None);
    }
    try_rate(text).map(Some).ok_or_else(|| wrong(text, RATE))
}

/// `100ms` or `64kB`.
pub fn queue(text: &str) -> Result<QueueLimit, UnitError> {
    let limit = try_duration(text).map(QueueLimit::Time);
    limit
        .or_else(|| try_size(text).map(QueueLimit::Bytes))
        .ok_or_else(|| wrong(text, QUEUE))
}

/// `5@1%`: five packets in a row, begun by one packet in a hundred; or `none`.
pub fn burst(text: &str) -> Result<Option<Bursts>, UnitError> {
    let parse = || {
        let (length, start) = text.split_once('@')?;
        Some(Bursts::Runs {
            length: length.parse().ok().filter(|&length| length > 0)?,
            start: try_probability(start)?,
        })
    };
    or_none(text, parse(), BURST)
}

/// `1%,25%`, `1%,25%,80%` or `1%,25%,80%,0.1%`: see [`Bursts::GilbertElliott`]; or `none`.
pub fn gilbert_elliott(text: &str) -> Result<Option<Bursts>, UnitError> {
    let parse = || {
        let values: Option<Vec<_>> = text.split(',').map(try_probability).collect();
        let values = values?;
        if !(2..=4).contains(&values.len()) {
            return None;
        }
        Some(Bursts::GilbertElliott {
            enter: values[0],
            leave: values[1],
            loss_bad: values.get(2).copied().unwrap_or(Probability::ONE),
            loss_good: values.get(3).copied().unwrap_or(Probability::ZERO),
        })
    };
    or_none(text, parse(), GILBERT)
}

/// `2s@10s`: two seconds long, ten seconds after the start; or `none`.
pub fn outage(text: &str) -> Result<Option<Outage>, UnitError> {
    let parse = || {
        let (length, at) = text.split_once('@')?;
        Some(Outage {
            at: try_duration(at)?,
            length: try_duration(length)?,
        })
    };
    or_none(text, parse(), OUTAGE)
}

/// `uniform`, `bell` or `exponential`.
pub fn jitter_shape(text: &str) -> Result<JitterShape, UnitError> {
    match text {
        "uniform" => Ok(JitterShape::Uniform),
        "bell" => Ok(JitterShape::Bell),
        "exponential" => Ok(JitterShape::Exponential),
        _ => Err(wrong(text, JITTER_SHAPE)),
    }
}

/// `shaped`, `plain` or `off`.
pub fn tcp(text: &str) -> Result<Tcp, UnitError> {
    match text {
        "shaped" => Ok(Tcp::Shaped),
        "plain" => Ok(Tcp::Plain),
        "off" => Ok(Tcp::Off),
        _ => Err(wrong(text, TCP)),
    }
}

/// `true` where jitter may change the order of packets, `false` where it may not.
pub fn order(text: &str) -> Result<Order, UnitError> {
    match text {
        "true" => Ok(Order::Free),
        "false" => Ok(Order::Kept),
        _ => Err(wrong(text, ORDER)),
    }
}

/// `drop-tail`, `codel` or `codel-ecn`, the latter two with an optional target and interval: `codel,5ms,100ms`.
pub fn aqm(text: &str) -> Result<Aqm, UnitError> {
    try_aqm(text).ok_or_else(|| wrong(text, AQM))
}

fn try_aqm(text: &str) -> Option<Aqm> {
    let parts: Vec<_> = text.split(',').collect();
    let positive = |text| try_duration(text).filter(|time| !time.is_zero());
    let (name, times) = parts.split_first()?;
    let defaults = CoDelSettings::default();
    let (target, interval) = match times {
        [] => (defaults.target, defaults.interval),
        [target, interval] => (positive(target)?, positive(interval)?),
        _ => return None,
    };
    match *name {
        "drop-tail" if times.is_empty() => Some(Aqm::DropTail),
        "codel" | "codel-ecn" => Some(Aqm::CoDel(CoDelSettings {
            target,
            interval,
            ecn: *name == "codel-ecn",
        })),
        _ => None,
    }
}

fn wrong(text: &str, expected: &'static str) -> UnitError {
    UnitError {
        text: text.to_owned(),
        expected,
    }
}

fn or_none<T>(
    text: &str,
    parsed: Option<T>,
    expected: &'static str,
) -> Result<Option<T>, UnitError> {
    match parsed {
        None if text != "none" => Err(wrong(text, expected)),
        parsed => Ok(parsed),
    }
}

/// Splits `1.5ms` into 1.5 and `ms`. Only digits and a point count as a number: no sign, no exponent, no `inf`.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

fn try_duration(text: &str) -> Option<Duration> {
    let (value, unit) = number(text)?;
    let seconds = match unit {
        "ns" => value / 1e9,
        "us" | "µs" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        "min" => value * 60.0,
        "h" => value * 3600.0,
        "" if value == 0.0 => 0.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn try_probability(text: &str) -> Option<Probability> {
    let (value, unit) = number(text)?;
    match unit {
        "%" => Probability::new(value / 100.0),
        "" => Probability::new(value),
        _ => None,
    }
}

fn try_rate(text: &str) -> Option<Rate> {
    let (value, unit) = number(text)?;
    let unit = unit.to_ascii_lowercase();
    let factor = match unit.strip_suffix("/s").unwrap_or(&unit) {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return None,
    };
    // A cast of a float saturates.
    Rate::new((value * factor).round() as u64)
}

fn try_size(text: &str) -> Option<u64> {
    let (value, unit) = number(text)?;
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some((value * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for text in [
            "",
            "20",
            "ms",
            "-1s",
            "1e3s",
            "1 s",
            "infs",
            "1.2.3s",
            "20msx",
            "999999999999999999999h",
        ] {
            assert_eq!(duration(text), Err(wrong(text, DURATION)));
        }
    }

    #[test]
    fn probabilities_are_percentages_or_fractions() {
        assert_eq!(probability("1%"), Ok(Probability::percent(1.0)));
        assert_eq!(probability("0.01"), Ok(Probability::percent(1.0)));
        assert_eq!(probability("100%"), Ok(Probability::ONE));
        for text in ["101%", "1.1", "-1%", "NaN", "%", "5", "1 %"] {
            assert_eq!(probability(text), Err(wrong(text, PROBABILITY)));
        }
    }

    #[test]
    fn rates_are_in_bits_whatever_the_case() {
        let bits = |text| rate(text).unwrap().map(Rate::bits_per_second);
        assert_eq!(bits("20Mbit"), Some(20_000_000));
        assert_eq!(bits("1.5mbit/s"), Some(1_500_000));
        assert_eq!(bits("64kbit"), Some(64_000));
        assert_eq!(bits("1Gbit"), Some(1_000_000_000));
        assert_eq!(bits("none"), None);
        for text in ["20", "0Mbit", "20MB", "20Mbps", "Mbit"] {
            assert_eq!(rate(text), Err(wrong(text, RATE)));
        }
    }

    #[test]
    fn queues_are_bounded_in_time_or_bytes() {
        assert_eq!(
            queue("100ms"),
            Ok(QueueLimit::Time(Duration::from_millis(100)))
        );
        assert_eq!(queue("64kB"), Ok(QueueLimit::Bytes(64_000)));
        assert_eq!(queue("64KiB"), Ok(QueueLimit::Bytes(65_536)));
        assert_eq!(queue("100"), Err(wrong("100", QUEUE)));
    }

    #[test]
    fn bursts_are_runs_or_gilbert_elliott() {
        let runs = Bursts::Runs {
            length: 5,
            start: Probability::percent(1.0),
        };
        assert_eq!(burst("5@1%"), Ok(Some(runs)));
        assert_eq!(burst("none"), Ok(None));
        for text in ["5", "0@1%", "@1%", "5@", "-5@1%", "5@1%@2"] {
            assert_eq!(burst(text), Err(wrong(text, BURST)));
        }
        let bad = |loss_bad, loss_good| Bursts::GilbertElliott {
            enter: Probability::percent(1.0),
            leave: Probability::percent(25.0),
            loss_bad,
            loss_good,
        };
        assert_eq!(
            gilbert_elliott("1%,25%"),
            Ok(Some(bad(Probability::ONE, Probability::ZERO)))
        );
        let all = bad(Probability::percent(80.0), Probability::percent(1.0));
        assert_eq!(gilbert_elliott("1%,25%,80%,1%"), Ok(Some(all)));
        for text in ["1%", "1%,2%,3%,4%,5%", "1%,", ""] {
            assert_eq!(gilbert_elliott(text), Err(wrong(text, GILBERT)));
        }
    }

    #[test]
    fn outages_have_a_length_and_a_beginning() {
        let expected = Outage {
            at: Duration::from_secs(10),
            length: Duration::from_secs(2),
        };
        assert_eq!(outage("2s@10s"), Ok(Some(expected)));
        assert_eq!(outage("none"), Ok(None));
        assert_eq!(outage("2s"), Err(wrong("2s", OUTAGE)));
    }

    #[test]
    fn queue_management_is_named_and_codel_takes_its_parameters() {
        let codel = |target, interval, ecn| {
            Ok(Aqm::CoDel(CoDelSettings {
                target: Duration::from_millis(target),
                interval: Duration::from_millis(interval),
                ecn,
            }))
        };
        assert_eq!(aqm("drop-tail"), Ok(Aqm::DropTail));
        assert_eq!(aqm("codel"), codel(5, 100, false));
        assert_eq!(aqm("codel-ecn,1ms,20ms"), codel(1, 20, true));
        for text in [
            "red",
            "codel,5ms",
            "codel,0,100ms",
            "drop-tail,5ms,100ms",
            "",
        ] {
            assert_eq!(aqm(text), Err(wrong(text, AQM)));
        }
        assert_eq!(jitter_shape("bell"), Ok(JitterShape::Bell));
        assert_eq!(order("true"), Ok(Order::Free));
        assert_eq!(order("yes"), Err(wrong("yes", ORDER)));
    }

    #[test]
    fn an_error_says_what_to_write() {
        let error = duration("20").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"20\" is not a duration: write a number and ns, us, ms, s, min or h, such as 20ms"
        );
    }
}

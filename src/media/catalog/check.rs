//! What one field of a rendition may say. An `Err` is the reason why the rendition cannot be used.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::media::catalog::Container;
use crate::media::codec::{Codec, Kind};

pub(super) type Reason = String;

/// Longest name of a track and longest other string, in bytes.
const MAX_STRING_LEN: usize = 1_024;
/// Longest string of a stranger that is repeated in a report, in characters.
const MAX_REPORT_LEN: usize = 200;
/// Width, height and aspect terms: what 16-bit fields of codecs can say.
const MAX_PIXELS: u32 = u16::MAX as u32;
const MIN_FRAMERATE: f64 = 0.01;
const MAX_FRAMERATE: f64 = 1_000.0;
const MAX_SAMPLE_RATE: u32 = 768_000;
const MAX_CHANNELS: u32 = 255;
/// No codec comes near a terabit a second.
const MAX_BITRATE: u64 = 1_000_000_000_000;
/// An hour: what is held back for longer is not live.
const MAX_MILLIS: u32 = 3_600_000;

/// Init segments, with or without padding at the end.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A string of a stranger for a log: no control characters, and not longer than a line or two.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(MAX_REPORT_LEN)
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

/// Names end up in stream ids and structures, where a NUL or a line break cannot be.
fn is_clean(text: &str) -> bool {
    text.len() <= MAX_STRING_LEN && !text.chars().any(char::is_control)
}

pub(super) fn track_name(name: &str) -> Result<(), Reason> {
    if name.is_empty() || !is_clean(name) {
        return Err("the name of the track is not usable".into());
    }
    Ok(())
}

/// Labels and languages are for people: one that cannot be shown is none.
pub(super) fn label(label: &str) -> Option<String> {
    (!label.is_empty() && is_clean(label)).then(|| label.into())
}

pub(super) fn broadcast(path: Option<String>) -> Result<Option<String>, Reason> {
    match path {
        Some(path) if !is_clean(&path) => Err("the broadcast is not a path".into()),
        path => Ok(path.filter(|path| !path.is_empty())),
    }
}

pub(super) fn codec(codec: &str, kind: Kind) -> Result<(), Reason> {
    if codec.len() > MAX_STRING_LEN || Codec::parse(codec).kind() != Some(kind) {
        return Err(format!("codec {codec:?} is not known"));
    }
    Ok(())
}

pub(super) fn description(hex: Option<&str>) -> Result<Option<Bytes>, Reason> {
    let Some(hex) = hex.filter(|hex| !hex.is_empty()) else {
        return Ok(None);
    };
    let bytes = hex::decode(hex).map_err(|error| format!("the description is not hex: {error}"))?;
    Ok(Some(bytes.into()))
}

pub(super) fn pixels(field: &str, value: Option<u32>) -> Result<Option<u32>, Reason> {
    match value {
        Some(value) if !(1..=MAX_PIXELS).contains(&value) => {
            Err(format!("{field} of {value} is absurd"))
        }
        value => Ok(value),
    }
}

/// 0 is how some publishers say that they do not know.
pub(super) fn framerate(value: Option<f64>) -> Result<Option<f64>, Reason> {
    match value {
        Some(value) if value != 0.0 && !(MIN_FRAMERATE..=MAX_FRAMERATE).contains(&value) => {
            Err(format!("framerate of {value} is absurd"))
        }
        value => Ok(value.filter(|value| *value > 0.0)),
    }
}

pub(super) fn bitrate(value: Option<u64>) -> Result<Option<u64>, Reason> {
    match value {
        Some(value) if value > MAX_BITRATE => Err(format!("bitrate of {value} is absurd")),
        value => Ok(value.filter(|value| *value > 0)),
    }
}

pub(super) fn sample_rate(value: u32) -> Result<u32, Reason> {
    if !(1..=MAX_SAMPLE_RATE).contains(&value) {
        return Err(format!("sampleRate of {value} is absurd"));
    }
    Ok(value)
}

pub(super) fn channels(value: u32) -> Result<u32, Reason> {
    if !(1..=MAX_CHANNELS).contains(&value) {
        return Err(format!("numberOfChannels of {value} is absurd"));
    }
    Ok(value)
}

/// A jitter or delay of 0 says nothing.
pub(super) fn millis(value: u32) -> Option<u32> {
    (value > 0).then(|| value.min(MAX_MILLIS))
}

/// A whole number of ms by the rules, but MSF and old publishers have fractions: rounded up, so that an upper bound stays
/// one.
pub(super) fn deserialize_millis<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    let Some(value) = Option::<f64>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if !(0.0..=f64::from(MAX_MILLIS)).contains(&value) {
        return Err(serde::de::Error::custom("jitter or delay out of range"));
    }
    Ok(millis(value.ceil() as u32))
}

/// Publishers from before containers had a choice do not name any: legacy.
pub(super) fn container(value: &Value) -> Result<Container, Reason> {
    if value.is_null() {
        return Ok(Container::Legacy);
    }
    match value.get("kind").and_then(Value::as_str) {
        Some("legacy") => Ok(Container::Legacy),
        Some("loc") => Ok(Container::Loc),
        Some("cmaf") => {
            let init = value
                .get("init")
                .and_then(Value::as_str)
                .unwrap_or_default();
            match BASE64.decode(init) {
                Ok(init) if !init.is_empty() => Ok(Container::Cmaf { init: init.into() }),
                _ => Err("the container's init is not base64".into()),
            }
        }
        Some(kind) => Err(format!("container {kind:?} is not known")),
        None => Err("the container has no kind".into()),
    }
}

pub(super) fn write_container(container: &Container) -> Value {
    match container {
        Container::Legacy => json!({ "kind": "legacy" }),
        Container::Loc => json!({ "kind": "loc" }),
        Container::Cmaf { init } => json!({ "kind": "cmaf", "init": BASE64.encode(init) }),
    }
}

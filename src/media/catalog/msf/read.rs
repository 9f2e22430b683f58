//! From JSON to the model.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::media::catalog::check::{self, Reason};
use crate::media::catalog::{
    AudioRendition, Catalog, CatalogError, Clock, Container, MAX_RENDITIONS, Rendition, Skipped,
    VideoRendition,
};
use crate::media::codec::{Codec, Kind};
use crate::media::container::cmaf;
use crate::media::ratio::reduce;
use crate::media::{aac, flac, opus};

/// What players assume of sound that does not say.
const DEFAULT_SAMPLE_RATE: u32 = 48_000;
const DEFAULT_CHANNELS: u32 = 2;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TrackWire {
    packaging: String,
    role: Option<String>,
    codec: String,
    width: Option<u32>,
    height: Option<u32>,
    display_width: Option<u32>,
    display_height: Option<u32>,
    framerate: Option<f64>,
    samplerate: Option<u32>,
    /// A string by the drafts; some write a number.
    channel_config: Value,
    bitrate: Option<u64>,
    label: Option<String>,
    lang: Option<String>,
    init_data: Option<String>,
    init_ref: Option<String>,
    init_track: Option<String>,
    stalled: Option<bool>,
    #[serde(deserialize_with = "check::deserialize_millis")]
    jitter: Option<u32>,
    #[serde(deserialize_with = "check::deserialize_millis")]
    delay: Option<u32>,
}

/// `initDataList`, by id.
type InitData<'a> = BTreeMap<&'a str, &'a Map<String, Value>>;

pub(super) fn read(root: &Value) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
    let root = root.as_object().ok_or(CatalogError::Shape("the root"))?;
    check_version(root.get("version"))?;
    let tracks = list(root, "tracks")?;
    let init_data: InitData<'_> = list(root, "initDataList")?
        .iter()
        .filter_map(|entry| {
            let entry = entry.as_object()?;
            Some((entry.get("id")?.as_str()?, entry))
        })
        .collect();

    let mut catalog = Catalog {
        clock: root.get("clock").and_then(Clock::from_wire),
        ..Catalog::default()
    };
    let mut skipped = Vec::new();
    let (mut listed, mut names) = (0, BTreeSet::new());
    for track in tracks {
        let Some(kind) = kind(track) else { continue };
        listed += 1;
        if listed > MAX_RENDITIONS {
            return Err(CatalogError::TooManyRenditions(listed));
        }
        let name = track
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let rendition = check::track_name(name)
            .and_then(|()| match names.insert(name) {
                true => Ok(()),
                false => Err("the name is listed twice".into()),
            })
            .and_then(|()| read_track(track, kind, &init_data));
        match rendition {
            Ok(Rendition::Video(video)) => {
                catalog.video.insert(name.into(), video);
            }
            Ok(Rendition::Audio(audio)) => {
                catalog.audio.insert(name.into(), audio);
            }
            Err(reason) => skipped.push(Skipped {
                track: check::printable(name),
                reason: check::printable(&reason),
            }),
        }
    }
    Ok((catalog, skipped))
}

/// 1 in draft-00, a string from draft-01 on. Some leave it out.
fn check_version(version: Option<&Value>) -> Result<(), CatalogError> {
    match version {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(version) if version.as_f64() == Some(1.0) => Ok(()),
        Some(_) => Err(CatalogError::Shape("version")),
    }
}

fn list<'a>(root: &'a Map<String, Value>, key: &'static str) -> Result<&'a [Value], CatalogError> {
    match root.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(CatalogError::Shape(key)),
    }
}

/// By role, and where there is none, by codec: the role is optional. `None` for what is neither picture nor sound.
fn kind(track: &Value) -> Option<Kind> {
    match track.get("role").and_then(Value::as_str) {
        Some("video" | "signlanguage") => Some(Kind::Video),
        Some("audio" | "audiodescription") => Some(Kind::Audio),
        Some(_) => None,
        None => Codec::parse(track.get("codec")?.as_str()?).kind(),
    }
}

fn read_track(track: &Value, kind: Kind, init_data: &InitData<'_>) -> Result<Rendition, Reason> {
    let wire = TrackWire::deserialize(track).map_err(|error| error.to_string())?;
    check::codec(&wire.codec, kind)?;
    if wire.init_track.is_some() {
        return Err("the init data is in a track of its own".into());
    }
    let init = read_init(&wire, init_data)?;
    let (container, description) = match (wire.packaging.as_str(), init) {
        ("legacy", description) => (Container::Legacy, description),
        ("loc", description) => (Container::Loc, description),
        ("cmaf", Some(init)) => (Container::Cmaf { init }, None),
        ("cmaf", None) => return Err("packaging cmaf without init data".into()),
        (packaging, _) => return Err(format!("packaging {packaging:?} is not known")),
    };
    match kind {
        Kind::Video => read_video(wire, container, description).map(Rendition::Video),
        Kind::Audio => read_audio(wire, container, description).map(Rendition::Audio),
    }
}

/// Inline, as in draft-00, or by reference, as in draft-01; both have to say the same.
fn read_init(track: &TrackWire, init_data: &InitData<'_>) -> Result<Option<Bytes>, Reason> {
    let inline = track.init_data.as_deref().filter(|data| !data.is_empty());
    let referred = match track.init_ref.as_deref() {
        None => None,
        Some(id) => {
            let entry = init_data
                .get(id)
                .ok_or_else(|| format!("init data {id:?} is missing"))?;
            if entry.get("type").is_some_and(|kind| kind != "inline") {
                return Err(format!("init data {id:?} is not inline"));
            }
            entry.get("data").and_then(Value::as_str)
        }
    };
    if inline.is_some() && referred.is_some() && inline != referred {
        return Err("initData and initRef contradict each other".into());
    }
    match inline.or(referred).filter(|data| !data.is_empty()) {
        None => Ok(None),
        Some(data) => match check::BASE64.decode(data) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(format!("the init data is not base64: {error}")),
        },
    }
}

fn read_video(
    wire: TrackWire,
    container: Container,
    description: Option<Bytes>,
) -> Result<VideoRendition, Reason> {
    Ok(VideoRendition {
        coded_width: check::pixels("width", wire.width)?,
        coded_height: check::pixels("height", wire.height)?,
        display_aspect: check::pixels("displayWidth", wire.display_width)?
            .zip(check::pixels("displayHeight", wire.display_height)?)
            .map(|(width, height)| reduce(width.into(), height.into())),
        framerate: check::framerate(wire.framerate)?,
        bitrate: check::bitrate(wire.bitrate)?,
        jitter_ms: wire.jitter,
        delay_ms: wire.delay,
        label: wire.label.as_deref().and_then(check::label),
        stalled: wire.stalled.unwrap_or(false),
        codec: wire.codec,
        description,
        container,
        ..VideoRendition::default()
    })
}

fn read_audio(
    wire: TrackWire,
    container: Container,
    description: Option<Bytes>,
) -> Result<AudioRendition, Reason> {
    let channels = match &wire.channel_config {
        Value::String(channels) => channels.parse().ok(),
        channels => channels
            .as_u64()
            .and_then(|channels| u32::try_from(channels).ok()),
    };
    let stated = wire.samplerate.zip(channels);
    let (sample_rate, channels) = stated.unwrap_or_else(|| {
        let (rate, count) = derive_format(&wire.codec, &container, description.as_deref());
        (wire.samplerate.unwrap_or(rate), channels.unwrap_or(count))
    });
    Ok(AudioRendition {
        sample_rate: check::sample_rate(sample_rate)?,
        channels: check::channels(channels)?,
        bitrate: check::bitrate(wire.bitrate)?,
        jitter_ms: wire.jitter,
        delay_ms: wire.delay,
        label: wire.label.as_deref().and_then(check::label),
        language: wire.lang.as_deref().and_then(check::label),
        codec: wire.codec,
        description,
        container,
        ..AudioRendition::default()
    })
}

/// Rate and channels by what a decoder is configured with: a guess would be heard.
fn derive_format(codec: &str, container: &Container, description: Option<&[u8]>) -> (u32, u32) {
    let from_init = |init: &Bytes| match cmaf::Init::parse(init).ok()?.rendition {
        Rendition::Audio(audio) => Some((audio.sample_rate, audio.channels)),
        Rendition::Video(_) => None,
    };
    let from_description = |description: &[u8]| match Codec::parse(codec) {
        Codec::Opus => {
            let head = opus::Head::parse(description).ok()?;
            Some((opus::CLOCK_RATE, head.channels.into()))
        }
        Codec::Aac { .. } => {
            let config = aac::Config::parse(description).ok()?;
            Some((config.sample_rate(), config.output_channels().into()))
        }
        Codec::Flac => {
            let info = flac::StreamInfo::from_description(description).ok()?;
            Some((info.sample_rate, info.channels.into()))
        }
        _ => None,
    };
    let derived = match container {
        Container::Cmaf { init } => from_init(init),
        Container::Legacy | Container::Loc => description.and_then(from_description),
    };
    derived.unwrap_or((DEFAULT_SAMPLE_RATE, DEFAULT_CHANNELS))
}

//! The serde forms, and the way between them and the model.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{CatalogError, Skipped};
use crate::media::catalog::check::{self, Reason};
use crate::media::catalog::{
    AudioRendition, Catalog, Clock, MAX_RENDITIONS, Orientation, VideoRendition,
};
use crate::media::codec::Kind;

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VideoWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    codec: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coded_width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coded_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_aspect_width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_aspect_height: Option<u32>,
    /// What publishers before hang 0.20 called `displayAspectWidth`.
    #[serde(skip_serializing)]
    display_ratio_width: Option<u32>,
    #[serde(skip_serializing)]
    display_ratio_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framerate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    optimize_for_latency: Option<bool>,
    container: Value,
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "check::deserialize_millis"
    )]
    jitter: Option<u32>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "check::deserialize_millis"
    )]
    delay: Option<u32>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AudioWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    codec: String,
    sample_rate: u32,
    #[serde(rename = "numberOfChannels")]
    channels: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    container: Value,
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "check::deserialize_millis"
    )]
    jitter: Option<u32>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "check::deserialize_millis"
    )]
    delay: Option<u32>,
    /// hang has a language on text tracks alone; its readers ignore it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<String>,
}

#[derive(Deserialize)]
struct DisplayWire {
    width: u32,
    height: u32,
}

/// The model of a whole catalog.
pub(super) fn read(root: &Value) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
    let root = root.as_object().ok_or(CatalogError::Shape("the root"))?;
    let video = section(root, "video")?;
    let video_renditions = renditions(video, "video.renditions")?;
    let audio_renditions = renditions(section(root, "audio")?, "audio.renditions")?;
    let text = root
        .get("text")
        .and_then(|text| text.get("renditions")?.as_object());
    let listed = [video_renditions, audio_renditions, text];
    let listed = listed.into_iter().flatten().map(Map::len).sum();
    if listed > MAX_RENDITIONS {
        return Err(CatalogError::TooManyRenditions(listed));
    }

    let mut skipped = Vec::new();
    let catalog = Catalog {
        video: read_renditions(video_renditions, read_video, &mut skipped),
        audio: read_renditions(audio_renditions, read_audio, &mut skipped),
        clock: root.get("clock").and_then(Clock::from_wire),
        display: video.and_then(read_display),
        orientation: video.map(read_orientation).unwrap_or_default(),
    };
    Ok((catalog, skipped))
}

type Object = Map<String, Value>;

/// A member that is an object, or absent.
fn member<'a>(
    of: &'a Object,
    key: &str,
    name: &'static str,
) -> Result<Option<&'a Object>, CatalogError> {
    match of.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(CatalogError::Shape(name)),
    }
}

fn section<'a>(root: &'a Object, name: &'static str) -> Result<Option<&'a Object>, CatalogError> {
    member(root, name, name)
}

fn renditions<'a>(
    section: Option<&'a Object>,
    name: &'static str,
) -> Result<Option<&'a Object>, CatalogError> {
    section.map_or(Ok(None), |section| member(section, "renditions", name))
}

fn read_renditions<R>(
    listed: Option<&Object>,
    read: fn(&Value) -> Result<R, Reason>,
    skipped: &mut Vec<Skipped>,
) -> BTreeMap<String, R> {
    let mut usable = BTreeMap::new();
    for (track, rendition) in listed.into_iter().flatten() {
        match check::track_name(track).and_then(|()| read(rendition)) {
            Ok(rendition) => {
                usable.insert(track.clone(), rendition);
            }
            Err(reason) => skipped.push(Skipped {
                track: check::printable(track),
                reason: check::printable(&reason),
            }),
        }
    }
    usable
}

fn read_video(value: &Value) -> Result<VideoRendition, Reason> {
    let wire = VideoWire::deserialize(value).map_err(|error| error.to_string())?;
    check::codec(&wire.codec, Kind::Video)?;
    let aspect = (
        wire.display_aspect_width.or(wire.display_ratio_width),
        wire.display_aspect_height.or(wire.display_ratio_height),
    );
    Ok(VideoRendition {
        description: check::description(wire.description.as_deref())?,
        coded_width: check::pixels("codedWidth", wire.coded_width)?,
        coded_height: check::pixels("codedHeight", wire.coded_height)?,
        display_aspect: check::pixels("displayAspectWidth", aspect.0)?
            .zip(check::pixels("displayAspectHeight", aspect.1)?),
        framerate: check::framerate(wire.framerate)?,
        bitrate: check::bitrate(wire.bitrate)?,
        container: check::container(&wire.container)?,
        jitter_ms: wire.jitter,
        delay_ms: wire.delay,
        label: wire.label.as_deref().and_then(check::label),
        optimize_for_latency: wire.optimize_for_latency,
        stalled: wire.stalled.unwrap_or(false),
        broadcast: check::broadcast(wire.broadcast)?,
        codec: wire.codec,
    })
}

fn read_audio(value: &Value) -> Result<AudioRendition, Reason> {
    let wire = AudioWire::deserialize(value).map_err(|error| error.to_string())?;
    check::codec(&wire.codec, Kind::Audio)?;
    Ok(AudioRendition {
        sample_rate: check::sample_rate(wire.sample_rate)?,
        channels: check::channels(wire.channels)?,
        description: check::description(wire.description.as_deref())?,
        bitrate: check::bitrate(wire.bitrate)?,
        container: check::container(&wire.container)?,
        jitter_ms: wire.jitter,
        delay_ms: wire.delay,
        label: wire.label.as_deref().and_then(check::label),
        language: wire.lang.as_deref().and_then(check::label),
        broadcast: check::broadcast(wire.broadcast)?,
        codec: wire.codec,
    })
}

fn read_display(video: &Object) -> Option<(u32, u32)> {
    let DisplayWire { width, height } = DisplayWire::deserialize(video.get("display")?).ok()?;
    let width = check::pixels("width", Some(width)).ok()??;
    let height = check::pixels("height", Some(height)).ok()??;
    Some((width, height))
}

fn read_orientation(video: &Object) -> Orientation {
    // Finite, as JSON has no other numbers.
    let degrees = video.get("rotation").and_then(Value::as_f64).unwrap_or(0.0);
    let quarter_turns = (degrees.rem_euclid(360.0) / 90.0).round() as u8 % 4;
    let flip = video.get("flip").and_then(Value::as_bool).unwrap_or(false);
    Orientation {
        quarter_turns,
        flip,
    }
}

/// The JSON of a whole catalog. The sections `video` and `audio` are always there, as hang's readers want them.
pub(super) fn write(catalog: &Catalog) -> Value {
    let video = write_renditions(&catalog.video, write_video);
    let audio = write_renditions(&catalog.audio, write_audio);
    let mut root = json!({ "video": { "renditions": video }, "audio": { "renditions": audio } });
    if let Some((width, height)) = catalog.display {
        root["video"]["display"] = json!({ "width": width, "height": height });
    }
    if !catalog.orientation.quarter_turns.is_multiple_of(4) {
        root["video"]["rotation"] = (u16::from(catalog.orientation.quarter_turns % 4) * 90).into();
    }
    if catalog.orientation.flip {
        root["video"]["flip"] = true.into();
    }
    if let Some(clock) = catalog.clock.and_then(Clock::to_wire) {
        root["clock"] = clock;
    }
    root
}

fn write_renditions<R, W: Serialize>(
    renditions: &BTreeMap<String, R>,
    write: fn(&R) -> W,
) -> Object {
    renditions
        .iter()
        .map(|(track, rendition)| {
            // Strings, numbers and maps with string keys always serialize.
            let wire = serde_json::to_value(write(rendition)).unwrap_or_default();
            (track.clone(), wire)
        })
        .collect()
}

fn write_video(rendition: &VideoRendition) -> VideoWire {
    let written = |value: Option<u32>| value.filter(|value| *value > 0);
    let (aspect_width, aspect_height) = rendition.display_aspect.unzip();
    VideoWire {
        broadcast: rendition.broadcast.clone(),
        label: rendition.label.clone(),
        codec: rendition.codec.clone(),
        description: write_description(&rendition.description),
        coded_width: written(rendition.coded_width),
        coded_height: written(rendition.coded_height),
        display_aspect_width: aspect_width,
        display_aspect_height: aspect_height,
        bitrate: rendition.bitrate.filter(|bitrate| *bitrate > 0),
        stalled: rendition.stalled.then_some(true),
        framerate: rendition
            .framerate
            .filter(|rate| rate.is_finite() && *rate > 0.0),
        optimize_for_latency: rendition.optimize_for_latency,
        container: check::write_container(&rendition.container),
        jitter: rendition.jitter_ms.and_then(check::millis),
        delay: rendition.delay_ms.and_then(check::millis),
        ..VideoWire::default()
    }
}

fn write_audio(rendition: &AudioRendition) -> AudioWire {
    AudioWire {
        broadcast: rendition.broadcast.clone(),
        label: rendition.label.clone(),
        codec: rendition.codec.clone(),
        sample_rate: rendition.sample_rate,
        channels: rendition.channels,
        bitrate: rendition.bitrate.filter(|bitrate| *bitrate > 0),
        description: write_description(&rendition.description),
        container: check::write_container(&rendition.container),
        jitter: rendition.jitter_ms.and_then(check::millis),
        delay: rendition.delay_ms.and_then(check::millis),
        lang: rendition.language.clone(),
    }
}

fn write_description(description: &Option<Bytes>) -> Option<String> {
    description
        .as_ref()
        .filter(|bytes| !bytes.is_empty())
        .map(hex::encode)
}

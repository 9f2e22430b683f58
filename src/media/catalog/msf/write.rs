//! From the model to JSON.

use base64::Engine as _;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::media::catalog::{AudioRendition, Catalog, Clock, Container, VideoRendition, check};
use crate::media::codec::Codec;

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct TrackWire<'a> {
    name: &'a str,
    packaging: &'static str,
    is_live: bool,
    role: &'static str,
    codec: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_width: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framerate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samplerate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_ref: Option<String>,
    render_group: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    alt_group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_grp_sap_starting_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_obj_sap_starting_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<u32>,
}

pub(super) fn write(catalog: &Catalog) -> Value {
    let mut init_data = InitDataList::default();
    // The drafts name a track's namespace, but not relative to this one.
    let video: Vec<_> = catalog
        .video
        .iter()
        .filter(|(_, video)| video.broadcast.is_none())
        .collect();
    let audio: Vec<_> = catalog
        .audio
        .iter()
        .filter(|(_, audio)| audio.broadcast.is_none())
        .collect();
    // Tracks of one kind are alternatives to each other.
    let alternatives = |count: usize| (count > 1).then_some(1);
    let mut tracks = Vec::with_capacity(video.len() + audio.len());
    for (name, rendition) in &video {
        tracks.push(TrackWire {
            alt_group: alternatives(video.len()),
            ..write_video(name, rendition, &mut init_data)
        });
    }
    for (name, rendition) in &audio {
        tracks.push(TrackWire {
            alt_group: alternatives(audio.len()),
            ..write_audio(name, rendition, &mut init_data)
        });
    }
    let mut root = json!({ "version": "draft-01", "tracks": tracks });
    if !init_data.0.is_empty() {
        root["initDataList"] = init_data.write();
    }
    if let Some(clock) = catalog.clock.and_then(Clock::to_wire) {
        root["clock"] = clock;
    }
    root
}

fn write_video<'a>(
    name: &'a str,
    rendition: &'a VideoRendition,
    init_data: &mut InitDataList<'a>,
) -> TrackWire<'a> {
    let written = |value: Option<u32>| value.filter(|value| *value > 0);
    let framerate = rendition.framerate;
    // As high as it is coded. A display size that is not whole would be another aspect: then it is left out.
    let display = rendition.display_aspect.zip(rendition.coded_height);
    let display = display.and_then(|((width, height), lines)| {
        let width = u64::from(width) * u64::from(lines);
        let whole = height > 0 && width.is_multiple_of(height.into());
        whole.then(|| (width / u64::from(height), lines))
    });
    let sap_type = sap_type(&rendition.codec);
    TrackWire {
        name,
        packaging: packaging(&rendition.container),
        is_live: true,
        role: "video",
        codec: &rendition.codec,
        width: written(rendition.coded_width),
        height: written(rendition.coded_height),
        display_width: display.map(|(width, _)| width),
        display_height: display.map(|(_, height)| height),
        framerate: framerate.filter(|rate| rate.is_finite() && *rate > 0.0),
        bitrate: rendition.bitrate.filter(|bitrate| *bitrate > 0),
        label: rendition.label.as_deref(),
        stalled: rendition.stalled.then_some(true),
        init_ref: init_data.refer(&rendition.container, &rendition.description),
        render_group: 1,
        max_grp_sap_starting_type: sap_type,
        max_obj_sap_starting_type: sap_type,
        jitter: rendition.jitter_ms.and_then(check::millis),
        delay: rendition.delay_ms.and_then(check::millis),
        ..TrackWire::default()
    }
}

fn write_audio<'a>(
    name: &'a str,
    rendition: &'a AudioRendition,
    init_data: &mut InitDataList<'a>,
) -> TrackWire<'a> {
    TrackWire {
        name,
        packaging: packaging(&rendition.container),
        is_live: true,
        role: "audio",
        codec: &rendition.codec,
        samplerate: Some(rendition.sample_rate),
        channel_config: Some(rendition.channels.to_string()),
        bitrate: rendition.bitrate.filter(|bitrate| *bitrate > 0),
        label: rendition.label.as_deref(),
        lang: rendition.language.as_deref(),
        init_ref: init_data.refer(&rendition.container, &rendition.description),
        render_group: 1,
        max_grp_sap_starting_type: Some(1),
        max_obj_sap_starting_type: Some(1),
        jitter: rendition.jitter_ms.and_then(check::millis),
        delay: rendition.delay_ms.and_then(check::millis),
        ..TrackWire::default()
    }
}

fn packaging(container: &Container) -> &'static str {
    match container {
        Container::Legacy => "legacy",
        Container::Loc => "loc",
        Container::Cmaf { .. } => "cmaf",
    }
}

/// The largest stream access point type that groups start with (draft-ietf-moq-cmsf-00 §3.5.2), as moq-mux states it.
fn sap_type(codec: &str) -> Option<u8> {
    match Codec::parse(codec) {
        Codec::Vp8 => Some(1),
        Codec::H264(_) | Codec::Av1(_) | Codec::Vp9(_) => Some(2),
        _ => None,
    }
}

/// What decoders are configured with, each once, whatever the number of tracks that have it.
#[derive(Default)]
struct InitDataList<'a>(Vec<&'a Bytes>);

impl<'a> InitDataList<'a> {
    /// The id of a track's entry.
    fn refer(
        &mut self,
        container: &'a Container,
        description: &'a Option<Bytes>,
    ) -> Option<String> {
        let data = match container {
            Container::Cmaf { init } => Some(init),
            Container::Legacy | Container::Loc => description.as_ref(),
        };
        let data = data.filter(|data| !data.is_empty())?;
        let known = self.0.iter().position(|known| *known == data);
        let index = known.unwrap_or_else(|| {
            self.0.push(data);
            self.0.len() - 1
        });
        Some(id(index))
    }

    fn write(&self) -> Value {
        let entry = |(index, data): (usize, &&Bytes)| json!({ "id": id(index), "type": "inline", "data": check::BASE64.encode(data) });
        self.0.iter().enumerate().map(entry).collect()
    }
}

fn id(index: usize) -> String {
    format!("init{index}")
}

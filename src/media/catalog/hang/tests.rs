use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::media::catalog::{
    AudioRendition, Catalog, Clock, Container, MAX_RENDITIONS, Orientation, VideoRendition,
};

type Theirs = ::hang::Catalog;

fn video() -> VideoRendition {
    VideoRendition {
        codec: "avc1.64001f".into(),
        description: Some(Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff])),
        coded_width: Some(1280),
        coded_height: Some(720),
        display_aspect: Some((16, 9)),
        framerate: Some(30.0),
        bitrate: Some(6_000_000),
        jitter_ms: Some(34),
        delay_ms: Some(20),
        label: Some("Main".into()),
        optimize_for_latency: Some(true),
        stalled: true,
        broadcast: Some("./sibling".into()),
        container: Container::Legacy,
    }
}

fn audio() -> AudioRendition {
    AudioRendition {
        codec: "opus".into(),
        sample_rate: 48_000,
        channels: 2,
        bitrate: Some(128_000),
        jitter_ms: Some(20),
        ..Default::default()
    }
}

fn catalog() -> Catalog {
    Catalog {
        video: BTreeMap::from([("0.avc3".into(), video())]),
        audio: BTreeMap::from([("1.opus".into(), audio())]),
        clock: Some(Clock {
            wall_us: 175_184_640_000_000,
        }),
        display: Some((1280, 720)),
        orientation: Orientation {
            quarter_turns: 1,
            flip: true,
        },
    }
}

fn read(json: &serde_json::Value) -> (Catalog, Vec<Skipped>) {
    parse(json.to_string().as_bytes()).unwrap()
}

/// One video rendition with these fields beside its codec.
fn read_video(fields: serde_json::Value) -> Result<VideoRendition, String> {
    let mut rendition = json!({ "codec": "avc3.64001f" });
    for (key, value) in fields.as_object().unwrap() {
        rendition[key] = value.clone();
    }
    let (mut catalog, skipped) = read(&json!({ "video": { "renditions": { "v": rendition } } }));
    catalog
        .video
        .remove("v")
        .ok_or_else(|| skipped[0].reason.clone())
}

fn read_audio(rendition: serde_json::Value) -> Result<AudioRendition, String> {
    let (mut catalog, skipped) = read(&json!({ "audio": { "renditions": { "a": rendition } } }));
    catalog
        .audio
        .remove("a")
        .ok_or_else(|| skipped[0].reason.clone())
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(parse(&write(&catalog())).unwrap(), (catalog(), Vec::new()));
    assert_eq!(
        parse(&write(&Catalog::default())).unwrap().0,
        Catalog::default()
    );
}

#[test]
fn hang_reads_what_we_write() {
    let theirs = Theirs::from_slice(&write(&catalog())).unwrap();
    let video = &theirs.video.renditions["0.avc3"];
    assert_eq!(video.codec.to_string(), "avc1.64001f");
    assert_eq!(
        video.description.as_deref(),
        Some(&[1, 0x64, 0, 0x1f, 0xff][..])
    );
    assert_eq!(
        (video.coded_width, video.coded_height),
        (Some(1280), Some(720))
    );
    assert_eq!(
        (video.display_aspect_width, video.display_aspect_height),
        (Some(16), Some(9))
    );
    assert_eq!(
        (video.framerate, video.bitrate),
        (Some(30.0), Some(6_000_000))
    );
    assert_eq!(video.jitter, Some(Duration::from_millis(34)));
    assert_eq!(video.delay, Some(Duration::from_millis(20)));
    assert_eq!(video.label.as_deref(), Some("Main"));
    assert_eq!(
        (video.stalled, video.optimize_for_latency),
        (Some(true), Some(true))
    );
    assert_eq!(
        video.broadcast.as_ref().map(|path| path.as_str()),
        Some("sibling")
    );
    assert_eq!(video.container, ::hang::catalog::Container::Legacy);
    let audio = &theirs.audio.renditions["1.opus"];
    assert_eq!(audio.codec, ::hang::catalog::AudioCodec::Opus);
    assert_eq!((audio.sample_rate, audio.channel_count), (48_000, 2));
    assert_eq!(theirs.clock.unwrap().wall.value(), 175_184_640_000_000);
    assert_eq!(theirs.video.rotation, Some(90.0));
    assert_eq!(theirs.video.flip, Some(true));
    assert_eq!(
        theirs
            .video
            .display
            .as_ref()
            .map(|size| (size.width, size.height)),
        Some((1280, 720))
    );
}

#[test]
fn we_read_what_hang_writes() {
    let theirs = Theirs::from_slice(&write(&catalog())).unwrap();
    let mut expected = catalog();
    // Their path type normalises.
    expected.video.get_mut("0.avc3").unwrap().broadcast = Some("sibling".into());
    let (ours, skipped) = parse(&theirs.to_vec().unwrap()).unwrap();
    assert_eq!((ours, skipped), (expected, Vec::new()));
}

#[test]
fn the_catalog_of_the_notes_is_written_to_the_letter() {
    let mut catalog = catalog();
    catalog.display = None;
    catalog.orientation = Orientation::default();
    let expected = json!({
        "video": {"renditions": {"0.avc3": {
            "broadcast": "./sibling", "label": "Main", "codec": "avc1.64001f", "description": "0164001fff",
            "codedWidth": 1280, "codedHeight": 720, "displayAspectWidth": 16, "displayAspectHeight": 9,
            "bitrate": 6_000_000, "stalled": true, "framerate": 30.0, "optimizeForLatency": true,
            "container": {"kind": "legacy"}, "jitter": 34, "delay": 20}}},
        "audio": {"renditions": {"1.opus": {"codec": "opus", "sampleRate": 48_000, "numberOfChannels": 2,
            "bitrate": 128_000, "container": {"kind": "legacy"}, "jitter": 20}}},
        "clock": {"wall": 175_184_640_000_000u64, "timescale": 1_000_000},
    });
    let written: serde_json::Value = serde_json::from_slice(&write(&catalog)).unwrap();
    assert_eq!(written, expected);
}

#[test]
fn sections_are_always_written_and_nothing_that_says_nothing() {
    let read = |catalog: &Catalog| -> serde_json::Value {
        serde_json::from_slice(&write(catalog)).unwrap()
    };
    assert_eq!(
        read(&Catalog::default()),
        json!({"audio": {"renditions": {}}, "video": {"renditions": {}}})
    );
    let mut catalog = Catalog::default();
    let rendition = VideoRendition {
        codec: "vp8".into(),
        framerate: Some(f64::NAN),
        jitter_ms: Some(0),
        delay_ms: Some(0),
        bitrate: Some(0),
        coded_width: Some(0),
        ..Default::default()
    };
    catalog.video.insert("v".into(), rendition);
    catalog.clock = Some(Clock { wall_us: 1 << 53 });
    let rendition = json!({"codec": "vp8", "container": {"kind": "legacy"}});
    assert_eq!(
        read(&catalog),
        json!({"audio": {"renditions": {}}, "video": {"renditions": {"v": rendition}}})
    );
    let text = String::from_utf8(write(&catalog).to_vec()).unwrap();
    Theirs::from_str(&text).unwrap();
}

#[test]
fn jitter_is_whole_milliseconds_rounded_up_and_never_zero() {
    assert_eq!(
        read_video(json!({ "jitter": 33.2 })).unwrap().jitter_ms,
        Some(34)
    );
    assert_eq!(
        read_video(json!({ "delay": 0.1 })).unwrap().delay_ms,
        Some(1)
    );
    assert_eq!(read_video(json!({ "jitter": 0 })).unwrap().jitter_ms, None);
    assert!(read_video(json!({ "jitter": -1 })).is_err());
    assert!(read_video(json!({ "jitter": 1e300 })).is_err());
}

#[test]
fn legacy_aspect_names_are_understood() {
    let ratio = json!({ "displayRatioWidth": 4, "displayRatioHeight": 3 });
    assert_eq!(read_video(ratio).unwrap().display_aspect, Some((4, 3)));
    let both = json!({
        "displayRatioWidth": 4, "displayRatioHeight": 3, "displayAspectWidth": 16, "displayAspectHeight": 9,
    });
    assert_eq!(read_video(both).unwrap().display_aspect, Some((16, 9)));
    assert_eq!(
        read_video(json!({ "displayAspectWidth": 4 }))
            .unwrap()
            .display_aspect,
        None
    );
}

#[test]
fn an_absent_container_is_legacy_and_an_unknown_one_costs_its_rendition_alone() {
    assert_eq!(read_video(json!({})).unwrap().container, Container::Legacy);
    assert_eq!(
        read_video(json!({ "container": null })).unwrap().container,
        Container::Legacy
    );
    assert_eq!(
        read_video(json!({ "container": { "kind": "loc" } }))
            .unwrap()
            .container,
        Container::Loc
    );
    let init = Bytes::from_static(&[0, 1, 2, 3]);
    for encoded in ["AAECAw==", "AAECAw"] {
        let container = json!({ "container": { "kind": "cmaf", "init": encoded } });
        let init = init.clone();
        assert_eq!(
            read_video(container).unwrap().container,
            Container::Cmaf { init }
        );
    }
    for container in [
        json!({ "kind": "future", "depth": [1] }),
        json!({ "kind": "cmaf" }),
        json!({ "kind": "cmaf", "init": "00ff!" }),
        json!({}),
        json!("legacy"),
    ] {
        assert!(
            read_video(json!({ "container": container })).is_err(),
            "{container}"
        );
    }
    let mixed = json!({
        "video": { "renditions": {
            "new": { "codec": "vvc1.1", "container": { "kind": "legacy" } },
            "old": { "codec": "vp8" },
            "odd": { "codec": "vp8", "container": { "kind": "future" } },
        } },
    });
    let (catalog, skipped) = read(&mixed);
    assert_eq!(catalog.video.keys().collect::<Vec<_>>(), ["old"]);
    let tracks: Vec<_> = skipped
        .iter()
        .map(|skipped| skipped.track.as_str())
        .collect();
    assert_eq!(tracks, ["new", "odd"]);
}

/// hang issue 2509: base64 in the place of hex.
#[test]
fn a_description_is_hex() {
    let upper = read_video(json!({ "description": "0142C0FF" })).unwrap();
    assert_eq!(
        upper.description.as_deref(),
        Some(&[1, 0x42, 0xc0, 0xff][..])
    );
    assert!(
        read_video(json!({ "description": "AUIAKv" }))
            .unwrap_err()
            .contains("hex")
    );
    assert!(read_video(json!({ "description": "012" })).is_err());
    assert_eq!(
        read_video(json!({ "description": "" }))
            .unwrap()
            .description,
        None
    );
}

#[test]
fn absurd_numbers_cost_their_rendition() {
    for fields in [
        json!({ "codedWidth": 0 }),
        json!({ "codedWidth": 1_000_000_000 }),
        json!({ "codedHeight": -720 }),
        json!({ "codedHeight": 720.5 }),
        json!({ "displayAspectWidth": 0, "displayAspectHeight": 9 }),
        json!({ "framerate": -30 }),
        json!({ "framerate": 1e9 }),
        json!({ "framerate": "30" }),
        json!({ "bitrate": -1 }),
        json!({ "bitrate": u64::MAX }),
        json!({ "codec": "opus" }),
        json!({ "codec": 7 }),
        json!({ "codec": "avc1.64zz1f" }),
    ] {
        assert!(read_video(fields.clone()).is_err(), "{fields}");
    }
    assert_eq!(
        read_video(json!({ "framerate": 0 })).unwrap().framerate,
        None
    );
    let audio = |codec: &str, rate: i64, channels: i64| {
        read_audio(json!({ "codec": codec, "sampleRate": rate, "numberOfChannels": channels }))
    };
    assert!(audio("opus", 48_000, 2).is_ok());
    assert!(audio("opus", 0, 2).is_err());
    assert!(audio("opus", 1_000_000_000, 2).is_err());
    assert!(audio("opus", 48_000, 0).is_err());
    assert!(audio("opus", -48_000, 2).is_err());
    assert!(audio("opus", 48_000, 100_000).is_err());
    assert!(audio("vp8", 48_000, 2).is_err());
    assert!(read_audio(json!({ "codec": "opus" })).is_err());
    assert!(read_audio(json!(null)).is_err());
}

#[test]
fn unknown_keys_and_sections_are_ignored() {
    let (catalog, skipped) = read(&json!({
        "scte35": { "anything": [1, { "deep": null }] },
        "archive": 7,
        "json": "mine",
        "audio": { "renditions": { "a": {
            "codec": "opus", "sampleRate": 48_000, "numberOfChannels": 2, "future": { "x": 1 },
        } }, "priority": 3 },
    }));
    assert_eq!((catalog.len(), skipped.len()), (1, 0));
}

#[test]
fn names_that_cannot_be_shown_are_refused_and_reported_harmlessly() {
    let rendition = json!({ "codec": "vp8" });
    let mut renditions = serde_json::Map::new();
    for name in ["", "a\0b", "line\nbreak", "fine é"] {
        renditions.insert(name.into(), rendition.clone());
    }
    renditions.insert("x".repeat(5_000), rendition);
    let (catalog, skipped) = read(&json!({ "video": { "renditions": renditions } }));
    assert_eq!(catalog.video.keys().collect::<Vec<_>>(), ["fine é"]);
    assert_eq!(skipped.len(), 4);
    let harmless =
        |text: &String| text.chars().count() <= 200 && !text.chars().any(char::is_control);
    assert!(
        skipped
            .iter()
            .all(|skipped| harmless(&skipped.track) && harmless(&skipped.reason))
    );
    assert_eq!(read_video(json!({ "label": "a\0b" })).unwrap().label, None);
    let long = read_video(json!({ "codec": "y".repeat(100_000) })).unwrap_err();
    assert!(long.len() < 1_000);
}

#[test]
fn too_many_renditions_of_all_kinds_reject_the_catalog() {
    let build = |videos: usize, texts: usize| {
        let named = |count: usize, rendition: serde_json::Value| -> serde_json::Map<_, _> {
            (0..count)
                .map(|at| (at.to_string(), rendition.clone()))
                .collect()
        };
        json!({
            "video": { "renditions": named(videos, json!({ "codec": "vp8" })) },
            "text": { "renditions": named(texts, json!({ "format": "vtt" })) },
        })
        .to_string()
    };
    assert_eq!(
        parse(build(MAX_RENDITIONS, 0).as_bytes()).unwrap().0.len(),
        MAX_RENDITIONS
    );
    assert_eq!(
        parse(build(MAX_RENDITIONS, 1).as_bytes()),
        Err(CatalogError::TooManyRenditions(MAX_RENDITIONS + 1))
    );
}

#[test]
fn what_is_no_catalog_is_refused() {
    for json in ["", "{", "nul", "[]", "7", "\"x\"", "null"] {
        assert!(parse(json.as_bytes()).is_err(), "{json}");
    }
    assert_eq!(parse(br#"{"video":[]}"#), Err(CatalogError::Shape("video")));
    assert_eq!(
        parse(br#"{"audio":{"renditions":1}}"#),
        Err(CatalogError::Shape("audio.renditions"))
    );
    assert!(parse(br#"{"video":null,"audio":{}}"#).unwrap().0.is_empty());
    let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(MAX_JSON_LEN));
    assert_eq!(parse(large.as_bytes()), Err(CatalogError::TooLarge));
    let deep = "[".repeat(100_000);
    assert!(matches!(parse(deep.as_bytes()), Err(CatalogError::Json(_))));
}

#[test]
fn the_clock_counts_in_any_timescale() {
    let clock = |clock: serde_json::Value| read(&json!({ "clock": clock })).0.clock;
    assert_eq!(clock(json!({ "wall": 5 })), Some(Clock { wall_us: 5 }));
    assert_eq!(
        clock(json!({ "wall": 5, "timescale": 1_000 })),
        Some(Clock { wall_us: 5_000 })
    );
    for bad in [
        json!({ "wall": 5, "timescale": 0 }),
        json!({ "wall": 5, "timescale": null }),
        json!({ "wall": -5 }),
        json!({ "wall": 1u64 << 53 }),
        json!({ "wall": 1u64 << 52, "timescale": 1 }),
        json!(17),
    ] {
        assert_eq!(clock(bad), None);
    }
}

#[test]
fn the_clock_starts_in_2020() {
    let clock = Clock::from_unix_ns(1_577_836_800_000_000_000 + 1_499).unwrap();
    assert_eq!(clock.wall_us, 1);
    assert_eq!(clock.unix_ns(2), 1_577_836_800_000_003_000);
    assert_eq!(Clock::from_unix_ns(0), None);
    assert_eq!(Clock { wall_us: u64::MAX }.unix_ns(u64::MAX), u64::MAX);
}

#[test]
fn rotations_are_quarter_turns() {
    let turns = |degrees: f64| {
        read(&json!({ "video": { "rotation": degrees } }))
            .0
            .orientation
            .quarter_turns
    };
    let found: Vec<_> = [0.0, 44.9, 45.0, 180.0, 270.0, 315.0, -90.0, 1e300]
        .map(turns)
        .into();
    assert_eq!(found[..7], [0, 0, 1, 2, 3, 0, 3]);
}

fn container() -> impl Strategy<Value = Container> {
    prop_oneof![
        Just(Container::Legacy),
        Just(Container::Loc),
        proptest::collection::vec(any::<u8>(), 1..40)
            .prop_map(|init| Container::Cmaf { init: init.into() }),
    ]
}

fn description() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40).prop_map(Bytes::from))
}

fn label() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[^\\p{C}]{1,12}")
}

fn video_codec() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("vp8".to_string()),
        any::<(bool, [u8; 3])>().prop_map(|(inline, bytes)| {
            format!("avc{}.{}", if inline { 3 } else { 1 }, hex::encode(bytes))
        }),
    ]
}

prop_compose! {
    fn any_video()(
        codec in video_codec(),
        description in description(),
        coded_width in proptest::option::of(1u32..65_536),
        coded_height in proptest::option::of(1u32..65_536),
        display_aspect in proptest::option::of((1u32..65_536, 1u32..65_536)),
        // Eighths are exact in JSON, whatever reads them.
        framerate in proptest::option::of((1u32..8_000).prop_map(|eighths| f64::from(eighths) / 8.0)),
        bitrate in proptest::option::of(1u64..1_000_000_000_000),
        container in container(),
        (jitter_ms, delay_ms) in (proptest::option::of(1u32..3_600_000), proptest::option::of(1u32..3_600_000)),
        label in label(),
        (optimize_for_latency, stalled) in any::<(Option<bool>, bool)>(),
        broadcast in proptest::option::of("[a-z]{1,8}"),
    ) -> VideoRendition {
        VideoRendition {
            codec, description, coded_width, coded_height, display_aspect, framerate, bitrate, container, jitter_ms,
            delay_ms, label, optimize_for_latency, stalled, broadcast,
        }
    }
}

prop_compose! {
    fn any_audio()(
        codec in prop_oneof![Just("opus"), Just("mp4a.40.2"), Just("flac"), Just("mp3")],
        sample_rate in 1u32..=768_000,
        channels in 1u32..=255,
        description in description(),
        bitrate in proptest::option::of(1u64..1_000_000_000_000),
        container in container(),
        jitter_ms in proptest::option::of(1u32..3_600_000),
        delay_ms in proptest::option::of(1u32..3_600_000),
        label in label(),
        broadcast in proptest::option::of("[a-z]{1,8}"),
    ) -> AudioRendition {
        AudioRendition {
            codec: codec.into(), sample_rate, channels, description, bitrate, container, jitter_ms, delay_ms, label,
            language: None, broadcast,
        }
    }
}

prop_compose! {
    pub(super) fn any_catalog()(
        video in proptest::collection::btree_map("[^\\p{C}]{1,12}", any_video(), 0..4),
        audio in proptest::collection::btree_map("[^\\p{C}]{1,12}", any_audio(), 0..4),
        clock in proptest::option::of((0..=MAX_SAFE_INTEGER).prop_map(|wall_us| Clock { wall_us })),
        display in proptest::option::of((1u32..65_536, 1u32..65_536)),
        quarter_turns in 0u8..4,
        flip: bool,
    ) -> Catalog {
        Catalog { video, audio, clock, display, orientation: Orientation { quarter_turns, flip } }
    }
}

proptest! {
    #[test]
    fn catalogs_round_trip_and_through_hang_too(catalog in any_catalog()) {
        let written = write(&catalog);
        prop_assert_eq!(parse(&written).unwrap(), (catalog.clone(), Vec::new()));
        let theirs = Theirs::from_slice(&written).unwrap();
        prop_assert_eq!(parse(&theirs.to_vec().unwrap()).unwrap(), (catalog, Vec::new()));
    }

    #[test]
    fn languages_round_trip_and_hang_ignores_them(lang in "[a-z]{2}(-[A-Z]{2})?") {
        let mut catalog = catalog();
        catalog.audio.get_mut("1.opus").unwrap().language = Some(lang);
        let written = write(&catalog);
        Theirs::from_slice(&written).unwrap();
        prop_assert_eq!(parse(&written).unwrap().0, catalog);
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(json in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&json);
    }

    #[test]
    fn damaged_catalogs_are_refused_or_read(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut json = write(&catalog()).to_vec();
        for (at, byte) in damage {
            let at = at.index(json.len());
            json[at] = byte;
        }
        if let Ok((catalog, _)) = parse(&json) {
            prop_assert_eq!(parse(&write(&catalog)).unwrap().0, catalog);
        }
    }
}

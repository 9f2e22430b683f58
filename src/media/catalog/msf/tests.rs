use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::media::catalog::hang::MAX_SAFE_INTEGER;
use crate::media::catalog::{AudioRendition, Clock, Container, MAX_RENDITIONS, VideoRendition};
use crate::media::container::cmaf;
use crate::media::ratio;

fn video(container: Container) -> VideoRendition {
    VideoRendition {
        codec: "avc1.64001f".into(),
        description: Some(Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff])),
        coded_width: Some(1280),
        coded_height: Some(720),
        framerate: Some(30.0),
        bitrate: Some(6_000_000),
        jitter_ms: Some(34),
        delay_ms: Some(20),
        label: Some("Main".into()),
        stalled: true,
        container,
        ..Default::default()
    }
}

fn audio(container: Container) -> AudioRendition {
    AudioRendition {
        codec: "opus".into(),
        sample_rate: 48_000,
        channels: 2,
        bitrate: Some(128_000),
        language: Some("en".into()),
        container,
        ..Default::default()
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog {
        clock: Some(Clock {
            wall_us: 175_184_640_000_000,
        }),
        ..Catalog::default()
    };
    catalog
        .video
        .insert("0.avc1".into(), video(Container::Legacy));
    catalog.video.insert("1.avc1".into(), video(Container::Loc));
    catalog.audio.insert("2.opus".into(), audio(Container::Loc));
    let init = cmaf::tests::init("opus");
    catalog
        .audio
        .insert("3.opus".into(), audio(Container::Cmaf { init }));
    catalog
}

fn read(json: serde_json::Value) -> (Catalog, Vec<Skipped>) {
    parse(json.to_string().as_bytes()).unwrap()
}

/// One track with these fields.
fn read_track(track: serde_json::Value) -> (Catalog, Vec<Skipped>) {
    read(json!({ "version": 1, "tracks": [track] }))
}

fn reason(track: serde_json::Value) -> String {
    let (catalog, skipped) = read_track(track);
    assert!(catalog.is_empty());
    skipped[0].reason.clone()
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
fn the_form_is_that_of_draft_01() {
    let mut catalog = catalog();
    catalog.video.remove("1.avc1");
    catalog.audio.remove("3.opus");
    let written: serde_json::Value = serde_json::from_slice(&write(&catalog)).unwrap();
    assert_eq!(
        written,
        json!({
            "version": "draft-01",
            "tracks": [
                { "name": "0.avc1", "packaging": "legacy", "isLive": true, "role": "video", "codec": "avc1.64001f",
                  "width": 1280, "height": 720, "framerate": 30.0, "bitrate": 6_000_000, "stalled": true, "label": "Main",
                  "initRef": "init0", "renderGroup": 1, "maxGrpSapStartingType": 2, "maxObjSapStartingType": 2,
                  "jitter": 34, "delay": 20 },
                { "name": "2.opus", "packaging": "loc", "isLive": true, "role": "audio", "codec": "opus",
                  "samplerate": 48_000, "channelConfig": "2", "bitrate": 128_000, "lang": "en", "renderGroup": 1,
                  "maxGrpSapStartingType": 1, "maxObjSapStartingType": 1 },
            ],
            "initDataList": [{ "id": "init0", "type": "inline", "data": "AWQAH/8=" }],
            "clock": { "wall": 175_184_640_000_000u64, "timescale": 1_000_000 },
        })
    );
}

#[test]
fn moq_msf_reads_what_we_write() {
    let written = write(&catalog());
    let theirs = moq_msf::Catalog::<()>::from_str(std::str::from_utf8(&written).unwrap()).unwrap();
    assert_eq!(theirs.tracks.len(), 4);
    let video = &theirs.tracks[0];
    assert_eq!(video.role, Some(moq_msf::Role::Video));
    assert_eq!(video.packaging, moq_msf::Packaging::Legacy);
    assert_eq!((video.width, video.height), (Some(1280), Some(720)));
    assert_eq!(video.init_data.as_deref(), Some("AWQAH/8="));
    assert_eq!((video.alt_group, video.render_group), (Some(1), Some(1)));
    assert_eq!(video.max_grp_sap_starting_type, Some(2));
    assert_eq!(theirs.tracks[3].packaging, moq_msf::Packaging::Cmaf);
    // And what they write of it, we read: they know neither labels and languages nor the clock.
    let again = parse(theirs.to_json().unwrap().as_bytes()).unwrap().0;
    let mut expected = catalog();
    expected.clock = None;
    expected
        .video
        .values_mut()
        .for_each(|video| video.label = None);
    expected
        .audio
        .values_mut()
        .for_each(|audio| audio.language = None);
    assert_eq!(again, expected);
}

#[test]
fn both_drafts_are_read() {
    let tracks = json!([{ "name": "v", "packaging": "loc", "role": "video", "codec": "avc1.64001f", "initData": "AWQ" }]);
    for version in [
        json!(1),
        json!(1.0),
        json!("1"),
        json!("draft-02"),
        json!(null),
    ] {
        let (catalog, skipped) =
            read(json!({ "version": version, "generatedAt": 5, "tracks": tracks }));
        assert!(skipped.is_empty());
        assert_eq!(
            catalog.video["v"].description.as_deref(),
            Some(&[1, 0x64][..])
        );
    }
    for version in [json!(2), json!({}), json!(false)] {
        let catalog = json!({ "version": version, "tracks": tracks }).to_string();
        assert_eq!(
            parse(catalog.as_bytes()),
            Err(CatalogError::Shape("version"))
        );
    }
    assert_eq!(parse(b"{}").unwrap().0, Catalog::default());
    assert_eq!(parse(b"[]"), Err(CatalogError::Shape("the root")));
    assert_eq!(
        parse(br#"{"tracks":{}}"#),
        Err(CatalogError::Shape("tracks"))
    );
    assert_eq!(
        parse(br#"{"initDataList":1}"#),
        Err(CatalogError::Shape("initDataList"))
    );
}

#[test]
fn sloppy_publishers_are_understood() {
    // No role, a number for the channels, fractions for the jitter, fields that nobody knows.
    let (catalog, _) = read_track(json!({
        "name": "a", "packaging": "loc", "codec": "opus", "samplerate": 48_000, "channelConfig": 6, "jitter": 20.5,
        "namespace": "x", "timescale": 1_000_000, "isLive": null,
    }));
    assert_eq!(
        (catalog.audio["a"].channels, catalog.audio["a"].jitter_ms),
        (6, Some(21))
    );
    let (catalog, _) =
        read_track(json!({ "name": "a", "packaging": "loc", "role": "audio", "codec": "mp3" }));
    assert_eq!(
        (catalog.audio["a"].sample_rate, catalog.audio["a"].channels),
        (48_000, 2)
    );
    let (catalog, _) = read_track(
        json!({ "name": "a", "packaging": "legacy", "role": "audiodescription", "codec": "mp4a.40.2",
        "initData": "EggA", "channelConfig": "" }),
    );
    assert_eq!(
        (catalog.audio["a"].sample_rate, catalog.audio["a"].channels),
        (44_100, 1)
    );
    // What is no media is not worth a word.
    for track in [
        json!({ "name": "t", "packaging": "mediatimeline" }),
        json!({ "name": "t", "packaging": "loc", "role": "caption", "codec": "wvtt" }),
        json!("t"),
    ] {
        assert_eq!(read_track(track), (Catalog::default(), Vec::new()));
    }
}

#[test]
fn rate_and_channels_come_from_the_init_segment() {
    let init = base64::Engine::encode(
        &crate::media::catalog::check::BASE64,
        cmaf::tests::init("mp3"),
    );
    let (catalog, skipped) = read_track(
        json!({ "name": "a", "packaging": "cmaf", "role": "audio", "codec": "mp3", "initData": init }),
    );
    assert_eq!(skipped, []);
    assert_eq!(
        (catalog.audio["a"].sample_rate, catalog.audio["a"].channels),
        (48_000, 2)
    );
}

#[test]
fn a_track_that_cannot_be_used_costs_itself_alone() {
    let track = |fields: serde_json::Value| {
        let mut track = json!({ "name": "v", "packaging": "loc", "role": "video", "codec": "vp8" });
        for (key, value) in fields.as_object().unwrap() {
            track[key] = value.clone();
        }
        track
    };
    for (fields, expected) in [
        (
            json!({ "packaging": "mkv" }),
            "packaging \"mkv\" is not known",
        ),
        (
            json!({ "packaging": "cmaf" }),
            "packaging cmaf without init data",
        ),
        (json!({ "codec": "vp7" }), "codec \"vp7\" is not known"),
        (json!({ "codec": "opus" }), "codec \"opus\" is not known"),
        (json!({ "initData": "!" }), "the init data is not base64"),
        (
            json!({ "initRef": "init0" }),
            "init data \"init0\" is missing",
        ),
        (
            json!({ "initTrack": "i" }),
            "the init data is in a track of its own",
        ),
        (json!({ "width": 1_000_000 }), "width of 1000000 is absurd"),
        (json!({ "name": "" }), "the name of the track is not usable"),
        (json!({ "jitter": -1 }), "jitter or delay out of range"),
    ] {
        assert!(reason(track(fields)).starts_with(expected), "{expected}");
    }
    let list = |entry: serde_json::Value, track: serde_json::Value| {
        read(json!({ "tracks": [track], "initDataList": [entry, 7] })).1[0]
            .reason
            .clone()
    };
    let referring = track(json!({ "initRef": "i", "initData": "AQ==" }));
    let other = json!({ "id": "i", "type": "inline", "data": "Ag==" });
    assert_eq!(
        list(other, referring.clone()),
        "initData and initRef contradict each other"
    );
    let remote = json!({ "id": "i", "type": "url", "data": "Ag==" });
    assert_eq!(list(remote, referring), "init data \"i\" is not inline");
    let twice = json!({ "tracks": [track(json!({})), track(json!({ "codec": "vp09.00.10.08" }))] });
    let (catalog, skipped) = read(twice);
    assert_eq!(
        (catalog.video["v"].codec.as_str(), skipped.len()),
        ("vp8", 1)
    );
}

#[test]
fn tracks_of_other_broadcasts_are_not_written() {
    let mut catalog = catalog();
    catalog.video.get_mut("1.avc1").unwrap().broadcast = Some("./sibling".into());
    let (read, _) = parse(&write(&catalog)).unwrap();
    assert_eq!(read.video.keys().collect::<Vec<_>>(), ["0.avc1"]);
}

#[test]
fn a_catalog_of_too_many_tracks_is_refused() {
    let track =
        |index: usize| json!({ "name": index.to_string(), "packaging": "loc", "codec": "vp8" });
    let of = |count| json!({ "tracks": (0..count).map(track).collect::<Vec<_>>() });
    assert_eq!(read(of(MAX_RENDITIONS)).0.len(), MAX_RENDITIONS);
    let many = of(MAX_RENDITIONS + 1).to_string();
    assert_eq!(
        parse(many.as_bytes()),
        Err(CatalogError::TooManyRenditions(MAX_RENDITIONS + 1))
    );
}

fn any_container() -> impl Strategy<Value = Container> {
    prop_oneof![
        Just(Container::Legacy),
        Just(Container::Loc),
        proptest::collection::vec(any::<u8>(), 1..40)
            .prop_map(|init| Container::Cmaf { init: init.into() }),
    ]
}

prop_compose! {
    fn any_audio()(
        container in any_container(),
        description in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
        sample_rate in 1u32..700_000,
        channels in 1u32..256,
        bitrate in proptest::option::of(1u64..1_000_000_000),
        jitter_ms in proptest::option::of(1u32..3_600_000),
        language in proptest::option::of("[a-z]{2}"),
    ) -> AudioRendition {
        AudioRendition {
            codec: "mp4a.40.2".into(),
            description: description.map(Bytes::from).filter(|_| !matches!(container, Container::Cmaf { .. })),
            sample_rate, channels, bitrate, jitter_ms, language, container,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn any_video()(
        container in any_container(),
        codec in prop_oneof![Just("vp8"), Just("avc1.64001f"), Just("hev1.1.6.L63.90"), Just("av01.0.04M.08")],
        description in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
        coded_width in proptest::option::of(1u32..65_536),
        // The aspect is written as pixels, as high as the picture is coded.
        (coded_height, display_width) in proptest::option::of((1u32..65_536, proptest::option::of(1u32..65_536)))
            .prop_map(Option::unzip),
        // Eighths are exact in JSON, whatever reads them.
        framerate in proptest::option::of((1u32..8_000).prop_map(|eighths| f64::from(eighths) / 8.0)),
        bitrate in proptest::option::of(1u64..1_000_000_000_000),
        (jitter_ms, delay_ms) in (proptest::option::of(1u32..3_600_000), proptest::option::of(1u32..3_600_000)),
        label in proptest::option::of("[^\\p{C}]{1,12}"),
        stalled: bool,
    ) -> VideoRendition {
        VideoRendition {
            codec: codec.into(),
            description: description.map(Bytes::from).filter(|_| !matches!(container, Container::Cmaf { .. })),
            coded_width, coded_height,
            display_aspect: display_width.flatten().zip(coded_height)
                .map(|(width, height)| ratio::reduce(width.into(), height.into())),
            framerate, bitrate, jitter_ms, delay_ms, label, stalled, container,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn any_catalog()(
        video in proptest::collection::btree_map("v[a-z0-9.]{1,8}", any_video(), 0..4),
        audio in proptest::collection::btree_map("a[a-z0-9.]{1,8}", any_audio(), 0..4),
        clock in proptest::option::of((0..=MAX_SAFE_INTEGER).prop_map(|wall_us| Clock { wall_us })),
    ) -> Catalog {
        Catalog { video, audio, clock, ..Catalog::default() }
    }
}

/// What turns the first catalog into the second; a clock, no delta can change.
fn delta(from: &Catalog, to: &Catalog) -> serde_json::Value {
    let from: serde_json::Value = serde_json::from_slice(&write(from)).unwrap();
    let mut to: serde_json::Value = serde_json::from_slice(&write(to)).unwrap();
    let tracks = |catalog: &serde_json::Value| catalog["tracks"].as_array().unwrap().clone();
    let stays = |name: &serde_json::Value| tracks(&to).iter().any(|track| track["name"] == *name);
    let gone: Vec<_> = tracks(&from)
        .iter()
        .filter(|track| !stays(&track["name"]))
        .map(|track| json!({ "name": track["name"] }))
        .collect();
    json!({
        "deltaUpdate": true,
        "removeTracks": gone,
        "addTracks": to["tracks"].take(),
        "initDataList": to["initDataList"].take(),
    })
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        proptest::sample::select(vec![
            "loc", "cmaf", "video", "audio", "vp8", "opus", "i", "AQ=="
        ])
        .prop_map(serde_json::Value::from),
    ];
    let keys = vec![
        "version",
        "tracks",
        "name",
        "packaging",
        "role",
        "codec",
        "initData",
        "initRef",
        "initDataList",
        "id",
        "type",
        "data",
        "channelConfig",
        "samplerate",
        "jitter",
        "clock",
        "wall",
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(proptest::sample::select(keys.clone()), inner, 0..8)
                .prop_map(|map| map
                    .into_iter()
                    .map(|(key, value)| (key.to_string(), value))
                    .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn catalogs_round_trip(catalog in any_catalog()) {
        prop_assert_eq!(parse(&write(&catalog)).unwrap(), (catalog, Vec::new()));
    }

    #[test]
    fn a_delta_turns_one_catalog_into_another(from in any_catalog(), to in any_catalog()) {
        let mut snapshot = Snapshot::default();
        prop_assert_eq!(&snapshot.apply(0, &write(&from)).unwrap().0, &from);
        let delta = delta(&from, &to).to_string();
        let to = Catalog { clock: from.clock, ..to };
        prop_assert_eq!(snapshot.apply(1, delta.as_bytes()).unwrap(), (to, Vec::new()));
    }

    #[test]
    fn hostile_catalogs_are_survived(json in any_json(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(json.to_string().as_bytes());
        let _ = parse(&bytes);
    }
}

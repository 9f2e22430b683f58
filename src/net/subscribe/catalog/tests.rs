use moq_net::{broadcast, origin, track};

use super::*;
use crate::runtime;

const HANG: &[u8] =
    br#"{"audio":{"renditions":{"hang":{"codec":"opus","sampleRate":48000,"numberOfChannels":2}}}}"#;
const MSF: &[u8] = br#"{"version":"draft-01","tracks":[{"name":"msf","packaging":"loc","role":"audio","codec":"opus"}]}"#;

/// Long enough for anything here, and short where nothing is to come.
const LIMIT: Duration = Duration::from_secs(5);

/// A broadcast whose catalog tracks say what a test wants.
struct Publisher {
    _origin: origin::Producer,
    broadcast: broadcast::Producer,
    tracks: Vec<track::Producer>,
}

impl Publisher {
    fn new() -> Self {
        let (origin, driver) = origin::Producer::new(Default::default());
        runtime::handle().spawn(moq_net::time::run(driver));
        let broadcast = origin.create_broadcast("a").expect("a name");
        Self {
            _origin: origin,
            broadcast,
            tracks: Vec::new(),
        }
    }

    /// A track with a group for each of these.
    fn with(mut self, name: &str, groups: &[&[u8]]) -> Self {
        let track = self.broadcast.create_track(name, track::Info::default());
        self.tracks.push(track.expect("a track"));
        for group in groups {
            self.write(group);
        }
        self
    }

    /// Another group of the track that was made last.
    fn write(&mut self, frame: &[u8]) {
        let track = self.tracks.last_mut().expect("a track");
        let mut group = track.append_group().expect("a group");
        let stamp = moq_net::Timestamp::from_micros(0).expect("fits");
        let frame = Bytes::copy_from_slice(frame);
        group.write_frame(stamp, frame).expect("written");
        group.finish().expect("ended");
    }

    fn read(&self, name: &str, format: CatalogFormat) -> Catalogs {
        let reader = BroadcastReader::of(self.broadcast.consume());
        Catalogs::new(reader, name, format)
    }
}

fn next(catalogs: &mut Catalogs) -> Result<Option<Arc<Catalog>>> {
    let next = async { tokio::time::timeout(LIMIT, catalogs.next()).await };
    runtime::handle().block_on(next).expect("in time")
}

/// The name of the only track.
fn track_of(catalogs: &mut Catalogs) -> String {
    let catalog = next(catalogs).expect("usable").expect("a catalog");
    let names: Vec<_> = catalog.audio.keys().cloned().collect();
    names.join(" ")
}

fn compressed(json: &[u8]) -> Bytes {
    deflate::Encoder::default().encode(json)
}

#[test]
fn the_name_of_the_broadcast_says_which_form_is_likely() {
    let both = || {
        Publisher::new()
            .with("catalog.json", &[HANG])
            .with("catalog", &[MSF])
    };
    for (name, format, form) in [
        ("cam.hang", CatalogFormat::Auto, "hang"),
        ("cam", CatalogFormat::Auto, "hang"),
        ("cam.msf", CatalogFormat::Auto, "msf"),
        ("cam.msf", CatalogFormat::Hang, "hang"),
        ("cam.hang", CatalogFormat::Msf, "msf"),
    ] {
        let publisher = both();
        assert_eq!(track_of(&mut publisher.read(name, format)), form, "{name}");
    }
}

#[test]
fn what_is_there_is_read_whatever_the_name_says() {
    let z = compressed(HANG);
    for (track, frame, form) in [
        ("catalog.json.z", &z[..], "hang"),
        ("catalog", MSF, "msf"),
        ("catalog.json", HANG, "hang"),
    ] {
        for name in ["cam.hang", "cam.msf"] {
            let publisher = Publisher::new().with(track, &[frame]);
            let begun = Instant::now();
            let mut catalogs = publisher.read(name, CatalogFormat::Auto);
            assert_eq!(track_of(&mut catalogs), form, "{track} of {name}");
            assert!(
                begun.elapsed() < HEAD_START,
                "a refusal is not waited after"
            );
        }
    }
}

#[test]
fn a_form_that_says_nothing_does_not_keep_the_next_one_from_being_read() {
    let publisher = Publisher::new()
        .with("catalog.json", &[])
        .with("catalog.json.z", &[])
        .with("catalog", &[MSF]);
    let mut catalogs = publisher.read("cam.hang", CatalogFormat::Auto);
    assert_eq!(track_of(&mut catalogs), "msf");
    assert!(catalogs.is_answered());
}

#[test]
fn a_form_that_cannot_be_read_is_told_of_and_passed_over() {
    let publisher = Publisher::new()
        .with("catalog.json", &[b"{"])
        .with("catalog", &[MSF]);
    let mut catalogs = publisher.read("cam.hang", CatalogFormat::Auto);
    let err = next(&mut catalogs).expect_err("no JSON");
    assert_eq!(err.cause, Cause::Catalog);
    assert_eq!(track_of(&mut catalogs), "msf");
}

#[test]
fn a_catalog_that_is_mended_is_read() {
    let mut publisher = Publisher::new().with("catalog.json", &[b"[]"]);
    let mut catalogs = publisher.read("cam.hang", CatalogFormat::Auto);
    let err = next(&mut catalogs).expect_err("no object");
    assert_eq!(err.cause, Cause::Catalog);
    publisher.write(HANG);
    assert_eq!(track_of(&mut catalogs), "hang");
    let hang = String::from_utf8_lossy(HANG);
    publisher.write(hang.replace("hang", "next").as_bytes());
    assert_eq!(track_of(&mut catalogs), "next");
}

#[test]
fn bombs_and_lists_without_end_are_refused() {
    let bomb = compressed(&vec![b' '; 8 << 20]);
    let many: String = (0..=64)
        .map(|n| format!(r#"{{"name":"{n}","packaging":"loc","role":"audio","codec":"opus"}},"#))
        .collect();
    let many = format!(r#"{{"tracks":[{}]}}"#, many.trim_end_matches(','));
    for (track, frame) in [("catalog.json.z", &bomb[..]), ("catalog", many.as_bytes())] {
        let publisher = Publisher::new().with(track, &[frame]);
        let mut catalogs = publisher.read("cam.hang", CatalogFormat::Auto);
        let err = next(&mut catalogs).expect_err("hostile");
        assert_eq!(err.cause, Cause::Catalog, "{track}");
    }
}

#[test]
fn without_any_form_that_is_an_end() {
    let publisher = Publisher::new().with("video", &[]);
    for format in [CatalogFormat::Auto, CatalogFormat::Hang, CatalogFormat::Msf] {
        let mut catalogs = publisher.read("cam.hang", format);
        let err = next(&mut catalogs).expect_err("nothing there");
        assert_eq!(err.cause, Cause::NoBroadcast, "{err}");
        assert!(!catalogs.is_answered());
    }
}

#[test]
fn a_catalog_that_its_publisher_ends_ends() {
    let publisher = Publisher::new().with("catalog.json", &[HANG]);
    let mut catalogs = publisher.read("cam.hang", CatalogFormat::Auto);
    assert_eq!(track_of(&mut catalogs), "hang");
    publisher.tracks[0].finish().expect("ended");
    assert_eq!(next(&mut catalogs).expect("meant"), None);
}

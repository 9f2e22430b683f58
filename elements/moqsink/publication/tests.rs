use super::*;
use crate::{
    media::catalog::{AudioRendition, VideoRendition},
    net::{
        config::ConnectConfig,
        session::{Retention, Role},
    },
};

/// Starts with these pads.
fn start(publication: &Publication, pads: &[TrackId]) {
    let url = "https://127.0.0.1:9/".parse().expect("a URL");
    let config = ConnectConfig::new(vec![url]);
    let connection = Connection::open(config, Role::Publisher, Retention::default());
    let offer = Offer {
        path: "a".into(),
        retention: WHOLE,
        catalogs: Forms {
            hang: true,
            msf: true,
        },
    };
    publication
        .start(connection, offer, pads.iter().copied())
        .expect("started");
}

fn audio() -> Rendition {
    Rendition::Audio(AudioRendition::default())
}

fn video(label: &str, jitter_ms: Option<u32>) -> Rendition {
    Rendition::Video(VideoRendition {
        label: Some(label.to_owned()),
        jitter_ms,
        ..VideoRendition::default()
    })
}

/// The timer that is running, and whether there is a catalog.
fn timer(publication: &Publication) -> (Option<u64>, bool) {
    match &*publication.life.lock() {
        Life::Running(running) => (running.waiting, running.written.is_some()),
        Life::Idle => (None, false),
    }
}

/// The catalog, with its tracks' names, labels and jitters.
fn listed(publication: &Publication) -> Vec<(String, Option<String>, Option<u32>)> {
    let Life::Running(running) = &*publication.life.lock() else {
        return Vec::new();
    };
    let catalog = running.written.clone().unwrap_or_default();
    let video = catalog.video.into_iter();
    let video = video.map(|(name, video)| (name, video.label, video.jitter_ms));
    let audio = catalog.audio.into_iter();
    let audio = audio.map(|(name, audio)| (name, audio.label, audio.jitter_ms));
    video.chain(audio).collect()
}

fn of(name: &str, label: &str, jitter: Option<u32>) -> (String, Option<String>, Option<u32>) {
    (name.to_owned(), Some(label.to_owned()), jitter)
}

#[test]
fn the_timer_of_a_publication_that_is_over_does_not_announce_the_next() {
    let publication = Arc::new(Publication::default());
    let begin = || {
        start(&publication, &[0, 1]);
        let writer = publication.open(0, None, ".opus", 80).expect("a track");
        publication.known(0, audio(), News::Known);
        writer
    };
    let _first = begin();
    let (old, _) = timer(&publication);
    drop(publication.stop());
    let _second = begin();
    let (new, _) = timer(&publication);
    assert_ne!(old, new);
    publication.announce_incomplete(old.expect("it waits for track 1"));
    assert_eq!(timer(&publication), (new, false));
    publication.announce_incomplete(new.expect("it waits for track 1"));
    assert!(timer(&publication).1);
}

/// Row 24: nobody loses a track that plays, because more of it is said.
#[test]
fn a_track_that_was_listed_before_its_order_was_known_stays_and_its_longer_wait_is_told() {
    let publication = Arc::new(Publication::default());
    start(&publication, &[0]);
    let _writer = publication.open(0, None, ".avc3", 60).expect("a track");
    publication.known(0, video("a", None), News::Provisional);
    assert_eq!(listed(&publication), []);
    let (waiting, _) = timer(&publication);
    publication.announce_incomplete(waiting.expect("it waits for the order"));
    assert_eq!(listed(&publication), [of("0.avc3", "a", None)]);

    publication.known(0, video("b", Some(40)), News::Provisional);
    assert_eq!(listed(&publication), [of("0.avc3", "a", None)]);
    assert_eq!(timer(&publication), (None, true), "nothing is waited for");

    publication.known(0, video("b", Some(100)), News::Known);
    assert_eq!(listed(&publication), [of("0.avc3", "b", Some(100))]);
    // The order is known; what was measured of an encoder is no reason for another catalog.
    publication.known(0, video("b", Some(101)), News::Known);
    assert_eq!(listed(&publication), [of("0.avc3", "b", Some(100))]);
}

/// Row 24.
#[test]
fn an_order_that_makes_nobody_wait_longer_than_was_told_is_no_reason_for_another_catalog() {
    let publication = Arc::new(Publication::default());
    start(&publication, &[0]);
    let _writer = publication.open(0, None, ".avc3", 60).expect("a track");
    publication.known(0, video("a", Some(40)), News::Provisional);
    let (waiting, _) = timer(&publication);
    publication.announce_incomplete(waiting.expect("it waits for the order"));
    publication.known(0, video("b", Some(40)), News::Known);
    assert_eq!(listed(&publication), [of("0.avc3", "a", Some(40))]);
}

#[test]
fn a_track_that_comes_later_waits_for_its_order_no_longer_than_those_at_the_start() {
    let publication = Arc::new(Publication::default());
    start(&publication, &[0, 1]);
    let _first = publication.open(0, None, ".opus", 80).expect("a track");
    publication.known(0, audio(), News::Known);
    let (old, _) = timer(&publication);
    let _second = publication.open(1, None, ".opus", 80).expect("a track");
    publication.known(1, audio(), News::Known);
    assert_eq!(timer(&publication), (None, true), "all are known");

    publication.add(2);
    let _third = publication.open(2, None, ".avc3", 60).expect("a track");
    publication.known(2, video("a", None), News::Provisional);
    assert_eq!(listed(&publication).len(), 2);
    let (new, _) = timer(&publication);
    publication.announce_incomplete(old.expect("it waited for track 1"));
    assert_eq!(listed(&publication).len(), 2, "that timer was for others");
    publication.announce_incomplete(new.expect("it waits for the order"));
    assert_eq!(listed(&publication)[0], of("2.avc3", "a", None));
    assert_eq!(listed(&publication).len(), 3);
}

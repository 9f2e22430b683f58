//! Picture and sound at the sinks of a [`View`] (row 1 of the peer's faults, T12 of the figures).

use super::{
    Seen,
    paths::{Feed, Sent, TOLERANCE_MS, View, millis, spread},
};

/// How long after its capture what is presented of a track is: median, smallest and largest, in ms.
pub fn after_capture(view: &View, sent: &[Sent], got: &[Seen]) -> (f64, f64, f64) {
    let after = |seen: &Seen| {
        let sent = sent.iter().rfind(|sent| sent.hash == seen.hash)?;
        Some(millis(view.presented(seen)? - sent.captured))
    };
    spread(got.iter().filter_map(after).collect())
}

/// Of what came in the last second, picture and sound are as far apart as they were captured.
pub fn assert_in_sync(view: &View, feed: &Feed) {
    let last = |sent: &[Sent], got: &[Seen], count: usize| {
        after_capture(view, sent, &got[got.len().saturating_sub(count)..]).0
    };
    let picture = last(&feed.video.all(), &view.video.all(), 30);
    let sound = last(&feed.audio.all(), &view.audio.all(), 50);
    eprintln!("presented {picture:.1} ms (picture) and {sound:.1} ms (sound) after capture");
    assert!(
        (picture - sound).abs() <= TOLERANCE_MS,
        "{picture} ms and {sound} ms"
    );
}

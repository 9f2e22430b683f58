//! A file that is read again and again: each pass begins in the past of the one before.

mod common;

use common::{Pipeline, init, paths};

/// See `src/policy/generation.rs`; and some for a machine that is busy. ns
const BACKLOG: i64 = 2_500_000_000;

/// Row 18, and the pipeline of moq-gst's manual, in which `identity sync=true` paces the first pass only.
#[test]
fn a_file_in_a_loop_goes_on_at_its_pace() {
    init();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("two-seconds.mp4");
    let maker = Pipeline::play(&format!(
        "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! \
         x264enc key-int-max=30 ! h264parse ! mp4mux fragment-duration=500 ! filesink location={file} ",
        file = file.display()
    ));
    maker.wait_eos();
    drop(maker);

    let relay = paths::relay();
    let publisher = Pipeline::play(&format!(
        "multifilesrc location={file} loop=true ! parsebin ! queue ! identity sync=true ! moqsink url={url} broadcast=loop.hang",
        file = file.display(),
        url = relay.url(),
    ));
    let player = Pipeline::play(&format!(
        "moqsrc url={url} broadcast=loop.hang ! fakesink name=video sync=false",
        url = relay.url()
    ));
    let seen = player.record("video").wait_count(300);
    drop(publisher);

    // Presented frames only: the first group is caught up with.
    let presented: Vec<_> = seen
        .iter()
        .filter_map(|seen| Some((seen.running?.nseconds() as i64, seen.at?.nseconds() as i64)))
        .collect();
    let (first, last) = (presented[0], presented[presented.len() - 1]);
    let frames = presented.len() as i64 - 1;
    let lasted = last.1 - first.1;
    // What begins again may be two seconds ahead of the clock, once: it might be the backlog of a live source.
    assert!(
        lasted > frames * 30_000_000 - BACKLOG,
        "{frames} frames of 33 ms came within {} ms",
        lasted / 1_000_000
    );
    // Running time goes on with the clock through every pass: nothing piles up, nothing jumps ahead.
    for (running, at) in presented {
        let early = running - at;
        assert!(
            early.abs() < BACKLOG,
            "a frame came {} ms before its time",
            early / 1_000_000
        );
    }
}

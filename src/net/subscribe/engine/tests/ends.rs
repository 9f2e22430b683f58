//! Tracks that end, and may begin again.

use super::*;

impl Sim {
    /// The video as a live publisher sends it from `from_ms` to `to_ms`, and the sound beside it until `sound_ms`.
    fn play(&mut self, from_ms: i64, to_ms: i64, sound_ms: i64) {
        for now in (from_ms..to_ms.max(sound_ms)).step_by(20) {
            let media = STARTED + now;
            if media % FRAME_MS == 0 && now < to_ms {
                self.video(media, now);
            }
            if now < sound_ms {
                self.audio(media, now);
            }
        }
    }

    fn finish_video(&mut self, now_ms: i64) {
        self.engine.track_finished(VIDEO);
        self.engine.advance(now_ms * MS);
    }
}

fn take(queue: &Queue, count: usize) -> Vec<Item<Arc<Rendition>>> {
    let pop = |_| match queue.pop() {
        Popped::Item(item) => item,
        Popped::Flushing => panic!("nobody flushes"),
    };
    (0..count).map(pop).collect()
}

/// Takes what was pushed until the end, which a streaming thread then tells downstream.
fn take_to_end(queue: &Queue) -> Vec<Item<Arc<Rendition>>> {
    let mut items = Vec::new();
    loop {
        items.extend(take(queue, 1));
        if items.last() == Some(&Item::Eos) {
            return items;
        }
    }
}

#[test]
fn a_track_that_begins_again_after_its_end_is_joined_at_the_live_edge() {
    let mut sim = Sim::new(Start::Live);
    sim.play(0, 1000, 1000);
    sim.finish_video(1000);
    let before = take_to_end(&sim.video);
    let last = frames(&before).last().expect("frames").pts;
    // The sound goes on meanwhile.
    sim.play(1000, 1000, 3000);
    assert!(!sim.engine.ended(|_| true));
    sim.play(3000, 4000, 4000);
    assert_eq!(sim.engine.take_resumed(), [VIDEO]);
    assert_eq!(sim.engine.take_resumed(), []);
    assert!(!sim.engine.is_finished(VIDEO));
    sim.video.resume();
    let after = drain(&sim.video);
    assert!(matches!(after[0], Item::Config(_)), "{after:?}");
    let start = segment(&after);
    assert!(
        (2960 * MS..3100 * MS).contains(&start) && start > last,
        "{start}"
    );
    let after = frames(&after);
    assert!(after[0].key && after[0].discont && after[0].resync);
    assert_eq!(after[0].media_us, (STARTED as u64 + 3000) * 1000);
    let offset = |frame: &Frame| frame.pts - frame.media_us as i64 * 1000;
    assert_eq!(offset(&after[0]), offset(&frames(&before)[0]));
    let audio = drain(&sim.audio);
    assert!(frames(&audio)[1..].iter().all(|packet| !packet.discont));
}

#[test]
fn what_a_relay_still_has_of_a_track_that_ended_is_not_played_again() {
    let mut sim = Sim::new(Start::Live);
    sim.play(0, 1000, 1000);
    sim.finish_video(1000);
    take_to_end(&sim.video);
    sim.play(1000, 1000, 2000);
    // Its last group comes with the next subscription, and its end.
    for media in (STARTED..STARTED + 1000).step_by(FRAME_MS as usize) {
        sim.video(media, 2000);
    }
    sim.finish_video(2000);
    sim.play(2000, 2000, 2500);
    assert!(sim.engine.is_finished(VIDEO));
    assert_eq!(sim.engine.take_resumed(), []);
    sim.video.push(Item::Eos);
    assert_eq!(take(&sim.video, 1), [Item::Eos], "nothing was pushed");
}

/// A flush makes downstream take data again, and would take from it what has not been shown.
#[test]
fn a_beginning_waits_until_what_preceded_the_end_was_presented() {
    let mut sim = Sim::new(Start::Live);
    sim.play(0, 1000, 1000);
    sim.finish_video(1000);
    take_to_end(&sim.video);
    // Group 1 follows at once.
    sim.play(1000, 1160, 1160);
    assert_eq!(sim.engine.take_resumed(), []);
    sim.play(1160, 1300, 1300);
    assert_eq!(sim.engine.take_resumed(), [VIDEO]);
}

#[test]
fn another_publisher_may_begin_what_the_first_had_ended() {
    let mut sim = Sim::new(Start::Live);
    sim.play(0, 1000, 1000);
    sim.finish_video(1000);
    take_to_end(&sim.video);
    sim.engine.change_publisher();
    sim.play(2000, 2500, 2500);
    assert_eq!(sim.engine.take_resumed(), [VIDEO]);
    sim.video.resume();
    let after = drain(&sim.video);
    assert!(matches!(after[0], Item::Config(_)), "{after:?}");
}

#[test]
fn a_pause_does_not_make_an_end_undone() {
    let mut sim = Sim::new(Start::Live);
    sim.play(0, 1000, 1000);
    sim.finish_video(1000);
    take_to_end(&sim.video);
    sim.engine.rejoin();
    sim.play(2000, 2000, 2500);
    assert!(sim.engine.is_finished(VIDEO));
}

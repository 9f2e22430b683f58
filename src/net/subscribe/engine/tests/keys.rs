//! When a video track needs a new key frame.

use super::*;

const GROUP: u64 = (STARTED / FRAME_MS / GOP) as u64;

impl Sim {
    /// The tracks that need one at this time.
    fn needs(&mut self, now_ms: i64) -> Vec<TrackId> {
        let now = now_ms * MS;
        self.engine.advance(now);
        let needs = |id: &TrackId| {
            let from = self.engine.needs_key_frame(*id, now);
            from.is_some_and(|from| from <= now)
        };
        [VIDEO, AUDIO].into_iter().filter(needs).collect()
    }
}

#[test]
fn a_group_that_is_given_up_leaves_a_need_until_the_next_one_comes() {
    let mut sim = Sim::new(Start::Live);
    assert_eq!(sim.needs(0), [], "joining needs nothing");
    sim.join(0, 0, 400);
    assert_eq!(sim.needs(400), []);
    sim.engine.group_ended(VIDEO, GROUP, GroupEnd::GivenUp);
    let sound = (STARTED / 1000) as u64;
    sim.engine.group_ended(AUDIO, sound, GroupEnd::GivenUp);
    assert_eq!(sim.needs(420), [VIDEO]);
    sim.video(STARTED + 1000, 1000);
    assert_eq!(sim.needs(1000), []);
}

#[test]
fn a_group_that_ends_or_is_cut_off_with_its_connection_leaves_none_at_once() {
    for end in [GroupEnd::Whole, GroupEnd::Broken] {
        let mut sim = Sim::new(Start::Live);
        sim.join(0, 0, 400);
        sim.engine.group_ended(VIDEO, GROUP, end);
        assert_eq!(sim.needs(420), [], "{end:?}");
    }
}

#[test]
fn a_picture_that_stands_is_a_need_until_another_one_comes() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 400);
    assert_eq!(sim.needs(890), []);
    let from = sim.engine.needs_key_frame(VIDEO, 890 * MS);
    assert_eq!(from, Some(900 * MS));
    assert_eq!(sim.needs(900), [VIDEO]);
    // The group goes on after all, and then playing begins anew.
    sim.video(STARTED + 440, 910);
    assert_eq!(sim.needs(910), []);
    sim.engine.rejoin();
    assert_eq!(sim.needs(5000), []);
}

#[test]
fn a_recording_needs_one_to_begin_with() {
    let mut sim = Sim::new(Start::NextGroup);
    sim.join(640, 0, 300);
    assert_eq!(sim.needs(300), [VIDEO]);
    sim.video(STARTED + 1000, 360);
    assert_eq!(sim.needs(360), []);
}

#[test]
fn a_track_that_has_ended_needs_nothing() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 400);
    sim.engine.group_ended(VIDEO, GROUP, GroupEnd::GivenUp);
    sim.engine.track_finished(VIDEO);
    assert_eq!(sim.needs(5000), []);
}

//! From where on, and by which mapping, a broadcast is presented: joins, and what begins anew or moves.

use super::{Engine, Start, Track};
use crate::policy::{Nanos, SECOND, timeline::TrackId};

/// A video track that sends nothing for this long is not waited for.
pub(super) const STALLED: Nanos = SECOND;

/// How long a recording waits for the next key frame.
const LONGEST_WAIT: Nanos = 15 * SECOND;

impl Engine {
    /// Starts anew with another publisher, at whom tracks that have ended may begin again.
    pub fn change_publisher(&mut self) {
        self.rejoin();
        for track in self.tracks.values_mut() {
            track.forget(self.latency);
        }
    }

    /// Starts anew at the live edge, as after a pause.
    pub fn rejoin(&mut self) {
        self.timeline.rejoin();
        self.edge = None;
        self.settled = None;
        for track in self.tracks.values_mut() {
            track.rejoin();
        }
    }

    /// Media time left its continuity: what was held from before is not presented any more.
    pub(super) fn jumped(&mut self, by: TrackId, seq: u64) {
        for (id, track) in &mut self.tracks {
            track.held.clear();
            track.last_media = None;
            // What was pushed ahead was taken to be of other times.
            track.ahead = None;
            if let Some(dts) = &mut track.dts {
                dts.reset();
            }
            if *id == by {
                track.reorder.start_at(seq);
            }
        }
        self.reanchor();
    }

    /// The mapping moved by more than the latency absorbs.
    pub(super) fn reanchor(&mut self) {
        self.edge = None;
        self.settled = None;
        for track in self.tracks.values_mut() {
            track.edge = None;
            track.rejoined = true;
            track.discont = true;
        }
    }

    /// Everything is presented earlier than it was thought to be, from now on. A track loses as much as it was ahead by that, and none
    /// what another one was ahead by.
    pub(super) fn step_back(&mut self, now: Nanos) {
        // Earlier than this is late already.
        self.edge = self.edge.map(|_| now - self.latency);
        for track in self.tracks.values_mut() {
            track.edge = None;
            track.discont = true;
        }
    }

    /// Where this epoch's segment starts, once that is known.
    pub(super) fn join_edge(&mut self, live_edge: Nanos, now: Nanos) -> Option<Nanos> {
        let pushed = self.tracks.values().filter_map(|track| track.pushed_until);
        let floor = pushed.max().unwrap_or(0).max(0);
        let settled = *self.settled.get_or_insert(now);
        let live = |track: &&Track| {
            let heard = track.heard.unwrap_or(settled).max(settled);
            track.rendition.is_video() && now - heard < STALLED
        };
        let mut videos = self.tracks.values().filter(live).peekable();
        if self.start == Start::Live {
            return Some(live_edge.max(floor));
        }
        // No picture is coming, or no key frame: what else there is must not wait for ever.
        if videos.peek().is_none() || now - settled > LONGEST_WAIT {
            let edge = self.timeline.live_edge(now).unwrap_or(live_edge);
            return Some(edge.max(floor));
        }
        videos
            .filter_map(|track| track.held.iter().find(|ready| ready.key))
            .filter_map(|ready| self.timeline.to_running(ready.media))
            .min()
            .map(|first| first.max(floor))
    }
}

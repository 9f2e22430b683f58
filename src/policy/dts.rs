//! Decoding timestamps from presentation timestamps.
//!
//! Containers of MoQ carry presentation time only, in decoding order. With a reorder depth of n frames the
//! decoding time of a frame is the n-th last of the presentation times sorted so far: never after its own
//! presentation time, and without waiting for frames to come (ITU-T H.264 C.4.5.3, `max_num_reorder_frames`).

use super::{MILLISECOND, Nanos};

/// The most that H.264 and H.265 may reorder by.
const DEEPEST: usize = 16;

/// The step back from the first frames when nothing is known of the frame rate.
const UNKNOWN_DURATION: Nanos = 10 * MILLISECOND;

/// Makes decoding timestamps for one stream. See the module.
#[derive(Debug, Clone)]
pub struct Dts {
    depth: usize,
    duration: Nanos,
    /// Presentation times that have not become decoding times yet, ascending.
    pending: Vec<Nanos>,
    /// Frames since the last reset, as far as they matter: up to the depth.
    started: usize,
    last: Option<Nanos>,
    raised: u64,
}

impl Dts {
    /// For a stream that reorders by up to `reorder_depth` frames (at most 16) of `frame_duration` each.
    pub fn new(reorder_depth: usize, frame_duration: Option<Nanos>) -> Self {
        Self {
            depth: reorder_depth.min(DEEPEST),
            duration: frame_duration
                .filter(|&d| d > 0)
                .unwrap_or(UNKNOWN_DURATION),
            pending: Vec::with_capacity(DEEPEST + 1),
            started: 0,
            last: None,
            raised: 0,
        }
    }

    /// The decoding time of the next frame in decoding order: at most `pts`, and later than the one
    /// before. The first frames take theirs from before the first presentation time.
    ///
    /// When the stream reorders by more than was said there may be no such time: then it is `pts`,
    /// earlier than the one before, and the depth is raised, so that the next ones are in order again.
    pub fn next(&mut self, pts: Nanos) -> Nanos {
        let at = self.pending.partition_point(|&other| other <= pts);
        self.pending.insert(at, pts);
        let wanted = self.candidate();
        let dts = match self.last {
            Some(last) if last >= pts => {
                if last > pts && self.depth < DEEPEST {
                    self.depth += 1;
                    self.raised += 1;
                }
                pts
            }
            Some(last) => wanted.max(last.saturating_add(1)).min(pts),
            None => wanted.min(pts),
        };
        self.last = Some(dts);
        dts
    }

    fn candidate(&mut self) -> Nanos {
        let smallest = self.pending[0];
        if self.started < self.depth {
            let back = (self.depth - self.started) as Nanos;
            self.started += 1;
            return smallest.saturating_sub(back.saturating_mul(self.duration));
        }
        if self.pending.len() > self.depth {
            return self.pending.remove(0);
        }
        // The depth has just been raised: one frame has no presentation time to take.
        smallest.saturating_sub(self.duration)
    }

    /// Starts anew at a discontinuity. A depth that was raised stays.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.started = 0;
        self.last = None;
    }

    /// Starts anew after a skip within one time line: the next decoding times still come after the last one.
    pub fn skip(&mut self) {
        let last = self.last;
        self.reset();
        self.last = last;
    }

    /// By how many frames the stream reorders, as far as known.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// How often the depth turned out to be too small; each time one decoding time went back.
    pub fn raised(&self) -> u64 {
        self.raised
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: Nanos = 40 * MILLISECOND;

    fn all(dts: &mut Dts, pts: &[Nanos]) -> Vec<Nanos> {
        pts.iter().map(|&pts| dts.next(pts * T)).collect()
    }

    fn check(pts: &[Nanos], dts: &[Nanos]) {
        assert!(pts.iter().zip(dts).all(|(&pts, &dts)| dts <= pts * T));
        assert!(dts.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn without_reordering_dts_is_pts() {
        let mut dts = Dts::new(0, Some(T));
        assert_eq!(all(&mut dts, &[0, 1, 2, 7]), [0, T, 2 * T, 7 * T]);
    }

    #[test]
    fn ibbp_is_one_frame_behind() {
        let pts = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8];
        let got = all(&mut Dts::new(1, Some(T)), &pts);
        assert_eq!(got, (-1..9).map(|n| n * T).collect::<Vec<_>>());
        check(&pts, &got);
    }

    #[test]
    fn a_pyramid_is_as_far_behind_as_it_is_deep() {
        let pts = [0, 8, 4, 2, 1, 3, 6, 5, 7, 16, 12, 10, 9, 11, 14, 13, 15];
        let got = all(&mut Dts::new(3, Some(T)), &pts);
        assert_eq!(got, (-3..14).map(|n| n * T).collect::<Vec<_>>());
        check(&pts, &got);
    }

    #[test]
    fn a_depth_said_too_large_costs_nothing_but_earlier_dts() {
        let pts = [0, 3, 1, 2, 6, 4, 5];
        let got = all(&mut Dts::new(4, None), &pts);
        check(&pts, &got);
    }

    #[test]
    fn a_depth_said_too_small_is_raised_and_order_comes_back() {
        let pts = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11];
        let mut dts = Dts::new(0, Some(T));
        let got = all(&mut dts, &pts);
        assert_eq!((dts.depth(), dts.raised()), (1, 1));
        assert!(pts.iter().zip(&got).all(|(&pts, &dts)| dts <= pts * T));
        check(&pts[2..], &got[2..]);
    }

    #[test]
    fn leading_pictures_of_an_open_gop_stay_in_order() {
        let pts = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8];
        check(&pts, &all(&mut Dts::new(1, Some(T)), &pts));
    }

    #[test]
    fn leading_pictures_of_the_very_first_frame_cost_one_step_back() {
        let pts = [2, 0, 1, 5, 3, 4, 8, 6, 7];
        let mut dts = Dts::new(1, Some(T));
        let got = all(&mut dts, &pts);
        assert_eq!(dts.raised(), 1);
        assert!(pts.iter().zip(&got).all(|(&pts, &dts)| dts <= pts * T));
        check(&pts[1..], &got[1..]);
    }

    #[test]
    fn after_a_reset_nothing_of_before_counts() {
        let mut dts = Dts::new(1, Some(T));
        all(&mut dts, &[100, 103, 101]);
        dts.reset();
        assert_eq!(all(&mut dts, &[0, 3, 1]), [-T, 0, T]);
    }

    #[test]
    fn after_a_skip_dts_goes_on_rising() {
        let mut dts = Dts::new(2, Some(T));
        let before = all(&mut dts, &[0, 4, 2, 1, 3]);
        dts.skip();
        let after = all(&mut dts, &[5, 9, 7, 6, 8]);
        assert!(before.last() < after.first());
        check(&[5, 9, 7, 6, 8], &after);
    }

    /// A stream in decoding order whose depth is known: mini-GOPs of one reference and its B-frames.
    fn stream() -> impl Strategy<Value = Vec<Nanos>> {
        prop::collection::vec(0..8i64, 1..40).prop_map(|bs| {
            let mut pts = vec![0];
            let mut shown = 0;
            for b in bs {
                pts.push(shown + b + 1);
                pts.extend((1..=b).map(|n| shown + n));
                shown += b + 1;
            }
            pts
        })
    }

    proptest! {
        #[test]
        fn with_the_right_depth_or_more_dts_rises_and_is_never_after_pts(
            pts in stream(), depth in 1..6usize,
        ) {
            let mut dts = Dts::new(depth, Some(T));
            let got = all(&mut dts, &pts);
            check(&pts, &got);
            prop_assert_eq!(dts.raised(), 0);
        }

        #[test]
        fn whatever_comes_dts_is_never_after_pts_and_memory_is_bounded(
            pts in prop::collection::vec(any::<i64>(), 0..300), depth in 0..40usize,
        ) {
            let mut dts = Dts::new(depth, None);
            for pts in pts {
                prop_assert!(dts.next(pts) <= pts);
                prop_assert!(dts.pending.len() <= DEEPEST + 1);
            }
        }
    }
}

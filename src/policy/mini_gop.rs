//! How long pictures wait for others: B-frames are decoded behind a picture that is shown after them.
//!
//! Counted in pictures, so that a camera that stalls or trembles changes nothing.

use super::Nanos;

/// The most that H.264 and H.265 may reorder by.
const DEEPEST: usize = 16;

/// Pictures that are shown after all before them until the order of a stream has shown itself: a key picture, and both ends of
/// the first run of B-frames, if it has any.
const TELLING: u32 = 3;

/// Looks at the presentation times of one stream, in decoding order. See the module.
#[derive(Debug, Clone, Default)]
pub struct MiniGop {
    /// The latest presentation times since the stream last broke off, ascending.
    recent: Vec<Nanos>,
    /// Pictures since the last one that was shown after all before it.
    run: usize,
    /// The longest of such runs.
    longest_run: usize,
    /// By how many pictures the stream reorders.
    depth: usize,
    advanced: u32,
}

impl MiniGop {
    /// The next picture in decoding order.
    pub fn next(&mut self, pts: Nanos) {
        let at = self.recent.partition_point(|&other| other <= pts);
        let shown_later = self.recent.len() - at;
        if shown_later == 0 {
            self.run = 0;
            self.advanced = self.advanced.saturating_add(1);
        } else {
            self.run += 1;
        }
        self.longest_run = self.longest_run.max(self.run.min(DEEPEST));
        self.depth = self.depth.max(shown_later.min(DEEPEST));
        self.recent.insert(at, pts);
        if self.recent.len() > DEEPEST {
            self.recent.remove(0);
        }
    }

    /// What comes next does not continue what came before. What is known of the stream stays.
    pub fn restart(&mut self) {
        self.recent.clear();
        self.run = 0;
    }

    /// The order has shown itself, as far as the stream keeps to it.
    pub fn is_known(&self) -> bool {
        self.advanced >= TELLING
    }

    /// How many pictures later than the earliest one, against presentation, the latest picture comes when they come one by one in
    /// decoding order: 0 without B-frames. It only rises.
    ///
    /// The picture in front of a run of n B-frames comes n pictures early, and by the depth of the pyramid earlier than the
    /// last of them, which comes when it is due.
    pub fn wait(&self) -> usize {
        match self.longest_run {
            0 => 0,
            run => run + self.depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(pts: &[Nanos]) -> MiniGop {
        let mut order = MiniGop::default();
        pts.iter().for_each(|&pts| order.next(pts * 40));
        order
    }

    #[test]
    fn without_b_frames_nothing_waits_and_the_third_picture_tells() {
        let order = after(&[0, 1]);
        assert!(!order.is_known());
        let order = after(&[0, 1, 2]);
        assert_eq!((order.is_known(), order.wait()), (true, 0));
    }

    /// Each row with what comes one by one in decoding order, and when it is due.
    #[test]
    fn a_run_of_b_frames_and_its_pyramid_are_waited_for() {
        for (pts, wait) in [
            // IPB, decoded at -1, 0, 1 …: P comes two before it is due.
            (&[0, 2, 1, 4, 3][..], 2),
            // Three in a row.
            (&[0, 4, 1, 2, 3, 8], 4),
            // Of them, the middle one first.
            (&[0, 4, 2, 1, 3, 8], 5),
            // An open GOP in the middle.
            (&[0, 3, 1, 2, 6, 4, 5, 9], 3),
        ] {
            assert_eq!(after(pts).wait(), wait, "{pts:?}");
            assert!(after(pts).is_known());
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_known_and_goes_on_anew() {
        let mut order = after(&[100, 102, 101, 104]);
        order.restart();
        order.next(0);
        order.next(40);
        assert_eq!((order.is_known(), order.wait()), (true, 2));
    }

    proptest! {
        /// With the decoding times that are made of the same depth, no picture waits for longer.
        #[test]
        fn it_is_the_spread_between_decoding_and_presentation(runs in proptest::collection::vec(0usize..6, 1..12)) {
            let (mut pts, mut shown) = (vec![0], 0);
            for run in runs {
                let first = shown + 1;
                shown += run as Nanos + 1;
                pts.push(shown);
                pts.extend(first..shown);
            }
            let order = after(&pts);
            let depth = order.depth;
            let ahead = |(at, pts): (usize, &Nanos)| pts - (at as Nanos - depth as Nanos);
            let all = || pts.iter().enumerate().map(ahead);
            let spread = all().max().unwrap() - all().min().unwrap();
            prop_assert_eq!(order.wait() as Nanos, spread);
        }
    }
}

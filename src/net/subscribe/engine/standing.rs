//! Whether a picture stands: nothing follows it, where something should.

use crate::policy::{MILLISECOND, Nanos};

/// A picture stands that was not followed by another for so long, …
const STANDS: Nanos = 500 * MILLISECOND;

/// … for so many times the usual, …
const INTERVALS: Nanos = 5;

/// … and for so many times the longest pause of late: a screen that mostly does not change has nothing to say.
const PAUSES: Nanos = 2;

/// With each picture the longest pause of late counts less, by one part in so many.
const FORGETS: Nanos = 64;

/// When the pictures of a track came.
#[derive(Debug, Default)]
pub(super) struct Standing {
    last: Option<Nanos>,
    pause: Nanos,
}

impl Standing {
    /// A picture came.
    pub(super) fn note(&mut self, now: Nanos) {
        let pause = self.last.replace(now).map_or(0, |last| now - last);
        self.pause = pause.max(self.pause - self.pause / FORGETS);
    }

    /// What came before says nothing any more.
    pub(super) fn reset(&mut self) {
        self.last = None;
    }

    /// From when on the last picture stands; `interval` is usual between two.
    pub(super) fn from(&self, interval: Option<Nanos>) -> Option<Nanos> {
        let usual = interval.unwrap_or(0).saturating_mul(INTERVALS);
        let patience = STANDS.max(usual).max(self.pause.saturating_mul(PAUSES));
        self.last.map(|last| last.saturating_add(patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SECOND;

    #[test]
    fn a_picture_stands_after_a_while_that_depends_on_the_rate() {
        let mut standing = Standing::default();
        assert_eq!(standing.from(None), None, "nothing came yet");
        standing.note(SECOND);
        let interval = 33 * MILLISECOND;
        assert_eq!(standing.from(Some(interval)), Some(SECOND + STANDS));
        assert_eq!(standing.from(Some(SECOND)), Some(6 * SECOND));
        standing.reset();
        assert_eq!(standing.from(None), None);
    }

    #[test]
    fn a_screen_that_seldom_changes_stands_later_until_that_is_long_ago() {
        let mut standing = Standing::default();
        standing.note(0);
        standing.note(2 * SECOND);
        assert_eq!(standing.from(None), Some(6 * SECOND));
        let mut now = 2 * SECOND;
        for _ in 0..200 {
            now += 33 * MILLISECOND;
            standing.note(now);
        }
        assert_eq!(standing.from(None), Some(now + STANDS));
    }
}

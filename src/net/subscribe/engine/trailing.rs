//! Whether the pictures come too late for good: a path behind the relay that does not carry them, in a group that goes on.

use crate::policy::{MILLISECOND, Nanos, outbox::catches_up};

/// For so long it must have been getting no better.
const TREND: Nanos = 250 * MILLISECOND;

/// Nobody is as impatient as to mind less.
const LEAST: Nanos = 50 * MILLISECOND;

/// How late the pictures of the newest group are.
#[derive(Debug, Default)]
pub(super) struct Trailing {
    group: u64,
    /// When they began to be late, and how late they were then.
    began: Option<(Nanos, Nanos)>,
    /// How late the last one was, and when.
    last: (Nanos, Nanos),
    /// How late a picture may be.
    limit: Nanos,
}

impl Trailing {
    /// A picture of `group` came at `now`, so late for its presentation; early ones are late by less than nothing. By half of
    /// `latency` late, a picture is still better than none until the next key frame.
    pub(super) fn note(&mut self, group: u64, now: Nanos, late: Nanos, latency: Nanos) {
        if group < self.group {
            return;
        }
        if group > self.group {
            self.began = None;
            self.group = group;
        }
        self.last = (now, late);
        self.limit = (latency / 2).max(LEAST);
        if late > 0 {
            self.began.get_or_insert((now, late));
        } else {
            self.began = None;
        }
    }

    /// What came before says nothing any more.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether that will not get better.
    pub(super) fn is_hopeless(&self) -> bool {
        let (Some((began, before)), (now, late)) = (self.began, self.last) else {
            return false;
        };
        let span = now.saturating_sub(began);
        let amount = |late: Nanos| late.max(0).unsigned_abs();
        late > self.limit && span >= TREND && !catches_up(amount(before), amount(late), span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SECOND;

    const LATENCY: Nanos = 200 * MILLISECOND;
    const FRAME: Nanos = 33 * MILLISECOND;

    /// Pictures of a group from `now` on, which are late by what `late` says of the time since then.
    fn come(trailing: &mut Trailing, group: u64, now: Nanos, late: impl Fn(Nanos) -> Nanos) {
        for since in (0..SECOND).step_by(FRAME as usize) {
            trailing.note(group, now + since, late(since), LATENCY);
        }
    }

    #[test]
    fn pictures_that_come_later_and_later_are_hopeless_until_a_newer_group_comes() {
        let mut trailing = Trailing::default();
        come(&mut trailing, 0, 0, |since| since / 4 - LATENCY);
        assert!(!trailing.is_hopeless(), "in time");
        come(&mut trailing, 0, SECOND, |since| {
            50 * MILLISECOND + since / 4
        });
        assert!(trailing.is_hopeless());
        trailing.note(1, 2 * SECOND, -LATENCY, LATENCY);
        assert!(!trailing.is_hopeless());
        // What still comes of the old one is no news.
        come(&mut trailing, 0, 2 * SECOND, |_| SECOND);
        assert!(!trailing.is_hopeless());
    }

    #[test]
    fn a_burst_that_catches_up_is_waited_for() {
        let mut trailing = Trailing::default();
        come(&mut trailing, 0, 0, |since| {
            900 * MILLISECOND - since * 3 / 4
        });
        assert!(!trailing.is_hopeless());
    }

    #[test]
    fn what_stays_late_by_the_same_is_hopeless() {
        let mut trailing = Trailing::default();
        come(&mut trailing, 0, 0, |_| 120 * MILLISECOND);
        assert!(trailing.is_hopeless());
        trailing.reset();
        assert!(!trailing.is_hopeless());
    }
}

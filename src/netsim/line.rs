//! What is under way: a delay line bounded in packets and bytes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Bounds of a delay line. They bound memory and are no feature of a path: 64 MiB are 0.5 s at 1 Gbit/s.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineLimits {
    pub(super) packets: usize,
    pub(super) bytes: usize,
}

impl Default for LineLimits {
    fn default() -> Self {
        Self {
            packets: 65_536,
            bytes: 64 << 20,
        }
    }
}

/// Items that each wait for their time. Items of the same time leave in the order in which they came.
#[derive(Debug)]
pub(super) struct DelayLine<T> {
    limits: LineLimits,
    heap: BinaryHeap<Reverse<Entry<T>>>,
    bytes: usize,
    next_number: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Duration,
    number: u64,
    bytes: usize,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> DelayLine<T> {
    pub(super) fn new(limits: LineLimits) -> Self {
        Self {
            limits,
            heap: BinaryHeap::new(),
            bytes: 0,
            next_number: 0,
        }
    }

    /// Whether an item of `bytes` would be taken.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.heap.len() < self.limits.packets
            && self.bytes.saturating_add(bytes) <= self.limits.bytes
    }

    /// Keeps `item` until `at`; gives it back if the line is full.
    pub(super) fn push(&mut self, at: Duration, bytes: usize, item: T) -> Result<(), T> {
        if !self.has_room(bytes) {
            return Err(item);
        }
        self.bytes += bytes;
        let number = self.next_number;
        self.next_number += 1;
        self.heap.push(Reverse(Entry {
            at,
            number,
            bytes,
            item,
        }));
        Ok(())
    }

    /// The next item whose time has come.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.bytes -= entry.bytes;
        Some(entry.item)
    }

    /// When the next item is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn items_leave_at_their_time_and_ties_in_order_of_arrival() {
        let mut line = DelayLine::new(LineLimits::default());
        for (at, item) in [(20, 'c'), (10, 'a'), (20, 'd'), (10, 'b')] {
            line.push(ms(at), 1, item).unwrap();
        }
        assert_eq!(line.next_at(), Some(ms(10)));
        assert_eq!(line.pop_due(ms(9)), None);
        let due = |line: &mut DelayLine<char>, now| {
            std::iter::from_fn(|| line.pop_due(now)).collect::<String>()
        };
        assert_eq!(due(&mut line, ms(10)), "ab");
        assert_eq!(due(&mut line, ms(30)), "cd");
        assert_eq!((line.next_at(), line.len(), line.bytes()), (None, 0, 0));
    }

    #[test]
    fn a_full_line_takes_nothing_until_something_left() {
        let limits = LineLimits {
            packets: 2,
            bytes: 100,
        };
        let mut line = DelayLine::new(limits);
        line.push(ms(1), 60, 'a').unwrap();
        assert_eq!(line.push(ms(1), 60, 'b'), Err('b'), "bytes");
        line.push(ms(1), 40, 'c').unwrap();
        assert_eq!(line.push(ms(1), 0, 'd'), Err('d'), "packets");
        assert_eq!(line.pop_due(ms(1)), Some('a'));
        line.push(ms(1), 60, 'e').unwrap();
    }
}

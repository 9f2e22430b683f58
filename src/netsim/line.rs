//! What is under way: a delay line.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Bounds of what is under way. They bound memory and are no feature of a path: 64 MiB are 0.5 s at 1 Gbit/s.
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
#[derive(Debug, Clone)]
pub(super) struct DelayLine<T> {
    /// Items in the order of their times, which is how most come.
    fifo: VecDeque<Entry<T>>,
    /// Those that came later than one with a later time.
    heap: BinaryHeap<Reverse<Entry<T>>>,
    bytes: usize,
    next_number: u64,
}

impl<T> Default for DelayLine<T> {
    fn default() -> Self {
        Self {
            fifo: VecDeque::new(),
            heap: BinaryHeap::new(),
            bytes: 0,
            next_number: 0,
        }
    }
}

#[derive(Debug, Clone)]
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
    /// Keeps `item` until `at`.
    pub(super) fn push(&mut self, at: Duration, bytes: usize, item: T) {
        self.bytes += bytes;
        let number = self.next_number;
        self.next_number += 1;
        let entry = Entry {
            at,
            number,
            bytes,
            item,
        };
        match self.fifo.back() {
            Some(last) if last.at > at => self.heap.push(Reverse(entry)),
            _ => self.fifo.push_back(entry),
        }
    }

    /// The next item whose time has come, and its time.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<(Duration, T)> {
        if self.next_at()? > now {
            return None;
        }
        let entry = if self.heap_is_next() {
            self.heap.pop()?.0
        } else {
            self.fifo.pop_front()?
        };
        self.bytes -= entry.bytes;
        Some((entry.at, entry.item))
    }

    fn heap_is_next(&self) -> bool {
        match (self.heap.peek(), self.fifo.front()) {
            (Some(Reverse(heap)), Some(fifo)) => heap < fifo,
            (heap, _) => heap.is_some(),
        }
    }

    /// When the next item is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let heap = self.heap.peek().map(|Reverse(entry)| entry.at);
        let fifo = self.fifo.front().map(|entry| entry.at);
        heap.into_iter().chain(fifo).min()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len() + self.fifo.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn items_leave_at_their_time_and_ties_in_order_of_arrival() {
        let mut line = DelayLine::default();
        for (at, item) in [(20, 'c'), (10, 'a'), (20, 'd'), (10, 'b')] {
            line.push(ms(at), 1, item);
        }
        assert_eq!(line.next_at(), Some(ms(10)));
        assert_eq!(line.pop_due(ms(9)), None);
        let due = |line: &mut DelayLine<char>, now| {
            std::iter::from_fn(|| line.pop_due(now).map(|(_, item)| item)).collect::<String>()
        };
        assert_eq!(due(&mut line, ms(10)), "ab");
        assert_eq!(due(&mut line, ms(30)), "cd");
        assert_eq!((line.next_at(), line.len(), line.bytes()), (None, 0, 0));
    }

    proptest! {
        #[test]
        fn a_line_is_a_stable_sort(times in prop::collection::vec(0u64..50, 0..200)) {
            let mut line = DelayLine::default();
            let mut expected: Vec<_> = times.iter().map(|at| ms(*at)).zip(0..).collect();
            for (at, item) in &expected {
                line.push(*at, 1, *item);
            }
            expected.sort_by_key(|(at, _)| *at);
            let left: Vec<_> = std::iter::from_fn(|| line.pop_due(ms(50))).collect();
            prop_assert_eq!(left, expected);
        }
    }
}

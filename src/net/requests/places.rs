//! Which of the players that are announced are listened to.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Players that are listened to at the same time. They have a place while they wait for a key frame and shortly after; what one above it
/// waits for, others of the same track wait for, too.
pub const MAX_REQUESTERS: usize = 64;

/// Players that wait for a place; strangers can announce any number.
pub const MAX_WAITING: usize = 1024;

/// Who says nothing new for so long leaves its place to another, and waits as long before it takes one from others.
pub const QUIET: Duration = Duration::from_secs(10);

/// A player, and what is known of it while it is announced.
#[derive(Clone)]
pub struct Requester {
    pub path: String,
    /// A leaf.
    pub said: Arc<Mutex<Said>>,
}

/// Of what a requester said.
pub struct Said {
    /// Of what was heard last.
    pub seq: Option<u64>,
    pub told_malformed: bool,
    /// When it said something new, or began to be listened to.
    pub at: Instant,
    /// It is not listened to any more.
    pub over: bool,
}

struct Waiting {
    requester: Requester,
    /// When it may take the place of a quiet one.
    from: Instant,
}

/// The places, and who waits for one. `R` is what listens; dropping it ends that.
pub struct Places<R> {
    taken: HashMap<String, (Requester, R)>,
    /// Only when all places are taken, once [`Self::fill`] was called.
    waiting: VecDeque<Waiting>,
}

impl<R> Places<R> {
    pub fn new() -> Self {
        Self {
            taken: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// How many are listened to.
    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    /// A requester is announced. It is forgotten when too many wait.
    pub fn announced(&mut self, path: String, now: Instant) {
        let waits = |waiting: &Waiting| waiting.requester.path == path;
        if self.waiting.len() >= MAX_WAITING
            || self.taken.contains_key(&path)
            || self.waiting.iter().any(waits)
        {
            return;
        }
        let said = Said {
            seq: None,
            told_malformed: false,
            at: now,
            over: false,
        };
        let said = Arc::new(Mutex::new(said));
        let requester = Requester { path, said };
        let from = now;
        self.waiting.push_back(Waiting { requester, from });
    }

    /// A requester is gone.
    pub fn retracted(&mut self, path: &str) {
        if self.taken.remove(path).is_none() {
            self.waiting.retain(|it| it.requester.path != path);
        }
    }

    /// Has those listened to that there is a place for, in the order in which they came.
    pub fn fill(&mut self, now: Instant, mut listen: impl FnMut(&Requester) -> R) {
        while let Some(next) = self.next(now) {
            next.said.lock().at = now;
            let reader = listen(&next);
            self.taken.insert(next.path.clone(), (next, reader));
        }
    }

    /// When to call [`Self::fill`] again, if nothing is announced, retracted or over before.
    pub fn wake(&self) -> Option<Instant> {
        let from = self.waiting.iter().map(|waiting| waiting.from).min()?;
        let (_, lapse) = self.first_to_lapse()?;
        Some(from.max(lapse))
    }

    /// Takes one that waits, for whom a place is free or becomes so.
    fn next(&mut self, now: Instant) -> Option<Requester> {
        if self.taken.len() < MAX_REQUESTERS {
            return self.waiting.pop_front().map(|waiting| waiting.requester);
        }
        let next = self.waiting.iter().position(|it| it.from <= now)?;
        let (path, _) = self.first_to_lapse().filter(|(_, lapse)| *lapse <= now)?;
        let path = path.to_owned();
        let next = self.waiting.remove(next)?;
        if let Some((requester, _)) = self.taken.remove(&path)
            && !requester.said.lock().over
        {
            let from = now + QUIET;
            self.waiting.push_back(Waiting {
                requester: requester.clone(),
                from,
            });
        }
        Some(next.requester)
    }

    /// Whose place lapses first, and when.
    fn first_to_lapse(&self) -> Option<(&str, Instant)> {
        let lapses = self.taken.iter().map(|(path, (requester, _))| {
            let said = requester.said.lock();
            let wait = if said.over { Duration::ZERO } else { QUIET };
            (path.as_str(), said.at + wait)
        });
        lapses.min_by_key(|(_, lapse)| *lapse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All places are taken, and so many wait for one.
    fn full(waiting: usize, now: Instant) -> (Places<()>, Vec<String>) {
        let mut places = Places::new();
        for n in 0..MAX_REQUESTERS + waiting {
            places.announced(format!("{n:04}"), now);
        }
        let begun = fill(&mut places, now);
        (places, begun)
    }

    fn fill(places: &mut Places<()>, now: Instant) -> Vec<String> {
        let mut begun = Vec::new();
        places.fill(now, |requester| begun.push(requester.path.clone()));
        begun
    }

    fn said(places: &Places<()>, path: &str, change: impl FnOnce(&mut Said)) {
        change(&mut places.taken[path].0.said.lock());
    }

    #[test]
    fn who_waits_is_listened_to_when_another_goes_away_or_is_over() {
        let now = Instant::now();
        let (mut places, begun) = full(3, now);
        assert_eq!(begun.len(), MAX_REQUESTERS);
        places.announced("0000".into(), now);
        places.announced("0064".into(), now);
        places.retracted("0065");
        places.retracted("0001");
        assert_eq!(fill(&mut places, now), ["0064"]);
        said(&places, "0002", |said| said.over = true);
        assert_eq!(places.wake(), Some(now));
        assert_eq!(fill(&mut places, now), ["0066"]);
        assert_eq!(
            (places.taken(), places.wake()),
            (MAX_REQUESTERS, None),
            "who is over does not wait, nor does any other twice"
        );
    }

    #[test]
    fn who_is_quiet_leaves_its_place_and_has_it_again_when_others_are() {
        let now = Instant::now();
        let (mut places, _) = full(1, now);
        let later = now + QUIET;
        assert_eq!(places.wake(), Some(later));
        assert!(fill(&mut places, later - Duration::from_millis(1)).is_empty());
        for n in 1..MAX_REQUESTERS {
            said(&places, &format!("{n:04}"), |said| said.at = later);
        }
        said(&places, "0000", |said| said.seq = Some(7));
        assert_eq!(fill(&mut places, later), ["0064"]);
        assert_eq!(places.wake(), Some(later + QUIET));
        assert!(fill(&mut places, later).is_empty());
        assert_eq!(fill(&mut places, later + QUIET), ["0000"]);
        said(&places, "0000", |said| assert_eq!(said.seq, Some(7)));
    }

    #[test]
    fn they_that_wait_are_bounded_and_come_before_those_that_had_a_place() {
        let now = Instant::now();
        let (mut places, _) = full(0, now);
        for n in 0..2 * MAX_WAITING {
            places.announced(format!("w{n:04}"), now);
        }
        let mut heard = Vec::new();
        for turn in 1..=MAX_WAITING / MAX_REQUESTERS {
            let now = now + QUIET * u32::try_from(turn).expect("few");
            heard.append(&mut fill(&mut places, now));
            assert!(places.waiting.len() <= MAX_WAITING);
        }
        heard.sort();
        let waited: Vec<_> = (0..MAX_WAITING).map(|n| format!("w{n:04}")).collect();
        assert_eq!(heard, waited);
    }
}

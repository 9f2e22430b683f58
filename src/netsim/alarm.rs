//! Wakes tasks on time: tokio's timer has a grain of 1 ms, which is coarse for a path of a few milliseconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Notifies `whom` at this time or a fraction of a millisecond later, as busy as the system is. `false` if
/// there is no thread to do so.
pub(super) fn ring(at: Instant, whom: Arc<Notify>) -> bool {
    static CLOCK: OnceLock<Option<Arc<Clock>>> = OnceLock::new();
    let Some(clock) = CLOCK.get_or_init(Clock::start) else {
        return false;
    };
    clock.add(at, whom);
    true
}

/// One thread for all alarms of the process. It sleeps while there are none.
#[derive(Default)]
struct Clock {
    alarms: Mutex<Alarms>,
    sooner: Condvar,
}

#[derive(Default)]
struct Alarms {
    /// The next one first; the number is the place in `whom`.
    times: BinaryHeap<Reverse<(Instant, usize)>>,
    whom: Vec<Option<Arc<Notify>>>,
    free: Vec<usize>,
}

impl Clock {
    fn start() -> Option<Arc<Self>> {
        let clock = Arc::<Self>::default();
        let run = clock.clone();
        let thread = thread::Builder::new().name("netsim-clock".to_owned());
        match thread.spawn(move || run.run()) {
            Ok(_) => Some(clock),
            Err(error) => {
                tracing::debug!(%error, "no thread for fine timers");
                None
            }
        }
    }

    fn add(&self, at: Instant, whom: Arc<Notify>) {
        let mut alarms = self.alarms.lock();
        let place = alarms.free.pop().unwrap_or(alarms.whom.len());
        if place == alarms.whom.len() {
            alarms.whom.push(Some(whom));
        } else {
            alarms.whom[place] = Some(whom);
        }
        let first = alarms.next().is_none_or(|next| at < next);
        alarms.times.push(Reverse((at, place)));
        drop(alarms);
        if first {
            self.sooner.notify_one();
        }
    }

    fn run(&self) {
        let mut alarms = self.alarms.lock();
        loop {
            let now = Instant::now();
            while let Some(whom) = alarms.pop(now) {
                whom.notify_one();
            }
            match alarms.next() {
                None => self.sooner.wait(&mut alarms),
                Some(next) => {
                    self.sooner.wait_until(&mut alarms, next);
                }
            }
        }
    }
}

impl Alarms {
    fn next(&self) -> Option<Instant> {
        self.times.peek().map(|Reverse((at, _))| *at)
    }

    fn pop(&mut self, now: Instant) -> Option<Arc<Notify>> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, place)) = self.times.pop()?;
        self.free.push(place);
        self.whom[place].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn an_alarm_rings_at_its_time_whatever_the_order_of_setting() {
        let start = Instant::now();
        let (late, soon) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        assert!(ring(start + Duration::from_millis(30), late.clone()));
        assert!(ring(start + Duration::from_millis(3), soon.clone()));
        soon.notified().await;
        assert!(start.elapsed() >= Duration::from_millis(3));
        late.notified().await;
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}

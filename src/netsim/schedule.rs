//! Settings that change over time. Pure.

use std::time::Duration;

use super::change::PathChange;

/// What happens to a proxy by itself, at times from its start.
///
/// Changes stay until others take their place, also when the schedule starts anew.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schedule {
    steps: Vec<Step>,
    repeat: Option<Duration>,
}

/// A moment of a [`Schedule`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// From the start of the proxy, or of the repetition.
    pub at: Duration,
    /// To the path from the clients to the target.
    pub up: PathChange,
    /// To the path from the target to the clients.
    pub down: PathChange,
    /// Loses all that is sent for this long, both ways; see [`Proxy::cut`](super::Proxy::cut).
    pub cut: Option<Duration>,
    /// Gives each client a new port; see [`Proxy::rebind`](super::Proxy::rebind).
    pub rebind: bool,
}

/// Why a schedule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Repeat later, or move the step.
    #[error(
        "a step at {at:?} is not before the repetition after {repeat:?}: repeat later or drop the step"
    )]
    AfterRepeat { at: Duration, repeat: Duration },
    /// At least [`Schedule::MIN_REPEAT`].
    #[error("a repetition after {0:?} is too short: write 1ms or more")]
    RepeatTooShort(Duration),
}

impl Schedule {
    /// The shortest repetition: a shorter one would keep the emulator busy with itself.
    pub const MIN_REPEAT: Duration = Duration::from_millis(1);

    /// Steps in any order; those of the same time happen in the order given. With `repeat` all of them happen anew
    /// each time that it has passed.
    pub fn new(mut steps: Vec<Step>, repeat: Option<Duration>) -> Result<Self, ScheduleError> {
        if let Some(repeat) = repeat {
            if repeat < Self::MIN_REPEAT {
                return Err(ScheduleError::RepeatTooShort(repeat));
            }
            if let Some(step) = steps.iter().find(|step| step.at >= repeat) {
                return Err(ScheduleError::AfterRepeat {
                    at: step.at,
                    repeat,
                });
            }
        }
        steps.sort_by_key(|step| step.at);
        Ok(Self { steps, repeat })
    }

    /// Its steps, in the order of their times.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// After which time it starts anew.
    pub fn repeat(&self) -> Option<Duration> {
        self.repeat
    }

    pub(super) fn up(&self) -> Timeline<PathStep> {
        self.timeline(|step| PathStep::new(&step.up, step.cut))
    }

    pub(super) fn down(&self) -> Timeline<PathStep> {
        self.timeline(|step| PathStep::new(&step.down, step.cut))
    }

    pub(super) fn rebinds(&self) -> Timeline<()> {
        self.timeline(|step| step.rebind.then_some(()))
    }

    fn timeline<T>(&self, of: impl Fn(&Step) -> Option<T>) -> Timeline<T> {
        let items = self
            .steps
            .iter()
            .filter_map(|step| Some((step.at, of(step)?)));
        Timeline {
            items: items.collect(),
            repeat: self.repeat,
            start: Duration::ZERO,
            next: 0,
        }
    }
}

/// What a step does to one direction.
#[derive(Debug, Clone)]
pub(super) struct PathStep {
    pub(super) change: PathChange,
    pub(super) cut: Option<Duration>,
}

impl PathStep {
    fn new(change: &PathChange, cut: Option<Duration>) -> Option<Self> {
        let nothing = cut.is_none() && *change == PathChange::default();
        (!nothing).then(|| Self {
            change: change.clone(),
            cut,
        })
    }
}

/// Items that each come at their time, again and again if they repeat.
#[derive(Debug, Clone)]
pub(super) struct Timeline<T> {
    /// In the order of their times, each before `repeat`.
    items: Vec<(Duration, T)>,
    repeat: Option<Duration>,
    /// When the present repetition began.
    start: Duration,
    /// The next item in `items`; past the end when all have come and nothing repeats.
    next: usize,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            repeat: None,
            start: Duration::ZERO,
            next: 0,
        }
    }
}

impl<T> Timeline<T> {
    /// When the next item comes.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let (at, _) = self.items.get(self.next)?;
        Some(self.start.saturating_add(*at))
    }

    /// The next item whose time has come.
    pub(super) fn pop(&mut self, now: Duration) -> Option<&T> {
        if self.next_at()? > now {
            return None;
        }
        let popped = self.next;
        self.next += 1;
        if self.next == self.items.len()
            && let Some(repeat) = self.repeat
        {
            self.next = 0;
            self.start = self.start.saturating_add(repeat);
        }
        self.items.get(popped).map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn rebind_at(at: Duration) -> Step {
        Step {
            at,
            rebind: true,
            ..Default::default()
        }
    }

    fn times(timeline: &mut Timeline<()>, until: Duration) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(at) = timeline.next_at().filter(|at| *at <= until) {
            timeline.pop(at).unwrap();
            times.push(at.as_secs());
        }
        times
    }

    #[test]
    fn steps_come_in_the_order_of_their_times_and_once() {
        let schedule = Schedule::new(vec![rebind_at(secs(3)), rebind_at(secs(1))], None).unwrap();
        let mut timeline = schedule.rebinds();
        assert_eq!(timeline.pop(Duration::ZERO), None);
        assert_eq!(times(&mut timeline, secs(100)), [1, 3]);
        assert_eq!(timeline.next_at(), None);
    }

    #[test]
    fn a_repeated_schedule_comes_again_and_again() {
        let steps = vec![rebind_at(secs(0)), rebind_at(secs(3))];
        let mut timeline = Schedule::new(steps, Some(secs(5))).unwrap().rebinds();
        assert_eq!(times(&mut timeline, secs(13)), [0, 3, 5, 8, 10, 13]);
    }

    #[test]
    fn steps_without_effect_on_a_direction_do_not_concern_it() {
        let mut step = rebind_at(secs(1));
        step.up.delay = Some(secs(1));
        let schedule = Schedule::new(vec![step], None).unwrap();
        assert_eq!(schedule.up().next_at(), Some(secs(1)));
        assert_eq!(schedule.down().next_at(), None);
    }

    #[test]
    fn a_step_that_never_comes_is_an_error() {
        let late = Schedule::new(vec![rebind_at(secs(5))], Some(secs(5)));
        assert!(matches!(late, Err(ScheduleError::AfterRepeat { .. })));
        let short = Schedule::new(Vec::new(), Some(Duration::ZERO));
        assert_eq!(short, Err(ScheduleError::RepeatTooShort(Duration::ZERO)));
    }

    proptest! {
        #[test]
        fn times_never_fall(
            steps in prop::collection::vec(0u64..1000, 0..20),
            repeat in prop::option::of(1000u64..2000),
        ) {
            let steps = steps.into_iter().map(|at| rebind_at(secs(at))).collect();
            let mut timeline = Schedule::new(steps, repeat.map(secs)).unwrap().rebinds();
            prop_assert!(times(&mut timeline, secs(10_000)).is_sorted());
        }
    }
}

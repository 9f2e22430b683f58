//! Which packets a path loses by chance.

use super::random::Sequence;

/// A probability between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Probability(f64);

impl Probability {
    /// Never.
    pub const ZERO: Self = Self(0.0);
    /// Always.
    pub const ONE: Self = Self(1.0);

    /// `None` if `value` is not within 0 and 1.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// From a percentage; what lies outside of 0 to 100 is clamped, NaN is 0.
    pub fn percent(value: f64) -> Self {
        Self(if value.is_nan() {
            0.0
        } else {
            (value / 100.0).clamp(0.0, 1.0)
        })
    }

    /// The value, from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }

    pub(super) fn hit(self, random: &mut Sequence) -> bool {
        random.next_unit() < self.0
    }
}

/// Losses that come in groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bursts {
    /// Exactly `length` packets in a row are lost; each packet outside of a burst starts one with probability
    /// `start`. The share of lost packets is `length·start / (1 + (length−1)·start)`.
    Runs { length: u32, start: Probability },
    /// The model of Gilbert and Elliott: a path is in a good or a bad state and moves between them before each
    /// packet. The mean length of a bad phase is `1 / leave` packets, its share of all packets
    /// `enter / (enter + leave)`.
    GilbertElliott {
        /// From the good state to the bad one.
        enter: Probability,
        /// From the bad state to the good one.
        leave: Probability,
        /// Loss in the bad state.
        loss_bad: Probability,
        /// Loss in the good state.
        loss_good: Probability,
    },
}

/// Where in a burst the path is.
#[derive(Debug, Clone, Default)]
pub(super) struct BurstState {
    /// Packets of the present run that are still to be lost.
    remaining: u32,
    /// In the bad state of Gilbert and Elliott.
    bad: bool,
}

impl BurstState {
    /// Whether the next packet falls to a burst. Takes two random numbers each time, whatever the model, so that the
    /// fate of the n-th packet depends on the seed and n alone.
    pub(super) fn next(&mut self, model: Option<&Bursts>, random: &mut Sequence) -> bool {
        let (first, second) = (random.next_unit(), random.next_unit());
        match model {
            None => false,
            Some(Bursts::Runs { length, start }) => {
                if self.remaining == 0 && first < start.get() {
                    self.remaining = *length;
                }
                let lost = self.remaining > 0;
                self.remaining = self.remaining.saturating_sub(1);
                lost
            }
            Some(Bursts::GilbertElliott {
                enter,
                leave,
                loss_bad,
                loss_good,
            }) => {
                let change = if self.bad { leave } else { enter };
                self.bad ^= first < change.get();
                let loss = if self.bad { loss_bad } else { loss_good };
                second < loss.get()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 200_000;

    fn fates(model: Bursts) -> Vec<bool> {
        let mut random = Sequence::new(3, 1);
        let mut state = BurstState::default();
        (0..N)
            .map(|_| state.next(Some(&model), &mut random))
            .collect()
    }

    fn runs(fates: &[bool]) -> Vec<usize> {
        fates
            .chunk_by(|a, b| a == b)
            .filter(|run| run[0])
            .map(<[bool]>::len)
            .collect()
    }

    fn share(fates: &[bool]) -> f64 {
        fates.iter().filter(|&&lost| lost).count() as f64 / fates.len() as f64
    }

    #[test]
    fn a_probability_outside_of_its_range_cannot_be_made() {
        assert_eq!(Probability::new(-0.1), None);
        assert_eq!(Probability::new(1.1), None);
        assert_eq!(Probability::new(f64::NAN), None);
        assert_eq!(Probability::percent(250.0), Probability::ONE);
        assert_eq!(Probability::percent(f64::NAN), Probability::ZERO);
    }

    #[test]
    fn runs_have_the_length_and_the_frequency_that_was_asked_for() {
        let fates = fates(Bursts::Runs {
            length: 5,
            start: Probability::percent(1.0),
        });
        // Two runs may touch, and the last one may be cut off by the end.
        let runs = runs(&fates);
        assert!(runs[..runs.len() - 1].iter().all(|run| run % 5 == 0));
        let expected = 5.0 * 0.01 / (1.0 + 4.0 * 0.01);
        assert!(
            (share(&fates) - expected).abs() < 0.004,
            "{}",
            share(&fates)
        );
    }

    #[test]
    fn gilbert_elliott_spends_its_time_in_the_bad_state_as_the_model_says() {
        let fates = fates(Bursts::GilbertElliott {
            enter: Probability::percent(1.0),
            leave: Probability::percent(25.0),
            loss_bad: Probability::ONE,
            loss_good: Probability::ZERO,
        });
        let runs = runs(&fates);
        let mean = runs.iter().sum::<usize>() as f64 / runs.len() as f64;
        assert!((mean - 4.0).abs() < 0.3, "mean length of a burst: {mean}");
        let expected = 0.01 / (0.01 + 0.25);
        assert!(
            (share(&fates) - expected).abs() < 0.004,
            "{}",
            share(&fates)
        );
    }
}

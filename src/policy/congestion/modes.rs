//! What follows from a round: from mode to mode, and from window to window.

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Mode {
    Startup {
        best_rate: u64,
        rounds_without_growth: u8,
    },
    Steady {
        foreign_rounds: u8,
        /// Before the first of them.
        window_before: u64,
    },
    Drain {
        window: u64,
        rounds: u8,
        /// That of the round before.
        queue_before: Nanos,
        /// What goes on if the queue does not fall.
        back: Option<Cubic>,
    },
    Compete {
        cubic: Cubic,
        /// There was a queue worth the name.
        queued_at: Nanos,
        drain_at: Nanos,
    },
}

/// The startup, from its beginning.
pub(super) const STARTUP: Mode = Mode::Startup {
    best_rate: 0,
    rounds_without_growth: 0,
};

impl Live {
    /// In the startup, the queue is seen before the round is over.
    pub(super) fn overshoots(&self) -> bool {
        // The first flight is too short to tell a queue from jitter.
        matches!(self.mode, Mode::Startup { .. })
            && self.window > initial_window(self.mtu)
            && self.round.samples >= 2 * MIN_SAMPLES
            && self.round_queue() > self.wanted_queue() + 2 * self.jitter
    }

    pub(super) fn end_round(&mut self, now: Nanos) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        self.last_rtt = round.shortest_rtt;
        let queue = self.last_rtt.saturating_sub(self.shortest_rtt()).max(0);
        let mean = round.sum_of_rtts / Nanos::from(round.samples.max(1));
        let jitter = mean.saturating_sub(round.shortest_rtt).clamp(0, MAX_JITTER);
        self.rounds = (self.rounds + 1).min(8);
        self.jitter += (jitter - self.jitter) / self.rounds;
        match &self.mode {
            Mode::Startup { .. } => self.startup_round(now, &round),
            Mode::Steady { .. } => self.steady_round(now, &round, queue),
            Mode::Drain { .. } => self.drain_round(now, queue),
            Mode::Compete { .. } => self.compete_round(now, queue),
        }
        self.last_rate = round.best_rate;
        self.last_queue = queue;
        self.hold_by_loss(now);
    }

    fn startup_round(&mut self, now: Nanos, round: &Round) {
        let much_lost = round.lost > 8 * self.mtu
            && round.lost as f64 > MAX_LOSS * (round.lost.saturating_add(round.acked)) as f64;
        let Mode::Startup {
            best_rate,
            rounds_without_growth,
        } = &mut self.mode
        else {
            return;
        };
        let grows = round.best_rate / 5 > *best_rate / 4;
        if grows {
            *best_rate = round.best_rate;
            *rounds_without_growth = 0;
        } else if round.full {
            *rounds_without_growth += 1;
        }
        // What is lost while more and more arrives is chance.
        if (much_lost && !grows) || *rounds_without_growth >= 3 {
            self.leave_startup(now);
        }
    }

    pub(super) fn leave_startup(&mut self, now: Nanos) {
        let rate = self.rate.get().unwrap_or(0);
        let before = self.window;
        let window = self.window_for(rate, self.wanted_queue());
        self.window = window.min(self.window).max(initial_window(self.mtu));
        // What overflowed is paid for.
        self.recovered = now;
        self.loss.clear();
        self.round = Round::new(now);
        self.mode = Mode::Steady {
            foreign_rounds: 0,
            window_before: before,
        };
    }

    fn enter_steady(&mut self) {
        self.mode = Mode::Steady {
            foreign_rounds: 0,
            window_before: self.window,
        };
    }

    /// The window that the queue of a round asks for.
    fn follow_queue(&mut self, now: Nanos, round: &Round, queue: Nanos, wanted: Nanos) {
        let allowed = self.allowed_queue();
        if queue <= wanted {
            let target = self.window_for(self.rate.get().unwrap_or(0), allowed);
            let overflows = self.loss.recent() > self.loss.floor() + 0.02;
            // Where chance delays packets the rate of a round is too low to tell what the path takes: with room for more it is tried.
            let room = queue - self.jitter / 2 <= self.wanted_queue() / 2 && !overflows;
            // Full is also what a sender without time to send is.
            let used = self.in_flight >= self.window / 4;
            let probe = match room && used {
                true => self.window / 8 * 9,
                false => 0,
            };
            if round.full {
                let most = self.window.saturating_mul(2).min(MAX_WINDOW);
                self.window = self.window.max(target.max(probe).min(most));
            }
            if overflows {
                self.window = self.window.min(target.max(self.window / 8 * 7));
            }
        } else {
            // With a queue the rate of delivery is that of the path, or our part of it.
            let rate = round.best_rate.max(self.last_rate);
            self.rate.reset(now, rate);
            let target = self.window_for(rate, allowed);
            self.window = target.clamp(self.window / 4, self.window);
        }
    }

    fn steady_round(&mut self, now: Nanos, round: &Round, queue: Nanos) {
        let wanted = self.wanted_queue() + self.jitter;
        self.follow_queue(now, round, queue, wanted);
        let window = self.window;
        let Mode::Steady {
            foreign_rounds,
            window_before,
        } = &mut self.mode
        else {
            return;
        };
        // Longer than we can have made it; or as long as we want it, but others make it.
        let long = queue > wanted + wanted / 4;
        let yields = !long
            && round.full
            && queue - self.jitter > (wanted - self.jitter) / 2
            && round.best_rate.max(self.last_rate) < self.peak_rate.get().unwrap_or(0) / 4 * 3;
        if !long && !yields {
            *foreign_rounds = 0;
            *window_before = window;
            if !round.full {
                // A pause empties the queue as well.
                self.min_rtt_seen = now;
            } else if now.saturating_sub(self.min_rtt_seen) > RTT_DOUBT {
                self.enter_drain(None);
            }
            return;
        }
        if queue >= self.last_queue / 8 * 7 || yields {
            *foreign_rounds += 1;
        }
        if *foreign_rounds < FOREIGN_ROUNDS {
            return;
        }
        if yields {
            self.drain_pause = SECOND;
            self.enter_compete(now, Cubic::new(now, window));
            self.drain_pause = FIRST_DRAIN;
        } else {
            let before = (*window_before).max(window);
            let half = self.peak_rate.get().unwrap_or(0) as f64 / 2.0 * self.last_rtt as f64;
            let fair = ((half / SECOND as f64) as u64).min(before.saturating_mul(2));
            self.enter_compete(now, Cubic::new(now, before.max(fair)));
        }
    }

    fn enter_compete(&mut self, now: Nanos, cubic: Cubic) {
        self.cap = MAX_WINDOW;
        self.mode = Mode::Compete {
            cubic,
            queued_at: now,
            drain_at: now.saturating_add(self.drain_pause),
        };
    }

    fn compete_round(&mut self, now: Nanos, queue: Nanos) {
        let wanted = self.wanted_queue();
        let jitter = self.jitter;
        let Mode::Compete {
            cubic,
            queued_at,
            drain_at,
        } = &mut self.mode
        else {
            return;
        };
        if queue - jitter > wanted / 2 {
            *queued_at = now;
        }
        if now.saturating_sub(*queued_at) > FREE {
            self.window = cubic.window();
            self.drain_pause = FIRST_DRAIN;
            self.enter_steady();
        } else if now >= *drain_at && now.saturating_sub(self.recovered) >= SECOND {
            let back = cubic.clone();
            self.enter_drain(Some(back));
        }
    }

    fn enter_drain(&mut self, back: Option<Cubic>) {
        let rate = self.round.best_rate.max(self.last_rate);
        let bytes = rate as f64 * self.shortest_rtt() as f64 / SECOND as f64;
        let half = back.as_ref().map_or(0, |cubic| cubic.window() / 2);
        self.mode = Mode::Drain {
            window: half.max((bytes * 0.75) as u64),
            rounds: 0,
            queue_before: self.last_queue,
            back,
        };
    }

    /// The first round still has what was sent before, the second shows whether the queue was ours.
    fn drain_round(&mut self, now: Nanos, queue: Nanos) {
        let wanted = self.wanted_queue();
        let Mode::Drain {
            rounds,
            back,
            queue_before,
            ..
        } = &mut self.mode
        else {
            return;
        };
        *rounds += 1;
        if *rounds < 2 {
            return;
        }
        // Half of what was under way of ours is gone: was it all that there was, so is more than half of the queue.
        let empty = queue <= wanted / 4 || queue < *queue_before / 4;
        let back = back.take();
        self.min_rtt_seen = now;
        match back {
            Some(cubic) if !empty => {
                self.drain_pause = (self.drain_pause * 2).min(LAST_DRAIN);
                self.enter_compete(now, cubic);
            }
            Some(cubic) => {
                self.window = self
                    .window_for(self.rate.get().unwrap_or(0), wanted)
                    .min(cubic.window());
                self.drain_pause = FIRST_DRAIN;
                self.peak_rate.reset(now, self.rate.get().unwrap_or(0));
                self.enter_steady();
            }
            None => self.enter_steady(),
        }
    }

    /// More than a tenth lost is congestion, whatever the queue: the window gives way once a second, and comes back
    /// slowly.
    fn hold_by_loss(&mut self, now: Nanos) {
        if self.loss.lasting() > MAX_LOSS {
            if now.saturating_sub(self.cap_lowered) < SECOND {
                return;
            }
            self.cap_lowered = now;
            self.loss.clear();
            let floor = self.floor();
            match &mut self.mode {
                Mode::Compete { cubic, .. } => cubic.on_loss(now, floor),
                _ => self.cap = (self.base_window() / 10 * 7).max(floor),
            }
        } else if self.cap < MAX_WINDOW && now.saturating_sub(self.cap_lowered) >= CAP_HOLDS {
            self.cap = self.cap.saturating_add(self.cap / 16);
            if self.cap / 2 > self.window {
                self.cap = MAX_WINDOW;
            }
        }
    }
}

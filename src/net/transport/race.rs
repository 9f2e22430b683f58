//! Tries the addresses of a host side by side (RFC 8305, "Happy Eyeballs").

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use crate::net::error::{Cause, Error, Result};

/// RFC 8305 section 5.
const STAGGER: Duration = Duration::from_millis(250);
/// RFC 8305 lets an implementation stop somewhere.
const MAX_ADDRESSES: usize = 8;
/// What the other addresses get once one has answered with a failure that is no accident.
const AFTER_ANSWER: Duration = Duration::from_secs(1);
/// How often an [`Eagerness::Restless`] race begins anew.
const ANEW: Duration = Duration::from_millis(500);
/// How many attempts begun anew run side by side, for each address: a peer has [`ANEW`] times this to answer one.
const MAX_ANEW: usize = 4;

/// What is done about addresses that stay silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eagerness {
    /// Each address is asked once; the attempt repeats itself, ever more slowly (RFC 9002 section 6.2.1).
    Patient,
    /// Each address is asked again every half second, so that a path that comes back is found within a fraction of that.
    /// The first attempts go on, for a peer that is slow to answer.
    Restless,
}

/// The first attempt that succeeds wins; the others are dropped, which ends them. Otherwise the most telling failure by
/// `deadline`, if there was one.
pub async fn race<T, F>(
    addresses: &[SocketAddr],
    eagerness: Eagerness,
    mut deadline: Instant,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Option<Error>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut schedule = Schedule::new(addresses, eagerness, Instant::now());
    let mut running = JoinSet::new();
    let mut anew: VecDeque<AbortHandle> = VecDeque::new();
    let mut worst: Option<Error> = None;
    loop {
        while let Some((remote, first)) = schedule.due(Instant::now()) {
            let handle = running.spawn(attempt(remote));
            if !first {
                anew.push_back(handle);
            }
            if anew.len() > MAX_ANEW * schedule.addresses.len()
                && let Some(oldest) = anew.pop_front()
            {
                oldest.abort();
            }
        }
        if running.is_empty() && schedule.is_told() {
            return Err(worst);
        }
        tokio::select! {
            Some(done) = running.join_next() => match done {
                Ok(Ok(winner)) => return Ok(winner),
                Ok(Err(err)) => {
                    if matches!(err.cause, Cause::Tls | Cause::Version | Cause::Settings) {
                        deadline = deadline.min(Instant::now() + AFTER_ANSWER);
                    }
                    worst = Some(more_telling(worst, err));
                    schedule.hurry(Instant::now());
                }
                // Given up for a newer one.
                Err(_) => {}
            },
            () = sleep_until(deadline) => return Err(worst),
            () = sleep_until(schedule.next) => {}
        }
    }
}

/// Who is tried when.
struct Schedule<'a> {
    addresses: &'a [SocketAddr],
    eagerness: Eagerness,
    /// How many attempts were begun.
    begun: usize,
    /// When the next one begins.
    next: Instant,
}

impl<'a> Schedule<'a> {
    fn new(addresses: &'a [SocketAddr], eagerness: Eagerness, now: Instant) -> Self {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        Self {
            addresses,
            eagerness,
            begun: 0,
            next: now,
        }
    }

    /// Whether every address had its first attempt.
    fn is_told(&self) -> bool {
        self.begun >= self.addresses.len()
    }

    /// The next address, if it is its time, and whether that is its first attempt.
    fn due(&mut self, now: Instant) -> Option<(SocketAddr, bool)> {
        let first = !self.is_told();
        if now < self.next || self.addresses.is_empty() || !(first || self.is_restless()) {
            return None;
        }
        let remote = self.addresses[self.begun % self.addresses.len()];
        self.begun += 1;
        self.next = now
            + match (self.is_told(), self.is_restless()) {
                (false, _) => STAGGER,
                // All addresses within one period.
                (true, true) => ANEW / u32::try_from(self.addresses.len()).unwrap_or(1),
                (true, false) => FAR,
            };
        Some((remote, first))
    }

    /// One address has failed: the next that was not tried yet need not wait.
    fn hurry(&mut self, now: Instant) {
        if !self.is_told() {
            self.next = now;
        }
    }

    fn is_restless(&self) -> bool {
        self.eagerness == Eagerness::Restless
    }
}

/// Longer than any dial.
const FAR: Duration = Duration::from_secs(86_400);

/// Silence on one family says less than a refusal on the other.
fn more_telling(old: Option<Error>, new: Error) -> Error {
    match old {
        Some(old) if !matches!(old.cause, Cause::UdpBlocked | Cause::TcpRefused) => old,
        _ => new,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn addresses(count: u16) -> Vec<SocketAddr> {
        (1..=count)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .collect()
    }

    fn blocked() -> Error {
        Error::new(Cause::UdpBlocked, "silence")
    }

    /// When attempts begin within the first 3 s, in ms, at which port, and whether it is the first there.
    fn begun(addresses: u16, eagerness: Eagerness) -> Vec<(u64, u16, bool)> {
        let addresses = self::addresses(addresses);
        let start = Instant::now();
        let mut schedule = Schedule::new(&addresses, eagerness, start);
        let mut begun = Vec::new();
        for ms in (0..3000).step_by(50) {
            while let Some((remote, first)) = schedule.due(start + Duration::from_millis(ms)) {
                begun.push((ms, remote.port(), first));
            }
        }
        begun
    }

    #[test]
    fn each_address_is_tried_once_and_again_only_by_a_restless_race() {
        let once = [(0, 1, true), (250, 2, true)];
        assert_eq!(begun(2, Eagerness::Patient), once);
        let restless = begun(2, Eagerness::Restless);
        assert_eq!(restless[..2], once);
        assert_eq!(
            restless[2..5],
            [(500, 1, false), (750, 2, false), (1000, 1, false)]
        );
        let alone = begun(1, Eagerness::Restless);
        assert_eq!(
            alone[..3],
            [(0, 1, true), (500, 1, false), (1000, 1, false)]
        );
        assert_eq!(begun(0, Eagerness::Restless), []);
    }

    #[test]
    fn silence_gives_way_to_a_reason() {
        let tls = Error::new(Cause::Tls, "tls");
        assert_eq!(more_telling(Some(blocked()), tls.clone()).cause, Cause::Tls);
        assert_eq!(more_telling(Some(tls), blocked()).cause, Cause::Tls);
    }

    #[tokio::test]
    async fn an_address_that_stays_silent_costs_a_quarter_of_a_second_and_one_that_fails_nothing() {
        for (silent, least) in [(true, STAGGER), (false, Duration::ZERO)] {
            let start = Instant::now();
            let attempt = move |remote: SocketAddr| async move {
                match remote.port() {
                    1 if silent => std::future::pending().await,
                    1 => Err(blocked()),
                    port => Ok(port),
                }
            };
            let result = race(&addresses(2), Eagerness::Patient, start + LIMIT, attempt).await;
            assert_eq!(result, Ok(2));
            let took = start.elapsed();
            assert!(took >= least && took < least + STAGGER * 3 / 4, "{took:?}");
        }
    }

    #[tokio::test]
    async fn an_attempt_begun_anew_finds_what_the_first_missed_and_the_first_goes_on() {
        for first_answers in [false, true] {
            let asked = Arc::new(AtomicUsize::new(0));
            let attempt = |_| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                async move {
                    match (number, first_answers) {
                        (0, true) => tokio::time::sleep(ANEW * 2).await,
                        (1, false) => {}
                        _ => std::future::pending().await,
                    }
                    Ok(number)
                }
            };
            let deadline = Instant::now() + LIMIT;
            let result = race(&addresses(1), Eagerness::Restless, deadline, attempt).await;
            assert_eq!(result, Ok(usize::from(!first_answers)));
        }
    }

    #[tokio::test]
    async fn the_deadline_ends_it_and_so_does_the_failure_of_every_address() {
        let silent = |_| std::future::pending::<Result<()>>();
        let deadline = Instant::now() + Duration::from_millis(50);
        let result = race(&addresses(2), Eagerness::Restless, deadline, silent).await;
        assert_eq!(result, Err(None));
        let failing = |_| async { Err::<(), _>(blocked()) };
        let start = Instant::now();
        let result = race(&addresses(3), Eagerness::Restless, start + LIMIT, failing).await;
        assert_eq!(result, Err(Some(blocked())));
        assert!(start.elapsed() < STAGGER, "{:?}", start.elapsed());
    }
}

//! The task of a connection: dial, serve, dial again.
//!
//! ```text
//! connect ──up──▶ serve ──lost──▶ connect          (for ever once it was up, or for retry-timeout)
//!    │              │  ▲
//!  gave up          └──┘ GOAWAY or silence: a second session is dialled and takes over
//! ```

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use url::Url;

use super::{
    live::{self, Live},
    shared::Shared,
    watchdog::{Heard, Watchdog},
};
use crate::{
    net::{
        error::{Cause, Error, Result},
        transport::{self, Dial, Eagerness},
    },
    policy::retry::Backoff,
    runtime,
};

/// The waits between dials.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// The longest wait while an outage is younger than [`YOUNG`]: what was there a moment ago comes back any moment.
const LAST_RETRY_YOUNG: Duration = Duration::from_secs(1);
const YOUNG: Duration = Duration::from_secs(60);
/// A session that lived this long was a real one: the next loss is retried at once.
const STEADY: Duration = Duration::from_secs(5);
/// Between dials of a successor, while the old session still serves.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(1);
/// The same while it is silent.
const SILENT_WAIT: Duration = Duration::from_millis(200);

/// A silence is told when it is not over this long after the second session was begun: many are over at once.
const TELL_SILENCE: Duration = Duration::from_millis(700);

/// What handles ask of the task. The channel closing means: close now.
pub enum Command {
    /// Deliver, close, and tell.
    Close {
        limit: Duration,
        done: oneshot::Sender<Result<()>>,
    },
}

/// Starts the task. A panic in it becomes [`State::Failed`].
pub fn spawn(shared: Arc<Shared>, commands: mpsc::Receiver<Command>) {
    let watched = shared.clone();
    let task = Task {
        opened: Instant::now(),
        shared,
        commands,
        backoff: Backoff::new(FIRST_RETRY, LAST_RETRY, fastrand::Rng::new()),
        generation: 0,
        established: false,
    };
    runtime::handle().spawn(async move {
        let mut task = tokio::spawn(task.run());
        let renewal = renew(&watched);
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = renewal => task.await,
        };
        watched.closed();
        if ended.is_err_and(|err| err.is_panic()) {
            let message = "internal error in the connection task; please report it";
            watched.fail(Error::new(Cause::ConnectionLost, message));
        }
    });
}

/// Asks for another token in time, for as long as the connection is there.
async fn renew(shared: &Shared) {
    if let Some(url) = shared.config.urls.first() {
        shared.tokens.renew(&transport::redact(url)).await;
    }
}

struct Task {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    backoff: Backoff,
    opened: Instant,
    generation: u64,
    /// A session was up and not refused right after.
    established: bool,
}

/// A successor on its way: one try at each URL.
type Successor = Pin<Box<dyn Future<Output = Result<Live>> + Send>>;

enum Served {
    Lost {
        error: Error,
        lived: Duration,
        successor: Option<Successor>,
    },
    Closed,
}

impl Task {
    async fn run(mut self) {
        let mut successor = None;
        let mut lost_at = self.opened;
        let mut wait = false;
        loop {
            let live = match self.connect(successor.take(), lost_at, wait).await {
                Some(Ok(live)) => live,
                Some(Err(error)) => return self.shared.fail(error),
                None => return,
            };
            match self.serve(live).await {
                Served::Closed => return,
                Served::Lost {
                    error,
                    lived,
                    successor: next,
                } => {
                    let refused =
                        matches!(error.cause, Cause::Auth | Cause::Version) && lived < STEADY;
                    self.established |= !refused;
                    lost_at = Instant::now();
                    wait = lived < STEADY;
                    if !wait {
                        self.backoff.reset();
                    }
                    // A relay that refuses late lets every dial succeed, so that only here the time is up.
                    let first_limit = self.opened + self.shared.config.connect_timeout;
                    if !self.established && lost_at >= first_limit {
                        return self.shared.fail(error);
                    }
                    self.shared.disconnected(error, !self.established);
                    successor = next;
                }
            }
        }
    }

    /// Until there is a session; an error gives up, `None` means that the last handle went.
    async fn connect(
        &mut self,
        successor: Option<Successor>,
        lost_at: Instant,
        wait: bool,
    ) -> Option<Result<Live>> {
        let config = self.shared.config.clone();
        let deadline = match self.established {
            false => Some(self.opened + config.connect_timeout),
            true if config.retry_timeout.is_zero() => None,
            true => Some(lost_at + config.retry_timeout),
        };
        let attempt = Attempt {
            shared: &self.shared,
            lost_at: self.established.then_some(lost_at),
            deadline,
        };
        tokio::select! {
            result = attempt.run(&mut self.backoff, successor, wait) => Some(result),
            command = self.commands.recv() => {
                if let Some(Command::Close { done, .. }) = command {
                    let _ = done.send(self.shared.delivered());
                }
                None
            }
        }
    }

    /// Until the session is lost or closed.
    async fn serve(&mut self, mut live: Live) -> Served {
        self.up(&live);
        let mut successor: Option<Successor> = None;
        let mut leaving = false;
        // The successor is there because of silence alone.
        let mut doubted = false;
        let mut tell_at: Option<Instant> = None;
        let mut watchdog = Watchdog::new(&live, self.shared.role);
        loop {
            let going_away = live.moq.draining();
            tokio::select! {
                error = live.closed() => {
                    if error.cause == Cause::Auth {
                        self.shared.tokens.refused(&live.info.url);
                    }
                    return Served::Lost { error, lived: live.since.elapsed(), successor };
                }
                Some(goaway) = going_away.recv(), if !leaving => {
                    leaving = true;
                    doubted = false;
                    let error = Error::new(Cause::GoAway, format!("{} says that it goes away", live.info.url));
                    self.shared.note(&error);
                    let redirect = redirect(goaway.uri(), &live.url);
                    let wait = match live.since.elapsed() < STEADY {
                        true => self.backoff.next_delay(),
                        false => Duration::ZERO,
                    };
                    // One on its way to the configured URLs would miss the redirect.
                    if successor.is_none() || redirect.is_some() {
                        successor = Some(self.successor(wait, redirect));
                    }
                }
                next = poll(&mut successor) => {
                    successor = None;
                    match next {
                        Ok(next) => {
                            self.up(&next);
                            let silent = std::mem::replace(&mut watchdog, Watchdog::new(&next, self.shared.role)).is_silent();
                            std::mem::replace(&mut live, next).retire(silent);
                            leaving = false;
                            doubted = false;
                            tell_at = None;
                        }
                        Err(error) => {
                            self.shared.note(&error);
                            if leaving {
                                successor = Some(self.successor(SUCCESSOR_WAIT, None));
                            } else if watchdog.is_silent() {
                                successor = Some(self.successor(SILENT_WAIT, None));
                            }
                        }
                    }
                }
                heard = watchdog.changed() => match heard {
                    Heard::Nothing => {
                        live.change_port();
                        if successor.is_none() {
                            tracing::info!(url = live.info.url, "silent; on another port, and dialling a second session beside it");
                            doubted = true;
                            tell_at = Some(Instant::now() + TELL_SILENCE);
                            successor = Some(self.successor(Duration::ZERO, None));
                        }
                    }
                    // Changing over would cost subscribers more than the silence did.
                    Heard::Again if doubted => {
                        tracing::info!(url = live.info.url, "heard again");
                        doubted = false;
                        tell_at = None;
                        successor = None;
                        self.shared.silent(None);
                    }
                    Heard::Again => {}
                },
                () = wait_until(tell_at) => {
                    tell_at = None;
                    self.shared.silent(Some(silence(&live.info.url, watchdog.silent_for())));
                }
                command = self.commands.recv() => match command {
                    Some(Command::Close { limit, done }) => {
                        self.shared.closed();
                        let _ = done.send(live.drain(limit).await);
                        return Served::Closed;
                    }
                    None => {
                        live.abort();
                        return Served::Closed;
                    }
                },
            }
        }
    }

    fn up(&mut self, live: &Live) {
        self.generation += 1;
        self.shared.connected(live, self.generation);
    }

    /// `redirect` is where a GOAWAY pointed. It is tried once: a place that does not answer must not stand in the way of
    /// the configured URLs again.
    fn successor(&self, wait: Duration, redirect: Option<Url>) -> Successor {
        let shared = self.shared.clone();
        Box::pin(async move {
            sleep(wait).await;
            round(&shared, redirect.as_ref(), Eagerness::Restless, None).await
        })
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn silence(url: &str, duration: Duration) -> Error {
    Error::new(
        Cause::Timeout,
        format!(
            "nothing was heard from {url} for {:.1} s; dialling again beside the connection, which is given up after idle-timeout",
            duration.as_secs_f64()
        ),
    )
}

async fn poll(successor: &mut Option<Successor>) -> Result<Live> {
    match successor {
        Some(successor) => successor.await,
        None => std::future::pending().await,
    }
}

/// Dialling until it works or the time is up.
struct Attempt<'a> {
    shared: &'a Shared,
    /// When the session was lost that was there before.
    lost_at: Option<Instant>,
    deadline: Option<Instant>,
}

impl Attempt<'_> {
    async fn run(
        self,
        backoff: &mut Backoff,
        successor: Option<Successor>,
        wait: bool,
    ) -> Result<Live> {
        if let Some(successor) = successor {
            match successor.await {
                Ok(live) => return Ok(live),
                Err(error) => self.shared.note(&error),
            }
        }
        if wait {
            self.pause(backoff).await;
        }
        // The first round gives every URL its full time; later ones end with the deadline.
        let mut limit = None;
        let mut before: Option<Error> = None;
        // A path that was there comes back any moment.
        let eagerness = match self.lost_at {
            Some(_) => Eagerness::Restless,
            None => Eagerness::Patient,
        };
        loop {
            let error = match round(self.shared, None, eagerness, limit).await {
                Ok(live) => return Ok(live),
                // Cut short by the deadline, a dial says less than the one before.
                Err(error) => match before.take() {
                    Some(before) if self.over() => return Err(before),
                    _ => error,
                },
            };
            // What worked before may again: the relay that is wrong now may be put right.
            if error.lasting && self.lost_at.is_none() {
                return Err(error);
            }
            self.shared.note(&error);
            if !self.over() {
                self.pause(backoff).await;
            }
            if self.over() {
                return Err(error);
            }
            limit = self.deadline;
            before = Some(error);
        }
    }

    fn over(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The back-off, cut short by the deadline or a new token.
    async fn pause(&self, backoff: &mut Backoff) {
        let longest = match self.lost_at {
            Some(lost_at) if lost_at.elapsed() < YOUNG => LAST_RETRY_YOUNG,
            _ => LAST_RETRY,
        };
        let until = Instant::now() + backoff.next_delay_within(longest);
        let until = self.deadline.map_or(until, |deadline| until.min(deadline));
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.shared.token_changed.notified() => {}
        }
    }
}

/// One try at the redirect and then at each URL in order; the last error when none works, a passing one rather than a lasting one.
/// A setting that cannot work ends the round: going on to the next URL would hide it.
async fn round(
    shared: &Shared,
    redirect: Option<&Url>,
    eagerness: Eagerness,
    limit: Option<Instant>,
) -> Result<Live> {
    let config = &shared.config;
    let mut last: Option<Error> = None;
    let mut passing: Option<Error> = None;
    // A redirect carries its own credentials (moq-lite draft, GOAWAY; moq-transport section 9.5).
    if let Some(url) = redirect {
        let dial = Dial {
            url,
            token: None,
            eagerness: Eagerness::Patient,
            deadline: Instant::now() + config.connect_timeout,
        };
        match live::connect(shared, dial).await {
            Ok(live) => return Ok(live),
            Err(error) => last = Some(error),
        }
    }
    for url in &config.urls {
        if let Some(error) = &last {
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                break;
            }
            shared.note(error);
        }
        let deadline = Instant::now() + config.connect_timeout;
        let token = shared.tokens.current();
        let dial = Dial {
            url,
            token: token.as_ref(),
            eagerness,
            deadline: limit.map_or(deadline, |limit| deadline.min(limit)),
        };
        match live::connect(shared, dial).await {
            Ok(live) => return Ok(live),
            Err(error) if error.cause == Cause::Settings => return Err(error),
            Err(error) => {
                if error.cause == Cause::Auth {
                    shared.tokens.refused(&transport::redact(url));
                }
                if !error.lasting {
                    passing = Some(error.clone());
                }
                last = Some(error);
            }
        }
    }
    Err(passing
        .or(last)
        .unwrap_or_else(|| Error::new(Cause::Settings, "no URL is set")))
}

/// The URL of a GOAWAY, unless it is empty, cannot be dialled, or would leave TLS behind.
fn redirect(uri: &str, from: &Url) -> Option<Url> {
    if uri.is_empty() {
        return None;
    }
    let plain = |url: &Url| url.scheme().ends_with("http");
    let url = transport::parse_url(uri)
        .ok()
        .filter(|url| !plain(url) || plain(from));
    if url.is_none() {
        tracing::warn!("ignoring the redirect to {}", transport::redact_text(uri));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 17.
    #[tokio::test]
    async fn a_token_that_comes_during_a_dial_cuts_the_pause_after_it_short() {
        use crate::net::{
            config::{ConnectConfig, Secret},
            session::{Retention, Role, registry::Key},
        };
        let config = ConnectConfig::new(vec![transport::parse_url("https://a/").unwrap()]);
        let key = Key::new(config, Role::Publisher, Retention::default());
        let shared = Shared::new(&key);
        let attempt = Attempt {
            shared: &shared,
            lost_at: None,
            deadline: None,
        };
        let mut backoff = Backoff::new(LAST_RETRY, LAST_RETRY, fastrand::Rng::with_seed(1));
        let start = Instant::now();
        shared.set_token(Some(Secret("new".into())));
        attempt.pause(&mut backoff).await;
        assert!(start.elapsed() < LAST_RETRY / 2, "{:?}", start.elapsed());
        let again = attempt.pause(&mut backoff);
        let limit = Duration::from_millis(20);
        assert!(tokio::time::timeout(limit, again).await.is_err());
    }

    #[test]
    fn a_redirect_never_leaves_tls_behind() {
        let url = |text: &str| transport::parse_url(text).unwrap();
        let secure = url("https://a/");
        let local = url("http://a/");
        assert_eq!(redirect("", &secure), None);
        assert_eq!(redirect("not a url", &secure), None);
        assert_eq!(redirect("http://b/", &secure), None);
        assert_eq!(redirect("https://b/", &secure), Some(url("https://b/")));
        assert_eq!(redirect("http://b/", &local), Some(url("http://b/")));
        assert_eq!(redirect("moqt://b/", &local), Some(url("moqt://b/")));
    }
}

//! The token that relays want, and when a new one is wanted: before it expires, and when a relay refuses it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::net::config::Secret;

/// The longest time before its end at which a token is renewed; of a short life it is the last fifth.
const AHEAD: Duration = Duration::from_secs(30);
/// Whoever gives out bad tokens is not asked more often than this because of refusals.
const REFUSALS: Duration = Duration::from_secs(1);
/// The shortest time until a request that was not answered is made again.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest sleep: the clock of the wall is set and machines are suspended.
const LOOK: Duration = Duration::from_secs(60);
/// No token is longer; what is longer is not looked into.
const LONGEST: usize = 64 << 10;

/// The token and the requests for another one.
pub struct Tokens {
    current: watch::Sender<Option<Secret>>,
    /// The URL, without query, that a token is wanted for.
    wanted: watch::Sender<Option<String>>,
    /// The last request because of a refusal.
    refused: Mutex<Option<Instant>>,
}

impl Tokens {
    pub fn new(first: Option<Secret>) -> Self {
        Self {
            current: watch::Sender::new(first),
            wanted: watch::Sender::new(None),
            refused: Mutex::default(),
        }
    }

    pub fn current(&self) -> Option<Secret> {
        self.current.borrow().clone()
    }

    /// False when it is the one that is there already.
    pub fn set(&self, token: Option<Secret>) -> bool {
        self.wanted.send_replace(None);
        self.current.send_if_modified(|current| {
            let changed = *current != token;
            *current = token;
            changed
        })
    }

    /// What a token is wanted for, if one is; and word of every further request.
    pub fn requests(&self) -> watch::Receiver<Option<String>> {
        self.wanted.subscribe()
    }

    /// The relay at `url` refused the token.
    pub fn refused(&self, url: &str) {
        let mut last = self.refused.lock();
        if last.is_some_and(|last| last.elapsed() < REFUSALS) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        self.request(url);
    }

    /// Requests a token for `url` whenever the one that is there is about to expire. For ever.
    pub async fn renew(&self, url: &str) {
        let mut tokens = self.current.subscribe();
        loop {
            let life = tokens.borrow_and_update().as_ref().and_then(Life::of);
            let expiring = async {
                match life {
                    Some(life) => self.request_before_the_end(life, url).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expiring => {}
                changed = tokens.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            // Expired: what follows is refused.
            if tokens.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends with the token.
    async fn request_before_the_end(&self, life: Life, url: &str) {
        loop {
            let now = SystemTime::now();
            let left = life.left(now);
            let until_due = life.until_due(now);
            if left.is_zero() {
                // It may have been so from the start, when nobody was asked yet.
                self.request(url);
                return;
            }
            if until_due.is_zero() {
                self.request(url);
                sleep((left / 2).max(AGAIN).min(left)).await;
            } else {
                sleep(until_due.min(LOOK)).await;
            }
        }
    }

    fn request(&self, url: &str) {
        self.wanted.send_replace(Some(url.to_owned()));
    }
}

/// From when to when a token holds (RFC 7519 sections 4.1.4 and 4.1.6), by its own word: nothing is verified.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Life {
    /// s since 1970.
    begin: f64,
    end: f64,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    iat: Option<f64>,
}

impl Life {
    /// `None` for a token that is no JWT, or tells no end.
    fn of(token: &Secret) -> Option<Self> {
        if token.0.len() > LONGEST {
            return None;
        }
        let mut parts = token.0.split('.');
        let payload = parts.nth(1)?.trim_end_matches('=');
        parts.next()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let begin = claims.iat.unwrap_or_else(|| seconds(SystemTime::now()));
        Some(Self {
            begin,
            end: claims.exp,
        })
    }

    fn left(self, now: SystemTime) -> Duration {
        duration(self.end - seconds(now))
    }

    fn until_due(self, now: SystemTime) -> Duration {
        let ahead = (duration(self.end - self.begin) / 5).min(AHEAD);
        self.left(now).saturating_sub(ahead)
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Zero for what is negative, years for what is too long or no number.
fn duration(seconds: f64) -> Duration {
    const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);
    Duration::try_from_secs_f64(seconds.max(0.0))
        .unwrap_or(LONG)
        .min(LONG)
}

/// A JWT with these claims, and a signature that nobody checks.
#[cfg(test)]
pub(super) fn jwt(claims: &str) -> Secret {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(r#"{"alg":"HS256"}"#);
    Secret(format!("{header}.{}.{}", part(claims), part("signature")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_renewed_half_a_minute_before_its_end_or_in_the_last_fifth_of_a_short_life() {
        for (claims, due) in [
            (r#"{"iat":1000,"exp":4600}"#, 4570),
            (r#"{"iat":1000.0,"exp":1010,"root":"a"}"#, 1008),
            (r#"{"iat":1000,"exp":900}"#, 900),
        ] {
            let life = Life::of(&jwt(claims)).unwrap();
            let wait = life.until_due(at(800));
            assert_eq!(wait, Duration::from_secs(due - 800), "{claims}");
            assert_eq!(life.until_due(at(due + 1)), Duration::ZERO, "{claims}");
        }
        // Without a beginning it begins when it is given.
        let now = SystemTime::now();
        let claims = format!(r#"{{"exp":{}}}"#, seconds(now) + 100.0);
        let wait = Life::of(&jwt(&claims)).unwrap().until_due(now);
        assert!((79.0..81.0).contains(&wait.as_secs_f64()), "{wait:?}");
    }

    #[test]
    fn what_is_no_jwt_or_tells_no_end_is_never_renewed() {
        for token in ["", "secret", "a.b", "a.b.c", "..", "a.e30.c"] {
            assert_eq!(Life::of(&Secret(token.into())), None, "{token}");
        }
        assert_eq!(Life::of(&jwt(r#"{"exp":"soon"}"#)), None);
        assert_eq!(Life::of(&jwt(r#"{"iat":1}"#)), None);
        assert_eq!(Life::of(&Secret("a".repeat(LONGEST + 1))), None);
        for exp in ["1e300", "-1e300"] {
            let life = Life::of(&jwt(&format!(r#"{{"iat":0,"exp":{exp}}}"#))).unwrap();
            let _ = life.until_due(at(1));
        }
    }

    #[tokio::test]
    async fn bad_tokens_are_not_asked_for_in_a_loop() {
        let tokens = Tokens::new(None);
        let mut requests = tokens.requests();
        tokens.refused("https://h/");
        assert_eq!(requests.borrow_and_update().as_deref(), Some("https://h/"));
        assert!(tokens.set(Some(Secret("bad".into()))));
        assert_eq!(*requests.borrow_and_update(), None);
        tokens.refused("https://h/");
        assert!(!requests.has_changed().unwrap());
        assert!(!tokens.set(Some(Secret("bad".into()))));
    }
}

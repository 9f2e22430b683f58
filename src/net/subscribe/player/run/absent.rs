//! What is said of a broadcast that is waited for in vain: once, with what the relay announces instead.

use std::time::{Duration, Instant};

use crate::net::{
    error::{Cause, Error},
    session::State,
};

/// How long a relay may take to announce what it has, a publisher that starts at the same time included.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many other names are told.
const NAMES: usize = 5;
/// How much of each: strangers choose them.
const NAME_LENGTH: usize = 80;

/// One wait for a broadcast.
pub(super) struct Absence {
    told: bool,
    /// Where the connection goes, and since when it is up.
    connected: Option<(String, Instant)>,
}

impl Absence {
    /// `told`: the user knows already that it is not there.
    pub fn new(told: bool) -> Self {
        Self {
            told,
            connected: None,
        }
    }

    /// Takes the connection's state: without one nothing can be said about the broadcast.
    pub fn look(&mut self, state: &State, now: Instant) {
        self.connected = match state {
            State::Connected { info, .. } => {
                let since = self.connected.take().map_or(now, |(_, since)| since);
                Some((info.url.clone(), since))
            }
            _ => None,
        };
    }

    pub fn is_untold(&self) -> bool {
        !self.told
    }

    /// When it is time to tell.
    pub fn due(&self) -> Option<Instant> {
        let (_, since) = self.connected.as_ref()?;
        (!self.told).then(|| *since + PATIENCE)
    }

    /// What to tell, of the names that are `announced`; not due again.
    pub fn tell(&mut self, broadcast: &str, announced: &[String]) -> Error {
        self.told = true;
        let at = self.connected.as_ref().map_or("", |(url, _)| url.as_str());
        Error::new(
            Cause::NoBroadcast,
            format!(
                "{at} does not announce the broadcast '{broadcast}', which is waited for; {}",
                instead(broadcast, announced)
            ),
        )
    }
}

/// The names that begin most like the one that is missed come first.
fn instead(broadcast: &str, announced: &[String]) -> String {
    let mut names: Vec<&String> = announced.iter().filter(|name| !name.is_empty()).collect();
    let common = |name: &str| {
        let both = name.chars().zip(broadcast.chars());
        both.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
    };
    names.sort_by_key(|name| std::cmp::Reverse(common(name)));
    if names.is_empty() {
        return "it announces none to us".to_owned();
    }
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| quoted(name)).collect();
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("it announces {}{more}", shown.join(", "))
}

fn quoted(name: &str) -> String {
    let clean = name.chars().filter(|c| !c.is_control());
    format!("'{}'", clean.take(NAME_LENGTH).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::session::SessionInfo;

    fn connected() -> State {
        State::Connected {
            info: Arc::new(SessionInfo {
                url: "https://r/".into(),
                transport: "quic",
                version: "moq-lite-06".into(),
            }),
            generation: 1,
            silence: None,
        }
    }

    #[test]
    fn it_is_told_once_when_the_connection_is_up_for_a_while() {
        let start = Instant::now();
        let mut absence = Absence::new(false);
        absence.look(&State::Connecting { last: None }, start);
        assert_eq!(absence.due(), None);
        absence.look(&connected(), start);
        absence.look(&connected(), start + PATIENCE / 2);
        assert_eq!(absence.due(), Some(start + PATIENCE));
        let told = absence.tell("a", &[]);
        assert_eq!(told.cause, Cause::NoBroadcast);
        assert!(told.message.contains("https://r/") && told.message.contains("'a'"));
        assert_eq!(absence.due(), None);
        let mut known = Absence::new(true);
        known.look(&connected(), start);
        assert_eq!(known.due(), None);
    }

    #[test]
    fn names_are_few_bounded_and_the_likest_come_first() {
        let names: Vec<String> = (0..8).map(|n| format!("other{n}")).collect();
        assert_eq!(instead("a", &[]), "it announces none to us");
        let mut all = names;
        all.push("Camera.hang\u{7}".repeat(20));
        let text = instead("camera.han", &all);
        assert!(text.starts_with("it announces 'Camera.hang"), "{text}");
        assert!(text.ends_with("'other3' and 4 more"), "{text}");
        assert!(!text.contains('\u{7}') && text.len() < 200, "{text}");
    }
}

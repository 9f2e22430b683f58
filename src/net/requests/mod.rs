//! Requests for key frames from players to the publisher, which the protocol library has no word for.
//!
//! A player that waits for key frames publishes a broadcast of its own below that which it plays, `<broadcast>/.requests/<id>`, with
//! one track `.control` that says of which tracks. The publisher watches for such broadcasts. Nobody else sees them: a segment that
//! begins with a dot hides a broadcast from all who do not name that segment in the prefix that they ask for
//! (draft-lcurley-moq-hidden-00, and moq-lite likewise). docs/requests.md specifies it.

mod asker;
mod listener;
mod message;
mod places;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub(in crate::net) use asker::Asker;
pub use listener::{Heard, Listener};

use super::{
    error::{Cause, Error},
    session::{Connection, Retention, State},
};
use crate::runtime;

/// The track of a request broadcast.
const TRACK: &str = ".control";

/// Small, and not what media is published or received with: closing one waits for nothing of the other.
const RETENTION: Retention = Retention {
    age: Duration::from_secs(2),
    bytes: 1 << 20,
};

/// What the request broadcasts of a broadcast are below.
fn place(broadcast: &str) -> String {
    format!("{}/.requests", broadcast.trim_matches('/'))
}

/// Tells once when the relay does not let the connection in. That it is not there the connection that carries the media says, too.
fn tell_refusal(
    connection: &Connection,
    what: &'static str,
    tell: Arc<dyn Fn(Error) + Send + Sync>,
) {
    let mut states = connection.state();
    runtime::handle().spawn(async move {
        loop {
            let refusal = refusal(&states.borrow_and_update());
            if let Some(err) = refusal {
                let text = format!("{what}: {err}; the media goes on without");
                return tell(Error::new(err.cause, text));
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    });
}

fn refusal(state: &State) -> Option<Error> {
    match state {
        State::Failed(err) => Some(err.clone()),
        State::Connecting { last: Some(err) } | State::Reconnecting { last: err } => {
            let refused = matches!(err.cause, Cause::Auth | Cause::Version | Cause::Settings);
            refused.then(|| err.clone())
        }
        State::Connecting { last: None } | State::Connected { .. } => None,
    }
}

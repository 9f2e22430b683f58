//! What the player tells, until the element's event thread takes it: the newest of each kind, so that a publisher that changes
//! its catalog without end fills nothing.

use std::{mem::discriminant, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::net::subscribe::PlayerEvent;

#[derive(Default)]
struct Mailbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    /// In the order in which they came; one of each kind at most, or of each kind and track.
    events: Vec<PlayerEvent>,
    closed: bool,
}

/// The end that the player has. The mailbox is closed when it is dropped.
pub(super) struct Slot(Arc<Mailbox>);

/// The end that is emptied.
pub(super) struct Letters(Arc<Mailbox>);

pub(super) fn mailbox() -> (Slot, Letters) {
    let mailbox = Arc::<Mailbox>::default();
    (Slot(mailbox.clone()), Letters(mailbox))
}

fn replaces(new: &PlayerEvent, old: &PlayerEvent) -> bool {
    match (new, old) {
        (PlayerEvent::Resumed { track: new }, PlayerEvent::Resumed { track: old }) => new == old,
        _ => discriminant(new) == discriminant(old),
    }
}

impl Slot {
    /// Never waits.
    pub(super) fn put(&self, event: PlayerEvent) {
        let mut state = self.0.state.lock();
        state.events.retain(|waiting| !replaces(&event, waiting));
        state.events.push(event);
        drop(state);
        self.0.filled.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl Letters {
    /// What has come, waiting for it; `None` once the mailbox is closed and empty.
    pub(super) async fn take(&mut self) -> Option<Vec<PlayerEvent>> {
        loop {
            {
                let mut state = self.0.state.lock();
                if !state.events.is_empty() {
                    return Some(std::mem::take(&mut state.events));
                }
                if state.closed {
                    return None;
                }
            }
            self.0.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{media::catalog::Catalog, runtime};

    #[test]
    fn of_many_catalogs_the_newest_is_taken() {
        let (slot, mut letters) = mailbox();
        slot.put(PlayerEvent::Searching);
        let newest = Arc::new(Catalog::default());
        for _ in 0..1000 {
            slot.put(PlayerEvent::Catalog(Arc::default()));
        }
        slot.put(PlayerEvent::Catalog(newest.clone()));
        drop(slot);
        let events = runtime::handle().block_on(letters.take());
        let events = events.expect("what was put before the end");
        let [PlayerEvent::Searching, PlayerEvent::Catalog(catalog)] = &events[..] else {
            panic!("{events:?}");
        };
        assert!(Arc::ptr_eq(catalog, &newest));
        assert!(runtime::handle().block_on(letters.take()).is_none());
    }
}

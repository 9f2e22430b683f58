//! The connections of the process, so that equal ones are shared.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Weak},
};

use parking_lot::Mutex;

use super::{Guard, Retention, Role, State};
use crate::net::config::ConnectConfig;

/// What tells one connection from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub config: Arc<ConnectConfig>,
    pub role: Role,
    pub retention: Retention,
    /// What alone is heard of, of all that the relay announces.
    pub below: Option<String>,
}

impl Key {
    pub fn new(config: ConnectConfig, role: Role, retention: Retention) -> Self {
        Self {
            config: Arc::new(config),
            role,
            retention,
            below: None,
        }
    }
}

static CONNECTIONS: LazyLock<Mutex<HashMap<Key, Weak<Guard>>>> = LazyLock::new(Mutex::default);

/// The living connection of this key, or what `start` makes.
pub fn join(key: Key, start: impl FnOnce(Key) -> Guard) -> Arc<Guard> {
    let mut connections = CONNECTIONS.lock();
    // Kept until the lock is released: dropping a guard takes the lock.
    let old = connections.get(&key).and_then(Weak::upgrade);
    let joined = match &old {
        Some(guard) if !matches!(*guard.shared.state.borrow(), State::Failed(_)) => guard.clone(),
        _ => {
            let guard = Arc::new(start(key.clone()));
            connections.insert(key, Arc::downgrade(&guard));
            guard
        }
    };
    drop(connections);
    joined
}

/// Removes the entry of a dead connection; one that took its place stays.
pub fn forget(key: &Key) {
    let mut connections = CONNECTIONS.lock();
    if connections
        .get(key)
        .is_some_and(|guard| guard.strong_count() == 0)
    {
        connections.remove(key);
    }
}

//! What all sessions of a relay share: the origin, the table of sessions, the limits and the counters.
//!
//! Locks: `sessions`, `addresses`, `broadcasts` and `finished` are leaves; none is held while another is taken or
//! while anything is awaited.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use moq_net::{cache, origin, stats::Registry};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::{Access, Grant, network_of},
    config::{Limits, RelayConfig},
    held::{Gate, Held},
    limits::{self, Live},
    metrics,
    prepared::Prepared,
    stats::{Counters, Event, Moved, PeerStats, SessionInfo, Stats},
    web::Places,
};
use crate::{http, net::transport::certificate::Resolver};

/// TOO_MANY_REQUESTS of moq-transport (draft 14 section 3.4, "Termination"), which moq-lite does not name.
const TOO_MANY_REQUESTS: u32 = 0x7;

pub(super) struct Shared {
    pub resolver: Arc<Resolver>,
    pub access: Access,
    pub limits: Limits,
    pub versions: moq_net::Versions,
    pub origin: origin::Producer,
    pub counters: Counters,
    /// No newcomers any more.
    pub stopping: CancellationToken,
    /// Sessions say GOAWAY, with [`Shared::drain_window`] milliseconds left.
    pub draining: CancellationToken,
    drain_window: AtomicU64,
    /// Everything is closed; what still runs ends.
    pub ended: CancellationToken,
    /// One task per connection.
    pub tasks: TaskTracker,
    pub handshakes: AtomicUsize,
    pub http: Places,
    /// The page that is served over HTTP.
    pub web_root: Option<PathBuf>,
    pub gate: Arc<Gate>,
    pub prepared: Prepared,
    pub cache_age: Duration,
    next_id: AtomicU64,
    sessions: Mutex<HashMap<u64, Session>>,
    addresses: Mutex<Addresses>,
    broadcasts: Mutex<BTreeSet<String>>,
    finished: Mutex<Moved>,
    /// Counters held for single names, over all sessions, when they were last pruned.
    counted_names: AtomicUsize,
    events: mpsc::SyncSender<Event>,
}

/// A session that is up.
struct Session {
    info: SessionInfo,
    moq: moq_net::Session,
    registry: Registry,
    held: Arc<Held>,
}

#[derive(Default)]
struct Addresses {
    total: usize,
    each: HashMap<IpAddr, usize>,
}

/// A place among the sessions, given back when dropped.
pub(super) struct Slot {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut addresses = self.shared.addresses.lock();
        addresses.total -= 1;
        if let Some(count) = addresses.each.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.each.remove(&self.address);
            }
        }
    }
}

impl Shared {
    pub fn start(
        config: RelayConfig,
        access: Access,
        resolver: Arc<Resolver>,
        versions: moq_net::Versions,
        events: mpsc::SyncSender<Event>,
        runtime: &Handle,
    ) -> Arc<Self> {
        let pool = cache::Pool::new(
            cache::Config::default()
                .with_capacity(config.cache.bytes)
                .with_expiry(config.cache.age),
        );
        let mut settings = origin::Config::default();
        settings.pool = pool.clone();
        let (origin, driver) = origin::Producer::new(settings);
        let shared = Arc::new(Self {
            resolver,
            access,
            limits: config.limits,
            versions,
            origin,
            counters: Counters::default(),
            stopping: CancellationToken::new(),
            draining: CancellationToken::new(),
            drain_window: AtomicU64::new(0),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
            handshakes: AtomicUsize::new(0),
            http: Places::default(),
            web_root: config.web_root,
            gate: Gate::new(pool, &config.cache),
            prepared: Prepared::default(),
            cache_age: config.cache.age,
            next_id: AtomicU64::new(1),
            sessions: Mutex::default(),
            addresses: Mutex::default(),
            broadcasts: Mutex::default(),
            finished: Mutex::default(),
            counted_names: AtomicUsize::new(0),
            events,
        });
        let ended = shared.ended.clone();
        runtime.spawn(async move { ended.run_until_cancelled(moq_net::time::run(driver)).await });
        runtime.spawn(watch_broadcasts(shared.clone()));
        runtime.spawn(limits::watch(shared.clone()));
        shared
    }

    /// A place for a peer, unless there are too many.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = network_of(address);
        let mut addresses = self.addresses.lock();
        let from_there = addresses.each.get(&address).copied().unwrap_or(0);
        if addresses.total >= self.limits.sessions || from_there >= self.limits.sessions_per_address
        {
            self.counters.refused_limit.add_one();
            return None;
        }
        addresses.total += 1;
        addresses.each.insert(address, from_there + 1);
        Some(Slot {
            shared: self.clone(),
            address,
        })
    }

    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn add_session(
        &self,
        info: &SessionInfo,
        moq: moq_net::Session,
        registry: Registry,
        held: Arc<Held>,
    ) {
        self.counters.sessions_total.add_one();
        self.sessions.lock().insert(
            info.id,
            Session {
                info: info.clone(),
                moq,
                registry,
                held,
            },
        );
        tracing::info!(id = info.id, peer = %info.peer, transport = info.transport, version = info.version, scope = info.scope, "session added");
        self.tell(Event::SessionAdded(info.clone()));
    }

    pub fn remove_session(&self, id: u64, reason: String) {
        let Some(session) = self.sessions.lock().remove(&id) else {
            return;
        };
        self.finished
            .lock()
            .add_totals(&Moved::of(&session.registry));
        tracing::info!(id, reason, "session removed");
        self.tell(Event::SessionRemoved(session.info, reason));
    }

    /// Has every session say GOAWAY and leaves them this long.
    pub fn drain(&self, window: Duration) {
        self.drain_window
            .store(window.as_millis() as u64, Ordering::Relaxed);
        self.tasks.close();
        self.draining.cancel();
    }

    pub fn drain_window(&self) -> Duration {
        Duration::from_millis(self.drain_window.load(Ordering::Relaxed))
    }

    pub fn announced(&self) -> Vec<String> {
        self.broadcasts.lock().iter().cloned().collect()
    }

    pub fn stats(&self) -> Stats {
        // Reading the counters of moq_net takes its locks: not under ours.
        let sessions: Vec<_> = {
            let table = self.sessions.lock();
            table
                .values()
                .map(|session| {
                    (
                        session.info.clone(),
                        session.moq.stats(),
                        session.registry.clone(),
                    )
                })
                .collect()
        };
        let mut total = *self.finished.lock();
        let mut peers = Vec::with_capacity(sessions.len());
        for (info, wire, registry) in sessions {
            let moved = Moved::of(&registry);
            total.add_totals(&moved);
            total.subscriptions += moved.subscriptions;
            peers.push(PeerStats {
                info,
                rtt: wire.rtt,
                bytes_sent: wire.bytes_sent.unwrap_or(0),
                bytes_received: wire.bytes_received.unwrap_or(0),
                packets_lost: wire.packets_lost.unwrap_or(0),
                broadcasts: moved.broadcasts,
                subscriptions: moved.subscriptions,
            });
        }
        peers.sort_by_key(|peer| peer.info.id);
        Stats {
            sessions: peers.len() as u64,
            sessions_total: self.counters.sessions_total.get(),
            refused_limit: self.counters.refused_limit.get(),
            refused_access: self.counters.refused_access.get(),
            failed_handshakes: self.counters.failed_handshakes.get(),
            closed_limit: self.counters.closed_limit.get(),
            stalled_streams: self.gate.stalled.get(),
            broadcasts: self.broadcasts.lock().len() as u64,
            subscriptions: total.subscriptions,
            bytes_received: total.bytes_received,
            frames_received: total.frames_received,
            bytes_sent: total.bytes_sent,
            frames_sent: total.frames_sent,
            cache_bytes: self.gate.used(),
            http_requests: self.counters.http_requests.get(),
            events_lost: self.counters.events_lost.get(),
            peers,
        }
    }

    /// The sessions that are up.
    pub fn live(&self) -> Vec<Live> {
        let table = self.sessions.lock();
        table
            .values()
            .map(|session| Live {
                id: session.info.id,
                peer: session.info.peer.ip(),
                moq: session.moq.clone(),
                registry: session.registry.clone(),
                held: session.held.clone(),
            })
            .collect()
    }

    pub fn close_for_limit(&self, id: u64, moq: &moq_net::Session, reason: &str) {
        self.counters.closed_limit.add_one();
        moq.abort(moq_net::Error::Session(moq_net::SessionError::Unknown(
            TOO_MANY_REQUESTS,
        )));
        self.remove_session(id, reason.to_owned());
    }

    /// Tells of a name that these sessions both announce, unless one has just gone.
    pub fn tell_contested(&self, name: String, ids: [u64; 2]) {
        let infos = {
            let sessions = self.sessions.lock();
            let info = |id: u64| sessions.get(&id).map(|session| session.info.clone());
            [info(ids[0]), info(ids[1])]
        };
        if let [Some(old), Some(new)] = infos {
            tracing::warn!(name, peers = ?[old.peer, new.peer], "two publishers of one broadcast");
            self.tell(Event::BroadcastContested(name, [old, new]));
        }
    }

    pub fn note_names(&self, names: usize) {
        self.counted_names.store(names, Ordering::Relaxed);
    }

    pub fn counted_names(&self) -> usize {
        self.counted_names.load(Ordering::Relaxed)
    }

    pub fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.counters.events_lost.add_one();
        }
    }
}

impl http::Source for Shared {
    fn fingerprint(&self) -> [u8; 32] {
        self.resolver.current().fingerprint()
    }

    fn announced(&self, peer: IpAddr, site: http::Site, prefix: &str) -> Vec<String> {
        let Grant { subscribe, .. } = self.access.grant(peer, site);
        let prefix = moq_net::Path::new(prefix);
        let below = |name: &String| {
            let name = moq_net::Path::new(name);
            name.strip_prefix(&prefix)
                .filter(|rest| !rest.is_empty())
                .map(|rest| rest.to_string())
        };
        self.announced()
            .iter()
            .filter(|name| subscribe.matches(name))
            .filter_map(below)
            .collect()
    }

    fn metrics(&self, peer: IpAddr, site: http::Site) -> Option<String> {
        self.access
            .trusts(peer, site)
            .then(|| metrics::text(&self.stats()))
    }

    fn allowed_origins(&self) -> &http::AllowedOrigins {
        &self.access.origins
    }

    fn count(&self) {
        self.counters.http_requests.add_one();
    }
}

async fn watch_broadcasts(shared: Arc<Shared>) {
    let mut announced = shared.origin.consume().announced();
    let ended = shared.ended.clone();
    while let Some(Some(update)) = ended.run_until_cancelled(announced.next()).await {
        let name = update.prefix.to_string();
        match update.kind {
            moq_net::announce::Kind::Retracted => {
                if shared.broadcasts.lock().remove(&name) {
                    shared.tell(Event::BroadcastRemoved(name));
                }
            }
            _ => {
                if shared.broadcasts.lock().insert(name.clone()) {
                    shared.prepared.follow(&shared, &name, &update.route);
                    shared.tell(Event::BroadcastAdded(name));
                }
            }
        }
    }
}

//! From a QUIC packet of a newcomer to a MoQ session, and to its end.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use moq_net::{Pattern, Patterns, goaway::Goaway, origin, stats};
use tokio::time::timeout;
use web_transport_quinn::{
    Request,
    http::{self, StatusCode},
    proto::{ConnectRequest, ConnectResponse},
};

use super::{
    access::{Grant, scope_of},
    held::Held,
    metered::Metered,
    shared::{Shared, Slot},
    stats::SessionInfo,
};
use crate::{
    http::Site,
    net::transport::{Session as Transport, Wire},
};

/// Above this many handshakes at once, addresses have to be proven first (QUIC Retry, RFC 9000 section 8.1.2), which
/// costs an honest peer one round trip.
const RETRY_ABOVE: usize = 64;

/// INVALID_PATH and MALFORMED_PATH in one: a path that names no place here (moq-transport, "Termination").
const MALFORMED_PATH: u32 = 0x9;

/// Refusals for want of a place are not logged more often.
const WARNING_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a refused peer has to take note of it.
const REFUSAL_LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a connection became no session.
enum Refused {
    /// The peer, or the path to it, failed.
    Handshake(String),
    /// Our rules.
    Access(&'static str),
}

impl<E: std::error::Error> From<E> for Refused {
    fn from(err: E) -> Self {
        Self::Handshake(err.to_string())
    }
}

/// Accepts connections until the relay stops.
pub(super) async fn accept(shared: Arc<Shared>, endpoint: quinn::Endpoint) {
    let mut warned: Option<Instant> = None;
    while let Some(Some(incoming)) = shared.stopping.run_until_cancelled(endpoint.accept()).await {
        if shared.handshakes.load(Ordering::Relaxed) > RETRY_ABOVE && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let peer = incoming.remote_address();
        match shared.admit(peer.ip()) {
            Some(slot) => {
                shared.tasks.spawn(serve(shared.clone(), incoming, slot));
            }
            None => {
                // The counter has them all; a flood of them must not become a flood of log lines.
                if warned.is_none_or(|last| last.elapsed() > WARNING_PAUSE) {
                    warned = Some(Instant::now());
                    let refused = shared.counters.refused_limit.get();
                    tracing::warn!(%peer, refused, "connection refused: too many sessions");
                }
                incoming.refuse();
            }
        }
    }
}

/// One connection, from its first packet to its end; the slot is held for as long.
async fn serve(shared: Arc<Shared>, incoming: quinn::Incoming, _slot: Slot) {
    let peer = incoming.remote_address();
    let connection = {
        let _handshake = Handshaking::new(&shared);
        accept_quic(incoming)
            .in_time(shared.limits.handshake_timeout)
            .await
    };
    let connection = match connection {
        Ok(connection) => connection,
        Err(refused) => return refuse(&shared, peer, &refused),
    };
    let setup = {
        let _handshake = Handshaking::new(&shared);
        setup(&shared, connection.clone())
            .in_time(shared.limits.setup_timeout)
            .await
    };
    match setup {
        Ok(established) => established.run(&shared).await,
        Err(refused) => {
            refuse(&shared, peer, &refused);
            // What the refusal said is still on its way.
            let _ = timeout(REFUSAL_LINGER, connection.closed()).await;
            connection.close(0u32.into(), b"");
        }
    }
}

/// A connection that our SETTINGS may go out on: over HTTP/3 they are sent with the server's own part of the TLS handshake
/// (0.5-RTT data, RFC 9001 section 4.1), because a client waits for them before its CONNECT (draft-ietf-webtrans-http3, "Session
/// establishment"). They are the same for everybody, and nothing else is sent before the client has proven its address: its
/// request needs the keys of the finished handshake.
async fn accept_quic(
    incoming: quinn::Incoming,
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut connecting = incoming.accept()?;
    let data = connecting.handshake_data().await?;
    if Wire::of(Some(data)) == Wire::Quic {
        return connecting.await;
    }
    match connecting.into_0rtt() {
        Ok((connection, _)) => Ok(connection),
        Err(connecting) => connecting.await,
    }
}

fn refuse(shared: &Shared, peer: SocketAddr, refused: &Refused) {
    match refused {
        Refused::Handshake(err) => {
            shared.counters.failed_handshakes.add_one();
            tracing::debug!(%peer, err, "handshake failed");
        }
        Refused::Access(reason) => {
            shared.counters.refused_access.add_one();
            tracing::warn!(%peer, reason, "session refused");
        }
    }
}

/// Counts a handshake while it lasts.
struct Handshaking<'a>(&'a Shared);

impl<'a> Handshaking<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

trait InTime<T> {
    async fn in_time(self, limit: std::time::Duration) -> Result<T, Refused>;
}

impl<T, E: Into<Refused>, F: Future<Output = Result<T, E>>> InTime<T> for F {
    async fn in_time(self, limit: std::time::Duration) -> Result<T, Refused> {
        match timeout(limit, self).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Refused::Handshake("took too long".to_owned())),
        }
    }
}

/// A session that is ready to run.
struct Established {
    info: SessionInfo,
    moq: moq_net::Session,
    driver: moq_net::Driver<Metered>,
    registry: stats::Registry,
    held: Arc<Held>,
}

async fn setup(
    shared: &Arc<Shared>,
    connection: quinn::Connection,
) -> Result<Established, Refused> {
    let peer = connection.remote_address();
    let server = moq_net::Server::new().with_versions(shared.versions.clone());

    let wire = Wire::of(connection.handshake_data());
    let (transport, url_path, grant) = match wire {
        Wire::WebTransport => {
            let (session, path, grant) = web_transport(shared, connection).await?;
            (session, Some(path), grant)
        }
        Wire::Quic => {
            // No browser speaks raw QUIC: there is no page behind it.
            let grant = shared.access.grant(peer.ip(), Site::Peer);
            (web_transport_quinn::Session::raw(connection), None, grant)
        }
    };

    let held = Held::new(shared.gate.clone());
    // Browsers name the page's site. To programs the capsule is more: web-transport-quinn loses the code that comes without.
    let is_page = transport
        .request()
        .is_some_and(|request| request.headers.contains_key(http::header::ORIGIN));
    let transport = match is_page {
        true => Transport::new(transport).closing_quic(),
        false => Transport::new(transport),
    };
    let transport = Metered::new(transport, held.clone(), shared.limits.stall_timeout);
    let handshake = server.accept_request(Instant::now(), transport).await?;
    // A WebTransport URL is what the peer dialled; the path inside SETUP is for transports without one.
    let Some(scope) = url_path.map_or_else(|| scope_of(handshake.path()), Some) else {
        handshake.close(moq_net::Error::Session(moq_net::SessionError::Unknown(
            MALFORMED_PATH,
        )));
        return Err(Refused::Access("its path is malformed"));
    };
    let registry = stats::Registry::new(stats::Config::new());
    let context = registry
        .tier(stats::Tier::default())
        .session(scope.as_str());
    let Some((consumer, producer)) = scoped(&shared.origin, &grant, &scope) else {
        handshake.close(moq_net::Error::Unauthorized);
        return Err(Refused::Access("the access rules allow it nothing there"));
    };
    let mut handshake = handshake.with_stats(context);
    if let Some(consumer) = consumer {
        handshake = handshake.with_publisher(&consumer);
    }
    if let Some(producer) = producer {
        handshake = handshake.with_subscriber(producer);
    }
    let (moq, driver) = handshake.ok().await?;
    let version = moq.version().to_string();
    let info = SessionInfo {
        id: shared.next_id(),
        peer,
        transport: wire.as_str(),
        version,
        scope,
    };
    Ok(Established {
        info,
        moq,
        driver,
        registry,
        held,
    })
}

/// Answers the CONNECT request of a WebTransport client; also returns the scope that its URL names and what it may do.
async fn web_transport(
    shared: &Shared,
    connection: quinn::Connection,
) -> Result<(web_transport_quinn::Session, String, Grant), Refused> {
    let peer = connection.remote_address();
    let request = Request::accept(connection).await?;
    let authority = &request.url[url::Position::BeforeHost..url::Position::AfterPort];
    let origins = &shared.access.origins;
    let site = origins.site(peer.ip(), &request.headers, Some(authority), None);
    if site == Site::Refused {
        request.reject(StatusCode::FORBIDDEN).await?;
        return Err(Refused::Access(
            "the page's origin is not among allowed-origins",
        ));
    }
    let grant = shared.access.grant(peer.ip(), site);
    let Some(scope) = scope_of(request.url.path()) else {
        request.reject(StatusCode::BAD_REQUEST).await?;
        return Err(Refused::Access("its path is malformed"));
    };
    if grant.is_empty() {
        request.reject(StatusCode::FORBIDDEN).await?;
        return Err(Refused::Access("the access rules allow it nothing"));
    }
    let response = match choose(&request, &shared.versions.alpns()) {
        Ok(response) => response,
        Err(reason) => {
            request.reject(StatusCode::NOT_ACCEPTABLE).await?;
            return Err(Refused::Handshake(reason));
        }
    };
    Ok((request.respond(response).await?, scope, grant))
}

/// The first protocol of the client's list that we speak. A client that names none negotiates within MoQ's SETUP.
fn choose(request: &ConnectRequest, offered: &[&str]) -> Result<ConnectResponse, String> {
    if request.protocols.is_empty() {
        return Ok(ConnectResponse::OK);
    }
    match request
        .protocols
        .iter()
        .find(|protocol| offered.contains(&protocol.as_str()))
    {
        Some(protocol) => Ok(ConnectResponse::OK.with_protocol(protocol.clone())),
        None => Err(format!(
            "no protocol in common: the peer offers {}",
            request.protocols.join(", ")
        )),
    }
}

/// The two ends of the origin for one session: what is granted, below its scope. `None` if that is nothing.
fn scoped(
    origin: &origin::Producer,
    grant: &Grant,
    scope: &str,
) -> Option<(Option<origin::Consumer>, Option<origin::Producer>)> {
    let all = Patterns::from(Pattern::all());
    let narrow = |patterns: &Patterns| {
        let granted = (!patterns.is_empty())
            .then(|| origin.scope("", patterns).ok())
            .flatten()?;
        granted.scope(scope, &all).ok()
    };
    let consumer = narrow(&grant.subscribe).map(|origin| origin.consume());
    let producer = narrow(&grant.publish);
    (consumer.is_some() || producer.is_some()).then_some((consumer, producer))
}

impl Established {
    async fn run(self, shared: &Shared) {
        let Self {
            info,
            moq,
            driver,
            registry,
            held,
        } = self;
        shared.add_session(&info, moq.clone(), registry, held);
        let driver = moq_net::time::run(driver);
        tokio::pin!(driver);
        let reason = tokio::select! {
            reason = &mut driver => reason,
            () = shared.draining.cancelled() => {
                let window = shared.drain_window();
                if window.is_zero() {
                    moq.abort(moq_net::Error::GoingAway);
                } else {
                    // The driver closes the session itself when the window is over.
                    let _ = moq.drain().send(Goaway::new().with_timeout(window));
                }
                tokio::select! {
                    reason = &mut driver => reason,
                    () = shared.ended.cancelled() => moq_net::Error::GoingAway,
                }
            }
        };
        shared.remove_session(info.id, reason.to_string());
    }
}

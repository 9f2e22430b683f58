//! A small relay on loopback, with the faults that a test asks for.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use moq_net::origin;
use parking_lot::Mutex;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::StoresServerSessions,
};
use tokio::{sync::watch, task::JoinHandle};
use web_transport_quinn::{http::StatusCode, proto::ConnectResponse};

use crate::{
    net::transport::{Session, endpoint, tls},
    runtime,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    Nobody,
    /// HTTP 401 to the CONNECT request.
    Http,
    /// The MoQ session is closed as unauthorized.
    Moq,
    /// The MoQ session is closed as unauthorized after it was up for this long.
    Late(Duration),
    /// Unless the path ends so.
    Token(&'static str),
    /// The path names nothing there: HTTP 404, or INVALID_PATH.
    Path,
    /// The connection is closed with what was asked for, with the query and its value alone, as the reason.
    Echo,
}

/// What a server speaks, the preferred first.
#[derive(Debug, Clone, Copy)]
pub enum Speaks {
    WebTransportFirst,
    RawQuicFirst,
    WebTransport,
    /// Neither.
    Dns,
}

impl Speaks {
    fn alpns(self) -> Vec<Vec<u8>> {
        let (h3, raw) = (["h3"], moq_net::ALPNS);
        let alpns = match self {
            Self::WebTransportFirst => [&h3, raw].concat(),
            Self::RawQuicFirst => [raw, &h3].concat(),
            Self::WebTransport => h3.to_vec(),
            Self::Dns => vec!["doq"],
        };
        alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect()
    }
}

/// INVALID_PATH (draft-ietf-moq-transport, "Termination").
const INVALID_PATH: u32 = 0x8;

/// A refused peer hangs up sooner.
const LINGER: Duration = Duration::from_secs(2);

struct Inner {
    refuse: Refuse,
    origin: origin::Producer,
    sessions: Mutex<Vec<moq_net::Session>>,
    targets: Mutex<Vec<String>>,
    accepted: watch::Sender<usize>,
}

pub struct Server {
    pub address: SocketAddr,
    pub digest: [u8; 32],
    pub pem: String,
    tickets: Arc<Tickets>,
    inner: Arc<Inner>,
    endpoint: quinn::Endpoint,
    task: JoinHandle<()>,
}

/// The TLS sessions that clients may resume, each once.
#[derive(Debug, Default)]
struct Tickets {
    sessions: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    redeemed: AtomicUsize,
}

impl StoresServerSessions for Tickets {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.sessions.lock().insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.lock().get(key).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = self.sessions.lock().remove(key)?;
        self.redeemed.fetch_add(1, Ordering::Relaxed);
        Some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A certificate that several servers in a row may show.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
}

impl Identity {
    pub fn new() -> Self {
        Self::named(&["localhost", "127.0.0.1", "::1"])
    }

    pub fn named(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
            pem: made.cert.pem(),
        }
    }
}

impl Server {
    pub fn start(refuse: Refuse) -> Self {
        Self::bind("127.0.0.1:0", refuse, &Identity::new())
    }

    pub fn speaking(speaks: Speaks, refuse: Refuse) -> Self {
        Self::bind_speaking("127.0.0.1:0", speaks, refuse, &Identity::new())
    }

    pub fn bind(address: &str, refuse: Refuse, identity: &Identity) -> Self {
        Self::bind_speaking(address, Speaks::WebTransportFirst, refuse, identity)
    }

    pub fn bind_speaking(
        address: &str,
        speaks: Speaks,
        refuse: Refuse,
        identity: &Identity,
    ) -> Self {
        let _context = runtime::handle().enter();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone()));
        let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], key)
            .unwrap();
        let tickets = Arc::new(Tickets::default());
        config.session_storage = tickets.clone();
        config.alpn_protocols = speaks.alpns();
        let quic = QuicServerConfig::try_from(config).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
        let mut transport = endpoint::base();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            Some(config),
            bind(address.parse().unwrap()),
            Arc::new(quinn::TokioRuntime),
        )
        .unwrap();
        let (origin, driver) = origin::Producer::new(origin::Config::default());
        tokio::spawn(moq_net::time::run(driver));
        let inner = Arc::new(Inner {
            refuse,
            origin,
            sessions: Mutex::default(),
            targets: Mutex::default(),
            accepted: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(endpoint.clone(), inner.clone()));
        Self {
            address: endpoint.local_addr().unwrap(),
            digest: tls::digest(&identity.certificate),
            pem: identity.pem.clone(),
            tickets,
            inner,
            endpoint,
            task,
        }
    }

    /// `moqt` stays itself; anything else is a scheme too.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/live", self.address)
    }

    /// How many TLS sessions were resumed.
    pub fn resumed(&self) -> usize {
        self.tickets.redeemed.load(Ordering::Relaxed)
    }

    /// Path and query of each request.
    pub fn targets(&self) -> Vec<String> {
        self.inner.targets.lock().clone()
    }

    pub fn accepted(&self) -> usize {
        *self.inner.accepted.borrow()
    }

    pub async fn wait_accepted(&self, count: usize) {
        let mut accepted = self.inner.accepted.subscribe();
        tokio::time::timeout(Duration::from_secs(10), accepted.wait_for(|n| *n >= count))
            .await
            .expect("sessions in time")
            .unwrap();
    }

    /// The newest session.
    pub fn session(&self) -> moq_net::Session {
        self.inner.sessions.lock().last().unwrap().clone()
    }

    pub fn inner_session(&self, index: usize) -> moq_net::Session {
        self.inner.sessions.lock()[index].clone()
    }

    /// Every session closes.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.endpoint.close(0u32.into(), b"killed");
        self.inner.sessions.lock().clear();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.endpoint.wait_idle()).await;
        drop(self.endpoint);
    }
}

/// A killed server's endpoint lets its socket go a moment after it is dropped.
fn bind(address: SocketAddr) -> std::net::UdpSocket {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match endpoint::socket(address) {
            Ok(socket) => return socket,
            Err(err) if std::time::Instant::now() > deadline => panic!("{address}: {err}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

async fn accept(endpoint: quinn::Endpoint, inner: Arc<Inner>) {
    while let Some(incoming) = endpoint.accept().await {
        let inner = inner.clone();
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                let _ = serve(connection, inner).await;
            }
        });
    }
}

async fn serve(
    connection: quinn::Connection,
    inner: Arc<Inner>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let data = connection
        .handshake_data()
        .unwrap()
        .downcast::<HandshakeData>()
        .unwrap();
    let quic = connection.clone();
    let mut path = None;
    let session = if data.protocol.as_deref() == Some(b"h3") {
        let request = web_transport_quinn::Request::accept(connection).await?;
        let status = match inner.refuse {
            Refuse::Http => Some(StatusCode::UNAUTHORIZED),
            Refuse::Path => Some(StatusCode::NOT_FOUND),
            _ => None,
        };
        if let Some(status) = status {
            let connection = request.conn().clone();
            request.reject(status).await?;
            connection.closed().await;
            return Ok(());
        }
        path = Some(request.url[url::Position::BeforePath..].to_owned());
        if let (Refuse::Echo, Some(path)) = (inner.refuse, &path) {
            echo(&quic, path);
            return Ok(());
        }
        let protocol = request.protocols.first().cloned().unwrap_or_default();
        request
            .respond(ConnectResponse::OK.with_protocol(protocol))
            .await?
    } else {
        web_transport_quinn::Session::raw(connection)
    };
    let handshake = moq_net::Server::new()
        .with_origin(inner.origin.clone())
        .accept_request(std::time::Instant::now(), Session::new(session))
        .await?;
    let path = path.unwrap_or_else(|| handshake.path().to_owned());
    if inner.refuse == Refuse::Echo {
        echo(&quic, &path);
        return Ok(());
    }
    let refusal = match inner.refuse {
        Refuse::Moq => Some(moq_net::SessionError::Unauthorized),
        Refuse::Token(token) if !path.ends_with(token) => Some(moq_net::SessionError::Unauthorized),
        Refuse::Path => Some(moq_net::SessionError::Unknown(INVALID_PATH)),
        Refuse::Token(_) | Refuse::Nobody | Refuse::Http | Refuse::Late(_) | Refuse::Echo => None,
    };
    inner.targets.lock().push(path);
    if let Some(refusal) = refusal {
        handshake.close(moq_net::Error::Session(refusal));
        // The close must reach the peer before the connection goes.
        let _ = tokio::time::timeout(LINGER, quic.closed()).await;
        return Ok(());
    }
    let (session, driver) = handshake.ok().await?;
    if let Refuse::Late(after) = inner.refuse {
        let session = session.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            session.abort(moq_net::Error::Unauthorized);
        });
    }
    inner.sessions.lock().push(session);
    inner.accepted.send_modify(|n| *n += 1);
    moq_net::time::run(driver).await;
    Ok(())
}

fn echo(quic: &quinn::Connection, path: &str) {
    let value = path.rsplit('=').next().unwrap_or_default();
    let reason = format!("{value} is bad, so no {path}");
    quic.close(7u32.into(), reason.as_bytes());
}

//! A session to a relay, made from the protocol library alone: nothing of the elements is measured here.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use gstmoq::net::{
    config::Tls,
    transport::{Session, tls},
};
use moq_net::{cache, origin};
use web_transport_quinn::proto::ConnectRequest;

use crate::rig::{Result, relays::Route};

/// What a session keeps of what it has read, or sent.
const KEPT: Duration = Duration::from_millis(500);
const KEPT_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Publisher,
    Subscriber,
}

/// One session. It is closed when this is dropped.
pub struct Peer {
    pub origin: origin::Producer,
    _moq: moq_net::Session,
    /// A socket of its own, as peers elsewhere have.
    _endpoint: quinn::Endpoint,
}

/// Dials a relay, whoever it says it is.
pub async fn dial(route: &Route, role: Role) -> Result<Peer> {
    let versions = moq_net::Versions::all();
    let is_quic = route.is_quic();
    let alpns = match is_quic {
        true => versions.alpns(),
        false => vec!["h3"],
    };
    let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let quic = endpoint
        .connect_with(config(&alpns)?, route.address, "localhost")?
        .await?;
    let session = match is_quic {
        true => web_transport_quinn::Session::raw(quic),
        false => {
            let protocols = versions.alpns().into_iter().map(str::to_owned);
            let request = ConnectRequest::new(route.through(route.address).parse::<url::Url>()?)
                .with_protocols(protocols);
            web_transport_quinn::Session::connect(quic, request).await?
        }
    };
    let mut settings = origin::Config::default();
    settings.pool = cache::Pool::new(
        cache::Config::default()
            .with_expiry(KEPT)
            .with_capacity(KEPT_BYTES),
    );
    let (origin, driver) = origin::Producer::new(settings);
    tokio::spawn(moq_net::time::run(driver));
    let client = moq_net::Client::new().with_versions(versions);
    let client = match role {
        Role::Publisher => client.with_publisher(&origin),
        Role::Subscriber => client.with_subscriber(origin.clone()),
    };
    let client = match is_quic {
        true => client.with_path("/"),
        false => client,
    };
    let (moq, driver) = client
        .connect(Instant::now(), Session::new(session))
        .await?;
    tokio::spawn(moq_net::time::run(driver));
    Ok(Peer {
        origin,
        _moq: moq,
        _endpoint: endpoint,
    })
}

fn config(alpns: &[&str]) -> Result<quinn::ClientConfig> {
    let trust = Tls {
        disable_verify: true,
        ..Tls::default()
    };
    let tls = tls::client(&trust, None, alpns)?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

//! From one URL to a transport session: resolve, shake hands with the first address that answers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use quinn::crypto::rustls::QuicClientConfig;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};
use url::Url;
use web_transport_quinn::proto::ConnectRequest;

use super::{
    Session,
    address::{Address, Name},
    development, endpoint, failure, qlog,
    race::{Eagerness, race},
    tls, versions,
    wire::{self, Wire},
};
use crate::net::{
    config::{ConnectConfig, Secret, Tls},
    error::{Cause, Error, Result, limit_text},
};

/// A transport session that MoQ can be set up on.
pub struct Dialed {
    pub session: Session,
    /// Of this session alone.
    pub endpoint: quinn::Endpoint,
    pub address: Address,
    /// What the server chose of what [`Address::kind`] offered.
    pub wire: Wire,
    /// What was offered, so that nothing else is accepted.
    pub versions: moq_net::Versions,
}

/// What is dialled, and how.
#[derive(Debug, Clone, Copy)]
pub struct Dial<'a> {
    pub url: &'a Url,
    pub token: Option<&'a Secret>,
    pub eagerness: Eagerness,
    pub deadline: Instant,
}

/// Dials one URL until its deadline. Call on the runtime; dropping the future cancels.
///
/// The deadline's cause tells how far it came: `dns`, `udp-blocked`, or `timeout` once the relay has answered.
pub async fn dial(config: &ConnectConfig, dial: Dial<'_>) -> Result<Dialed> {
    let started = Instant::now();
    let Dial {
        eagerness,
        deadline,
        ..
    } = dial;
    let address = Address::new(dial.url, config.transport, dial.token)?;
    let versions = versions::select(&config.versions, address.family)?;
    let at = address.display.clone();
    let late = |what: &str| {
        Error::new(
            Cause::Timeout,
            format!(
                "{at} did not {what} within connect-timeout, {}",
                limit_text(config.connect_timeout)
            ),
        )
    };

    let resolved = resolve(&address, deadline).await?;
    let digest =
        match address.development && !config.tls.disable_verify && config.tls.pins.is_empty() {
            true => Some(
                race(&resolved, eagerness, deadline, |remote| {
                    development::fetch_digest(remote, address.clone())
                })
                .await
                .map_err(|err| err.unwrap_or_else(|| late("serve /certificate.sha256")))?,
            ),
            false => None,
        };
    let client = client_config(config, &address, &versions, digest).await?;
    let (connection, endpoint) = race(&resolved, eagerness, deadline, |remote| {
        attempt(
            remote,
            client.clone(),
            address.clone(),
            config.tls.clone(),
            eagerness,
        )
    })
    .await
    .map_err(|err| err.unwrap_or_else(|| failure::no_answer(&at, Some(started.elapsed()))))?;

    let wire = Wire::of(connection.handshake_data());
    let session = match wire {
        Wire::Quic => web_transport_quinn::Session::raw(connection),
        Wire::WebTransport => {
            let protocols = versions.alpns().into_iter().map(str::to_owned);
            let request = ConnectRequest::new(address.connect_url()?).with_protocols(protocols);
            timeout_at(
                deadline,
                web_transport_quinn::Session::connect(connection.clone(), request),
            )
            .await
            .map_err(|_| late("open a WebTransport session"))?
            .map_err(|err| failure::webtransport(&err, &connection, &address))?
        }
    };
    Ok(Dialed {
        session: Session::new(session).with_secrets(address.secrets()),
        endpoint,
        address,
        wire,
        versions,
    })
}

/// Files and the system's roots are read off the workers.
async fn client_config(
    config: &ConnectConfig,
    address: &Address,
    versions: &moq_net::Versions,
    digest: Option<[u8; 32]>,
) -> Result<quinn::ClientConfig> {
    let alpns = wire::offered(address, versions, !config.versions.is_empty());
    let files = config.tls.clone();
    let mut transport = endpoint::transport(config);
    let (tls, transport) = tokio::task::spawn_blocking(move || {
        qlog::trace(&mut transport, qlog::Role::Client);
        tls::client(&files, digest, &alpns).map(|tls| (tls, transport))
    })
    .await
    .map_err(|_| Error::new(Cause::Tls, "TLS could not be set up"))??;
    let quic = QuicClientConfig::try_from(tls)
        .map_err(|err| Error::new(Cause::Tls, format!("TLS cannot carry QUIC: {err}")))?;
    let mut client = quinn::ClientConfig::new(Arc::new(quic));
    client.transport_config(Arc::new(transport));
    Ok(client)
}

async fn resolve(address: &Address, deadline: Instant) -> Result<Vec<SocketAddr>> {
    let with_port = |ip: IpAddr| SocketAddr::new(ip, address.port);
    let name = match &address.host {
        Name::Ip(ip) => return Ok(vec![with_port(*ip)]),
        // RFC 6761 section 6.3; many a hosts file lacks the IPv6 line.
        Name::Dns(name) if name.eq_ignore_ascii_case("localhost") => {
            return Ok([Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
                .map(with_port)
                .to_vec());
        }
        Name::Dns(name) => name,
    };
    let dns = |what: String| {
        Error::new(
            Cause::Dns,
            format!("the host name {name} {what}; check the URL and the network's DNS"),
        )
    };
    let found: Vec<SocketAddr> = timeout_at(
        deadline,
        tokio::net::lookup_host((name.as_str(), address.port)),
    )
    .await
    .map_err(|_| dns("was not resolved in time".into()))?
    .map_err(|err| dns(format!("does not resolve ({err})")))?
    .collect();
    if found.is_empty() {
        return Err(dns("has no address".into()));
    }
    Ok(interleave(found))
}

/// Alternates the families, the resolver's first choice first (RFC 8305 section 4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut out = Vec::new();
    for addr in first {
        out.push(addr);
        out.extend(second.next());
    }
    out.extend(second);
    out
}

async fn attempt(
    remote: SocketAddr,
    client: quinn::ClientConfig,
    address: Address,
    tls: Tls,
    eagerness: Eagerness,
) -> Result<(quinn::Connection, quinn::Endpoint)> {
    let (connecting, endpoint) = connect(remote, client, &address.host.server_name())?;
    tokio::select! {
        done = connecting => done.map(|connection| (connection, endpoint)).map_err(|err| failure::handshake(&err, &address, &tls)),
        err = refused(remote, eagerness) => Err(Error::new(
            Cause::UdpBlocked,
            format!("nothing listens on UDP port {} of {} ({err}); is the relay running?", remote.port(), address.display),
        )),
    }
}

fn connect(
    remote: SocketAddr,
    client: quinn::ClientConfig,
    name: &str,
) -> Result<(quinn::Connecting, quinn::Endpoint)> {
    let endpoint = endpoint::endpoint(remote).map_err(|err| {
        Error::new(
            Cause::UdpBlocked,
            format!("cannot open a UDP socket for {remote}: {err}"),
        )
    })?;
    let connecting = endpoint
        .connect_with(client, remote, name)
        .map_err(|err| match err {
            quinn::ConnectError::InvalidServerName(_) => Error::new(
                Cause::Settings,
                format!("'{name}' is not a host name that TLS can check"),
            ),
            err => Error::new(Cause::UdpBlocked, format!("cannot dial {remote}: {err}")),
        })?;
    Ok((connecting, endpoint))
}

/// Resolves when the host says by ICMP that nothing listens there; otherwise never.
///
/// QUIC's own socket is not connected and so never hears of it: a connected one sends a single octet that no QUIC server
/// takes for a packet (RFC 9000 section 17: the fixed bit is 0) and waits for the kernel's word.
async fn refused(remote: SocketAddr, eagerness: Eagerness) -> std::io::Error {
    let ask = async {
        let local: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((local, 0)).await?;
        socket.connect(remote).await?;
        socket.send(&[0]).await?;
        let mut answer = [0; 16];
        loop {
            socket.recv(&mut answer).await?;
        }
    };
    let result: std::io::Result<std::convert::Infallible> = ask.await;
    match result {
        Err(err) if answers(&err, eagerness) => err,
        _ => std::future::pending().await,
    }
}

/// Whether that is the last word. A network that cannot be reached may be back in a moment: who is restless goes on trying.
fn answers(err: &std::io::Error, eagerness: Eagerness) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match err.kind() {
        ConnectionRefused => true,
        HostUnreachable | NetworkUnreachable => eagerness == Eagerness::Patient,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_beginning_with_the_resolvers_choice() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|t| t.parse().unwrap()).collect()
        };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let want = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleave(found), want);
        let found = parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(
            interleave(found),
            parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"])
        );
    }
}

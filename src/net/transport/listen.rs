//! Where a relay listens: addresses, sockets and the QUIC and TLS settings of a server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{IdleTimeout, VarInt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{certificate::Resolver, congestion, endpoint, qlog, tls, wire::ALPN_WEBTRANSPORT};
use crate::net::{
    config::CongestionControl,
    error::{Cause, Error, Result},
};

/// How often another free port is tried when the one that UDP got is taken on TCP.
const PORT_ATTEMPTS: usize = 16;

/// What the kernel is asked to buffer for a UDP socket; it gives what it allows.
const SOCKET_BUFFER: usize = 8 << 20;

/// Reads addresses separated by spaces or commas: `127.0.0.1:4443`, `[::1]:4443`, `localhost:4443` (both of these),
/// `:4443` (every address, IPv6 and IPv4). Names other than `localhost` are refused: which of a host's addresses
/// to listen on should not depend on DNS.
pub fn parse_addresses(text: &str) -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for word in text
        .split([' ', ',', '\t', '\n'])
        .filter(|word| !word.is_empty())
    {
        for address in parse_address(word)? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

fn parse_address(word: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = word.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let port = |text: &str| text.parse::<u16>().ok();
    let both = |port: u16, v4: Ipv4Addr, v6: Ipv6Addr| {
        vec![SocketAddr::from((v4, port)), SocketAddr::from((v6, port))]
    };
    match word.rsplit_once(':').map(|(host, text)| (host, port(text))) {
        Some(("localhost", Some(port))) => Ok(both(port, Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)),
        Some(("" | "*", Some(port))) => {
            Ok(both(port, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED))
        }
        _ => Err(Error::new(
            Cause::Settings,
            format!(
                "cannot listen on \"{word}\": write an IP address with a port, such as 127.0.0.1:4443, [::1]:4443 or localhost:4443"
            ),
        )),
    }
}

/// Whether an address can only be reached from this machine.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// One address, bound on UDP for QUIC and on TCP for HTTP.
#[derive(Debug)]
pub struct Bound {
    pub address: SocketAddr,
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

/// Binds every address on UDP and TCP. Addresses with port 0 share one free port, the same on both.
///
/// An IPv6 address that this machine does not have is left out as long as another address works, so that `localhost`
/// serves where IPv6 is switched off.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<Bound>> {
    if addresses.is_empty() {
        return Err(Error::new(Cause::Settings, "no address to listen on"));
    }
    for _ in 1..PORT_ATTEMPTS {
        match bind_all(addresses) {
            Err((address, err))
                if address.port() == 0 && err.kind() == io::ErrorKind::AddrInUse =>
            {
                continue;
            }
            other => return other.map_err(|(address, err)| explain(address, &err)),
        }
    }
    bind_all(addresses).map_err(|(address, err)| explain(address, &err))
}

/// Fails with the address as it was asked for.
fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<Bound>, (SocketAddr, io::Error)> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut shared_port = None;
    let mut missing = None;
    for &asked in addresses {
        let mut address = asked;
        if asked.port() == 0 {
            address.set_port(shared_port.unwrap_or(0));
        }
        // Dual-stack where only `[::]` is asked for; beside an IPv4 address of its own the IPv6 socket keeps to IPv6.
        let only_v6 = addresses.iter().any(SocketAddr::is_ipv4);
        match bind_one(address, only_v6) {
            Ok(one) => {
                if asked.port() == 0 {
                    shared_port = Some(one.address.port());
                }
                bound.push(one);
            }
            Err(err) if asked.is_ipv6() && is_absent(&err) => missing = Some((asked, err)),
            Err(err) => return Err((asked, err)),
        }
    }
    match missing {
        Some(missing) if bound.is_empty() => Err(missing),
        _ => Ok(bound),
    }
}

/// EAFNOSUPPORT, what `socket()` says where IPv6 was switched off at boot; the standard library has no kind for it.
const NO_SUCH_FAMILY: i32 = if cfg!(windows) {
    10047
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    97
} else {
    // macOS and the BSDs.
    47
};

/// The machine has no such address, or no IPv6 at all.
fn is_absent(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || err.raw_os_error() == Some(NO_SUCH_FAMILY)
}

fn bind_one(address: SocketAddr, only_v6: bool) -> io::Result<Bound> {
    let domain = Domain::for_address(address);
    let udp = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        udp.set_only_v6(only_v6)?;
    }
    // Best effort: a kernel that allows less still works, with more loss under bursts.
    let _ = udp.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = udp.set_send_buffer_size(SOCKET_BUFFER);
    udp.set_nonblocking(true)?;
    udp.bind(&address.into())?;
    let udp = UdpSocket::from(udp);
    let address = udp.local_addr()?;

    let tcp = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        SockRef::from(&tcp).set_only_v6(only_v6)?;
    }
    // Connections of a relay that ran here a moment ago linger in TIME_WAIT and must not keep us from the port.
    #[cfg(unix)]
    tcp.set_reuse_address(true)?;
    tcp.set_nonblocking(true)?;
    tcp.bind(&address.into())?;
    tcp.listen(128)?;
    Ok(Bound {
        address,
        udp,
        tcp: tcp.into(),
    })
}

fn explain(address: SocketAddr, err: &io::Error) -> Error {
    let remedy = match err.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, or another relay of this one, uses the port: choose another, or 0 for any free port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: choose a higher one"
        }
        _ => "",
    };
    Error::new(
        Cause::Settings,
        format!("cannot listen on {address}: {err}{remedy}"),
    )
}

/// What may wait to be sent, or acknowledged, on one connection: 1 Gbit/s over 100 ms, and what one slow subscriber
/// can cost in memory.
const SEND_WINDOW: u64 = 16 << 20;

/// What a peer may send that was not read yet. Credit moves as the bytes are read, so larger objects flow as well:
/// these bound memory, times the sessions that a relay admits, and speed over a long path (640 Mbit/s at 100 ms).
const RECEIVE_WINDOW: u32 = 8 << 20;
const STREAM_RECEIVE_WINDOW: u32 = 2 << 20;

/// Streams that a peer may have open beyond one for each of its tracks: the session's own, requests, groups that overlap.
const SPARE_STREAMS: u64 = 64;

/// Streams that a peer may have open at all.
const MAX_STREAMS: u64 = 4096;

/// What the transport of a server is made from.
#[derive(Debug, Clone)]
pub struct ServerTransport {
    pub congestion_control: CongestionControl,
    pub idle_timeout: Duration,
    pub keep_alive_interval: Duration,
    /// Handshakes at the same time; more are refused.
    pub max_incoming: usize,
    /// Tracks that one peer is expected to use; its streams are bounded by them.
    pub tracks: u64,
}

/// The QUIC side of a server that speaks `alpns`, the preferred first, and HTTP/3.
pub fn quic_config(
    resolver: Arc<Resolver>,
    alpns: &[&str],
    transport: &ServerTransport,
) -> Result<quinn::ServerConfig> {
    let mut tls = tls_config(resolver)?;
    // The server's order decides what a client gets that offers several: of both transports the one that needs a round trip less.
    let protocols = alpns.iter().copied().chain([ALPN_WEBTRANSPORT]);
    tls.alpn_protocols = protocols.map(|alpn| alpn.as_bytes().to_vec()).collect();
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).map_err(|err| {
        Error::new(
            Cause::Tls,
            format!("the TLS library offers no QUIC cipher: {err}"),
        )
    })?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.max_incoming(transport.max_incoming);
    let mut transport = transport_config(transport)?;
    qlog::trace(&mut transport, qlog::Role::Server);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// The TLS side of the HTTP server.
pub fn https_config(resolver: Arc<Resolver>) -> Result<Arc<rustls::ServerConfig>> {
    let mut tls = tls_config(resolver)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

fn tls_config(resolver: Arc<Resolver>) -> Result<rustls::ServerConfig> {
    Ok(rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|err| Error::new(Cause::Tls, format!("TLS 1.3 is not available: {err}")))?
        .with_no_client_auth()
        .with_cert_resolver(resolver))
}

fn transport_config(settings: &ServerTransport) -> Result<quinn::TransportConfig> {
    let idle = IdleTimeout::try_from(settings.idle_timeout)
        .map_err(|_| Error::new(Cause::Settings, "the idle timeout is too long"))?;
    let streams = settings
        .tracks
        .saturating_add(SPARE_STREAMS)
        .min(MAX_STREAMS);
    let streams = VarInt::try_from(streams).unwrap_or(VarInt::MAX);
    let mut config = endpoint::base();
    config
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
        .max_concurrent_bidi_streams(streams)
        .max_concurrent_uni_streams(streams)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(settings.keep_alive_interval))
        .send_window(SEND_WINDOW)
        .congestion_controller_factory(congestion::factory(settings.congestion_control));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        parse_addresses(text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn addresses_are_separated_by_spaces_or_commas() {
        assert_eq!(
            addresses("127.0.0.1:4443, [::1]:4444  10.0.0.1:1"),
            ["127.0.0.1:4443", "[::1]:4444", "10.0.0.1:1"]
        );
        assert!(addresses(" , ").is_empty());
    }

    #[test]
    fn localhost_is_both_families_and_a_bare_port_every_address() {
        assert_eq!(
            addresses("localhost:4443"),
            ["127.0.0.1:4443", "[::1]:4443"]
        );
        assert_eq!(addresses(":4443"), ["0.0.0.0:4443", "[::]:4443"]);
        assert_eq!(
            addresses("localhost:0 127.0.0.1:0"),
            ["127.0.0.1:0", "[::1]:0"]
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "example.org:4443",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:65536",
            "https://localhost:4443",
        ] {
            let err = parse_addresses(text).unwrap_err();
            assert_eq!(err.cause, Cause::Settings);
            assert!(
                err.message.contains(text) && err.message.contains("127.0.0.1:4443"),
                "{err}"
            );
        }
    }

    #[test]
    fn port_zero_gives_one_free_port_for_udp_and_tcp_of_every_address() {
        let bound = bind(&parse_addresses("localhost:0").unwrap()).unwrap();
        let port = bound[0].address.port();
        assert_ne!(port, 0);
        for one in &bound {
            assert_eq!(one.udp.local_addr().unwrap().port(), port);
            assert_eq!(one.tcp.local_addr().unwrap().port(), port);
        }
    }

    #[test]
    fn a_busy_port_is_named_with_the_remedy() {
        let first = bind(&parse_addresses("127.0.0.1:0").unwrap()).unwrap();
        let err = bind(&[first[0].address]).unwrap_err();
        assert!(err.message.contains(&first[0].address.to_string()), "{err}");
        assert!(err.message.contains("choose another"), "{err}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_without_ipv6_is_told_from_a_busy_port() {
        // What socket(AF_INET6) fails with after booting with ipv6.disable=1, and bind() with disable_ipv6=1.
        for code in [97, 99] {
            assert!(is_absent(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(!is_absent(&io::ErrorKind::AddrInUse.into()));
    }

    #[test]
    fn mapped_addresses_count_as_what_they_map() {
        assert!(is_loopback("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!is_loopback("::ffff:10.0.0.1".parse().unwrap()));
    }
}

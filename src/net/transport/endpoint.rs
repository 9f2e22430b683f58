//! The QUIC endpoints of dialled connections: a UDP socket for each, so that a new dial takes another port than one that is
//! silent, and so another way through a NAT.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use super::congestion;
use crate::net::config::ConnectConfig;

/// Bursts of key frames must survive a busy scheduler. The kernel may give less; that is not an error.
const SOCKET_BUFFER: usize = 4 << 20;
/// A group is a stream: many are open at once when tracks are many and the path is long. quinn keeps 0.6 KB for each of them that
/// was ever used.
const MAX_STREAMS: u32 = 1024;
const RECEIVE_WINDOW: u32 = 64 << 20;
/// One stream may carry a large key frame without waiting for credit.
const STREAM_RECEIVE_WINDOW: u32 = 8 << 20;
/// RFC 9002 section 6.2.2 suggests 333 ms, which makes a lost first packet cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// An endpoint that reaches `remote`, for one connection: it can change its port without moving others. Call on the runtime.
pub fn endpoint(remote: SocketAddr) -> std::io::Result<quinn::Endpoint> {
    quinn::Endpoint::new(
        quinn::EndpointConfig::default(),
        None,
        socket(any_port(remote))?,
        Arc::new(quinn::TokioRuntime),
    )
}

/// Goes on from another port, and asks the peer, to which this is a migration (RFC 9000 section 9.2). Call on the runtime.
pub fn change_port(endpoint: &quinn::Endpoint) -> std::io::Result<()> {
    endpoint.rebind(socket(any_port(endpoint.local_addr()?))?)
}

/// No address of ours: the kernel chooses one for each packet, so that it may change under way.
fn any_port(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A UDP socket for QUIC bound to `local`, with large buffers; IPv6 sockets take IPv6 only.
pub fn socket(local: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// Makes the peer of a dialled connection answer; `count` grows with each call.
///
/// quinn sends no PING at an application's wish. Credit of one byte more does as well: MAX_DATA is acknowledged (RFC 9000
/// section 13.2), and is not probing, so that a peer which knew us at another address answers to this one (section 9.2).
pub fn ask(quic: &quinn::Connection, count: u32) {
    quic.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW.saturating_add(count)));
}

/// QUIC parameters of a dialled connection.
pub fn transport(config: &ConnectConfig) -> TransportConfig {
    let mut transport = base();
    transport
        .max_idle_timeout(
            (!config.idle_timeout.is_zero())
                .then(|| config.idle_timeout.try_into().ok())
                .flatten(),
        )
        .keep_alive_interval(
            (!config.keep_alive_interval.is_zero()).then_some(config.keep_alive_interval),
        );
    transport.congestion_controller_factory(congestion::factory(config.congestion_control));
    transport
}

/// QUIC parameters of a connection to a peer of our choice; a server narrows what strangers may send.
pub fn base() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
        .initial_rtt(INITIAL_RTT);
    transport
}

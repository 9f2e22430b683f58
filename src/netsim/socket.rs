//! UDP in bulk: many datagrams a system call where the system can (`recvmmsg`, GRO, GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::packet::{Ecn, Packet};

/// Room for the largest datagram, or for as many as the system hands over as one.
const BUFFER: usize = 65_536;
/// What GSO may send at once: the largest IPv4 packet less its headers.
const MAX_TRANSMIT: usize = 65_507;
/// Asked of the system for each socket; it may give less.
const SOCKET_BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Where datagrams came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) from: SocketAddr,
    /// The address of this machine that they were sent to.
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Ecn,
}

/// How a run of packets is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) to: SocketAddr,
    /// Our own address, where there is a choice.
    pub(super) from: Option<IpAddr>,
}

impl Socket {
    /// Must run within a tokio runtime.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        // Smaller buffers than asked for cost loss at high rates only.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
        })
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Hands over what is there, at most a batch: `each` gets the origin and size of runs of datagrams of one origin.
    pub(super) fn receive(
        &self,
        buffers: &mut Buffers,
        mut each: impl FnMut(&Origin, &mut dyn Iterator<Item = &[u8]>),
    ) -> io::Result<()> {
        let mut slices: Vec<_> = buffers
            .memory
            .chunks_mut(BUFFER)
            .map(IoSliceMut::new)
            .collect();
        let count = self.socket.try_io(Interest::READABLE, || {
            self.state
                .recv((&self.socket).into(), &mut slices, &mut buffers.meta)
        })?;
        for (meta, slice) in buffers.meta.iter().zip(&slices).take(count) {
            let origin = Origin {
                from: meta.addr,
                to: meta.dst_ip,
                ecn: ecn(meta.ecn),
            };
            let mut datagrams = datagrams(&slice[..meta.len], meta.stride);
            each(&origin, &mut datagrams);
        }
        Ok(())
    }

    /// Sends packets of one client in their order. Returns how many the system refused, and their bytes.
    pub(super) async fn send<T>(
        &self,
        route: Route,
        mut packets: &[Packet<T>],
        scratch: &mut Vec<u8>,
    ) -> Refused {
        let mut refused = Refused::default();
        while !packets.is_empty() {
            let (run, rest) = packets.split_at(run(packets, self.state.max_gso_segments()));
            packets = rest;
            if run.len() > 1 && self.send_run(route, run, scratch).await.is_ok() {
                continue;
            }
            // One by one, also where the system did not take a run: segments may be too long for an interface.
            for packet in run {
                let sent = self.transmit(route, packet.ecn, &packet.payload, None);
                if let Err(error) = sent.await {
                    refused.packets += 1;
                    refused.bytes += packet.payload.len() as u64;
                    tracing::debug!(to = %route.to, %error, "a datagram could not be sent");
                }
            }
        }
        refused
    }

    async fn send_run<T>(
        &self,
        route: Route,
        run: &[Packet<T>],
        scratch: &mut Vec<u8>,
    ) -> io::Result<()> {
        scratch.clear();
        for packet in run {
            scratch.extend_from_slice(&packet.payload);
        }
        let first = &run[0];
        let segment = Some(first.payload.len());
        self.transmit(route, first.ecn, scratch, segment).await
    }

    async fn transmit(
        &self,
        route: Route,
        ecn: Ecn,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: route.to,
            ecn: codepoint(ecn),
            contents,
            segment_size,
            src_ip: route.from,
        };
        self.socket
            .async_io(Interest::WRITABLE, || {
                self.state.try_send((&self.socket).into(), &transmit)
            })
            .await
    }
}

/// What the system did not take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Where datagrams are received to. Memory that nothing was received to costs nothing.
pub(super) struct Buffers {
    memory: Vec<u8>,
    meta: [RecvMeta; quinn_udp::BATCH_SIZE],
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            memory: vec![0; BUFFER * quinn_udp::BATCH_SIZE],
            meta: [RecvMeta::default(); quinn_udp::BATCH_SIZE],
        }
    }
}

/// The datagrams of a buffer; an empty buffer is an empty datagram.
fn datagrams(buffer: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = buffer.is_empty().then_some(buffer);
    empty.into_iter().chain(buffer.chunks(stride.max(1)))
}

/// How many of the packets, one at least, can be sent at once: all of one size, but for a shorter last one.
fn run<T>(packets: &[Packet<T>], max_segments: usize) -> usize {
    let first = &packets[0];
    let segment = first.payload.len();
    if segment == 0 {
        return 1;
    }
    let mut total = segment;
    let mut count = 1;
    for packet in packets.iter().take(max_segments).skip(1) {
        let len = packet.payload.len();
        let fits = len > 0 && len <= segment && total + len <= MAX_TRANSMIT;
        if !fits || packet.ecn != first.ecn {
            break;
        }
        total += len;
        count += 1;
        if len < segment {
            break;
        }
    }
    count
}

fn ecn(codepoint: Option<EcnCodepoint>) -> Ecn {
    match codepoint {
        None => Ecn::None,
        Some(EcnCodepoint::Ect0) => Ecn::Ect0,
        Some(EcnCodepoint::Ect1) => Ecn::Ect1,
        Some(EcnCodepoint::Ce) => Ecn::Ce,
    }
}

fn codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::None => None,
        Ecn::Ect0 => Some(EcnCodepoint::Ect0),
        Ecn::Ect1 => Some(EcnCodepoint::Ect1),
        Ecn::Ce => Some(EcnCodepoint::Ce),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(lens: &[usize]) -> Vec<Packet<()>> {
        let packet = |len: &usize| Packet {
            payload: vec![0; *len].into(),
            ecn: Ecn::None,
            to: (),
        };
        lens.iter().map(packet).collect()
    }

    #[test]
    fn a_run_is_of_one_size_but_for_a_shorter_last_one() {
        for (lens, expected) in [
            (&[1200][..], 1),
            (&[1200, 1200, 1200], 3),
            (&[1200, 1200, 500, 1200], 3),
            (&[500, 1200], 1),
            (&[1200, 0, 1200], 1),
            (&[0, 0], 1),
            (&[1200; 100], 54),
            (&[10; 100], 64),
        ] {
            assert_eq!(run(&packets(lens), 64), expected, "{lens:?}");
        }
        assert_eq!(run(&packets(&[1200; 3]), 1), 1, "a system without GSO");
    }

    #[test]
    fn a_run_carries_one_congestion_mark() {
        let mut packets = packets(&[100; 4]);
        packets[2].ecn = Ecn::Ce;
        assert_eq!(run(&packets, 64), 2);
    }

    #[test]
    fn a_buffer_is_split_into_its_datagrams() {
        let lens = |buffer: &[u8], stride| {
            datagrams(buffer, stride)
                .map(<[u8]>::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(lens(&[0; 25], 10), [10, 10, 5]);
        assert_eq!(lens(&[0; 10], 10), [10]);
        assert_eq!(lens(&[], 0), [0]);
    }
}

//! One end of a QUIC connection, driven by hand.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, Event,
    ServerConfig, TransportConfig, congestion::ControllerFactory, crypto::rustls::QuicServerConfig,
};
use rustls::pki_types::PrivateKeyDer;

/// As many packets at once as quinn gives to the kernel.
const MAX_DATAGRAMS: usize = 10;

/// A self-signed certificate, made once.
static IDENTITY: LazyLock<rcgen::CertifiedKey<rcgen::KeyPair>> = LazyLock::new(|| {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate")
});

pub struct Node {
    endpoint: Endpoint,
    handle: Option<ConnectionHandle>,
    pub connection: Option<Connection>,
    remote: SocketAddr,
    buffer: Vec<u8>,
}

fn transport(controller: Arc<dyn ControllerFactory + Send + Sync>) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(controller)
        .initial_rtt(Duration::from_millis(100))
        .receive_window(quinn_proto::VarInt::from_u32(64 << 20))
        .stream_receive_window(quinn_proto::VarInt::from_u32(32 << 20))
        .max_concurrent_uni_streams(quinn_proto::VarInt::from_u32(4096))
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .max_idle_timeout(None);
    Arc::new(transport)
}

fn endpoint_config(seed: u8) -> Arc<EndpointConfig> {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([seed; 32]));
    Arc::new(config)
}

impl Node {
    /// The end that dials and sends.
    pub fn sender(
        now: Instant,
        seed: u8,
        remote: SocketAddr,
        controller: Arc<dyn ControllerFactory + Send + Sync>,
    ) -> Self {
        let mut endpoint = Endpoint::new(endpoint_config(seed), None, true, None);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(IDENTITY.cert.der().clone()).expect("a root");
        let mut config = ClientConfig::with_root_certificates(Arc::new(roots)).expect("a client");
        config.transport_config(transport(controller));
        let (handle, connection) = endpoint
            .connect(now, config, remote, "localhost")
            .expect("to dial");
        Self {
            endpoint,
            handle: Some(handle),
            connection: Some(connection),
            remote,
            buffer: Vec::new(),
        }
    }

    /// The end that accepts and receives.
    pub fn receiver(
        seed: u8,
        remote: SocketAddr,
        controller: Arc<dyn ControllerFactory + Send + Sync>,
    ) -> Self {
        let key = PrivateKeyDer::Pkcs8(IDENTITY.signing_key.serialize_der().into());
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![IDENTITY.cert.der().clone()], key)
        .expect("an identity");
        tls.max_early_data_size = u32::MAX;
        let crypto = QuicServerConfig::try_from(tls).expect("a QUIC server");
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport(controller));
        let endpoint = Endpoint::new(endpoint_config(seed), Some(Arc::new(config)), true, None);
        Self {
            endpoint,
            handle: None,
            connection: None,
            remote,
            buffer: Vec::new(),
        }
    }

    /// A datagram arrived. What has to be answered at once is put in `out`.
    pub fn receive(&mut self, now: Instant, data: BytesMut, out: &mut Vec<BytesMut>) {
        self.buffer.clear();
        match self
            .endpoint
            .handle(now, self.remote, None, None, data, &mut self.buffer)
        {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut self.buffer, None);
                if let Ok((handle, connection)) = accepted {
                    self.handle = Some(handle);
                    self.connection = Some(connection);
                }
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some(connection) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(transmit)) => {
                out.push(BytesMut::from(&self.buffer[..transmit.size]));
            }
            None => {}
        }
    }

    /// Does what is due, and puts what is to be sent in `out`.
    pub fn drive(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        let (Some(handle), Some(connection)) = (self.handle, &mut self.connection) else {
            return;
        };
        if connection.poll_timeout().is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
        }
        loop {
            self.buffer.clear();
            while let Some(transmit) =
                connection.poll_transmit(now, MAX_DATAGRAMS, &mut self.buffer)
            {
                let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
                out.extend(
                    self.buffer[..transmit.size]
                        .chunks(segment)
                        .map(BytesMut::from),
                );
                self.buffer.clear();
            }
            let mut again = false;
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.handle_event(event);
                    again = true;
                }
            }
            if !again {
                return;
            }
        }
    }

    pub fn timeout(&mut self) -> Option<Instant> {
        self.connection.as_mut()?.poll_timeout()
    }

    pub fn poll(&mut self) -> Option<Event> {
        self.connection.as_mut()?.poll()
    }
}

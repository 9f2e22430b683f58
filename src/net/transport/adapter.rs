//! Lets a `web-transport-quinn` session (trait 0.5) carry `moq_net` (trait 0.4).
//!
//! Every method forwards; errors lose our secrets on the way. The traits differ in one thing: a stream's priority is `u8` on
//! moq_net's side and `i32` on quinn's; both say that higher goes first.
//!
//! Two things are added, because quinn takes what is written at once and keeps it until it is delivered, up to its send window
//! of 10 MB, which is a minute on a slow path: moq_net gives up what it has not handed over yet. A group that is written to the
//! end but waits for the network for too long is given up ([`Session::with_patience`]), and so is one that is still being written
//! and cannot arrive in time ([`Session::with_deadlines`]).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use moq_net::{
    StreamError,
    web_transport_trait::{self as inner, poll as to},
};
use tokio::time::{Sleep, sleep};
use web_transport_trait::poll as from;

use super::{
    gate::Gate,
    outbox::{self, Deadlines, Outbox},
    secrets::Secrets,
};

/// What the gate of an incoming stream stands in front of.
const READ: usize = 0;
const RESET: usize = 1;
/// Of a gate in front of one thing.
const ONLY: usize = 0;

/// One MoQ transport session: WebTransport over HTTP/3, or raw QUIC.
#[derive(Clone)]
pub struct Session {
    inner: web_transport_quinn::Session,
    secrets: Secrets,
    patience: Option<Duration>,
    outbox: Option<Arc<Outbox>>,
    close_quic: bool,
    accept_uni: Gate<1>,
    accept_bi: Gate<1>,
    closed: Gate<1>,
    datagrams: Gate<1>,
}

impl Session {
    /// Wraps an established session.
    pub fn new(session: web_transport_quinn::Session) -> Self {
        Self {
            inner: session,
            secrets: Secrets::default(),
            patience: None,
            outbox: None,
            close_quic: false,
            accept_uni: Gate::new(),
            accept_bi: Gate::new(),
            closed: Gate::new(),
            datagrams: Gate::new(),
        }
    }

    /// What the peer says loses these before anybody sees it.
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// Gives groups up that are not delivered so long after their end, and a round trip.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            ..self
        }
    }

    /// Gives groups up that are being written and cannot arrive in time any more.
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self {
            outbox: Some(Outbox::new(self.quic().clone(), deadlines)),
            ..self
        }
    }

    /// Closes the QUIC connection, and not the WebTransport session in it: code and reason travel in CONNECTION_CLOSE, the
    /// code in the range that HTTP/3 has for those of WebTransport (draft-ietf-webtrans-http3 section 4.3), and no
    /// CLOSE_WEBTRANSPORT_SESSION is sent. For browsers, whose connections carry one session each: Chromium 156 may crash on the
    /// capsule while it reads media streams. Raw QUIC does so anyway.
    pub fn closing_quic(self) -> Self {
        Self {
            close_quic: true,
            ..self
        }
    }

    /// The QUIC connection underneath, for its statistics and to watch or close it.
    pub fn quic(&self) -> &quinn::Connection {
        &self.inner
    }

    /// What the congestion controller would let out, in bit/s.
    pub fn estimated_send_rate(&self) -> Option<u64> {
        use web_transport_trait::Stats as _;
        self.inner.stats().estimated_send_rate()
    }

    fn send(&self, inner: web_transport_quinn::SendStream) -> SendStream {
        SendStream {
            inner,
            secrets: self.secrets.clone(),
            patience: None,
            outbox: None,
        }
    }

    fn recv(&self, inner: web_transport_quinn::RecvStream) -> RecvStream {
        RecvStream {
            inner,
            secrets: self.secrets.clone(),
            // quinn keeps one waker for both ways to wait for a stream.
            gate: Gate::new(),
        }
    }

    fn error(&self, err: &impl web_transport_trait::Error) -> TransportError {
        TransportError::new(err, &self.secrets)
    }
}

/// An outgoing stream of [`Session`].
pub struct SendStream {
    inner: web_transport_quinn::SendStream,
    secrets: Secrets,
    patience: Option<Patience>,
    /// Until all of it was acknowledged, or it was reset.
    outbox: Option<outbox::Stream>,
}

impl SendStream {
    fn wrote(&self, written: &Poll<Result<usize, TransportError>>) {
        if let (Some(outbox), Poll::Ready(Ok(bytes))) = (&self.outbox, written) {
            outbox.write(*bytes);
        }
    }

    fn give_up(&mut self) -> TransportError {
        from::SendStream::reset(&mut self.inner, StreamError::DeliveryTimeout.to_code());
        self.outbox = None;
        TransportError::given_up()
    }
}

/// How long a stream that was written to its end may take to be delivered.
struct Patience {
    limit: Duration,
    quic: quinn::Connection,
    /// From the end of the stream on.
    over: Option<Pin<Box<Sleep>>>,
}

/// An incoming stream of [`Session`].
pub struct RecvStream {
    inner: web_transport_quinn::RecvStream,
    secrets: Secrets,
    gate: Gate<2>,
}

/// A failure of any of them, with the peer's code where it sent one. Its text may be the peer's.
#[derive(Debug)]
pub struct TransportError {
    text: String,
    session_error: Option<(u32, String)>,
    stream_error: Option<u32>,
}

impl TransportError {
    fn new(err: &impl web_transport_trait::Error, secrets: &Secrets) -> Self {
        Self {
            text: secrets.scrub(&err.to_string()),
            session_error: err
                .session_error()
                .map(|(code, reason)| (code, secrets.scrub(&reason))),
            stream_error: err.stream_error(),
        }
    }

    /// DELIVERY_TIMEOUT of draft-ietf-moq-transport, and of moq-lite too.
    fn given_up() -> Self {
        Self {
            text: "not delivered in time".into(),
            session_error: None,
            stream_error: Some(StreamError::DeliveryTimeout.to_code()),
        }
    }
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TransportError {}

impl inner::Error for TransportError {
    fn session_error(&self) -> Option<(u32, String)> {
        self.session_error.clone()
    }

    fn stream_error(&self) -> Option<u32> {
        self.stream_error
    }
}

impl to::Session for Session {
    type SendStream = SendStream;
    type RecvStream = RecvStream;
    type Error = TransportError;

    fn poll_accept_uni(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RecvStream, TransportError>> {
        let accepted = ready!(self.accept_uni.poll(ONLY, cx, |cx| {
            from::Session::poll_accept_uni(&mut self.inner, cx)
        }));
        Poll::Ready(match accepted {
            Ok(recv) => Ok(self.recv(recv)),
            Err(err) => Err(self.error(&err)),
        })
    }

    fn poll_accept_bi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), TransportError>> {
        let streams = ready!(self.accept_bi.poll(ONLY, cx, |cx| {
            from::Session::poll_accept_bi(&mut self.inner, cx)
        }));
        Poll::Ready(match streams {
            Ok((send, recv)) => Ok((self.send(send), self.recv(recv))),
            Err(err) => Err(self.error(&err)),
        })
    }

    fn poll_open_uni(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, TransportError>> {
        let opened = ready!(from::Session::poll_open_uni(&mut self.inner, cx));
        Poll::Ready(match opened {
            Ok(send) => {
                let patience = self.patience.map(|limit| Patience {
                    limit,
                    quic: self.quic().clone(),
                    over: None,
                });
                Ok(SendStream {
                    patience,
                    outbox: self.outbox.as_ref().map(Outbox::open),
                    ..self.send(send)
                })
            }
            Err(err) => Err(self.error(&err)),
        })
    }

    fn poll_open_bi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), TransportError>> {
        let streams = ready!(from::Session::poll_open_bi(&mut self.inner, cx));
        Poll::Ready(match streams {
            Ok((send, recv)) => Ok((self.send(send), self.recv(recv))),
            Err(err) => Err(self.error(&err)),
        })
    }

    fn poll_send_datagram(
        &mut self,
        cx: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<Result<(), TransportError>> {
        from::Session::poll_send_datagram(&mut self.inner, cx, payload)
            .map_err(|err| TransportError::new(&err, &self.secrets))
    }

    fn poll_recv_datagram(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, TransportError>> {
        let inner = &mut self.inner;
        self.datagrams
            .poll(ONLY, cx, |cx| from::Session::poll_recv_datagram(inner, cx))
            .map_err(|err| TransportError::new(&err, &self.secrets))
    }

    fn max_datagram_size(&self) -> usize {
        self.inner.max_datagram_size()
    }

    fn protocol(&self) -> Option<&str> {
        self.inner.protocol()
    }

    fn close(&mut self, code: u32, reason: &str) {
        let is_webtransport = self.inner.request().is_some();
        if self.close_quic && is_webtransport {
            self.quic().close(http3_code(code), reason.as_bytes());
        } else {
            from::Session::close(&mut self.inner, code, reason);
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        let inner = &mut self.inner;
        self.closed
            .poll(ONLY, cx, |cx| from::Session::poll_closed(inner, cx))
            .map(|err| self.error(&err))
    }

    fn stats(&self) -> impl inner::Stats {
        Stats(self.inner.stats())
    }
}

/// A WebTransport code in HTTP/3's range for them, all of which fit a varint.
fn http3_code(code: u32) -> quinn::VarInt {
    let mapped = web_transport_quinn::proto::error_to_http3(code);
    quinn::VarInt::from_u64(mapped).unwrap_or(quinn::VarInt::MAX)
}

impl to::SendStream for SendStream {
    type Error = TransportError;

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, TransportError>> {
        let written = from::SendStream::poll_write(&mut self.inner, cx, buf)
            .map_err(|err| TransportError::new(&err, &self.secrets));
        self.wrote(&written);
        written
    }

    fn poll_write_buf<B: Buf>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<Result<usize, TransportError>> {
        let written = from::SendStream::poll_write_buf(&mut self.inner, cx, buf)
            .map_err(|err| TransportError::new(&err, &self.secrets));
        self.wrote(&written);
        written
    }

    fn set_priority(&mut self, order: u8) {
        from::SendStream::set_priority(&mut self.inner, i32::from(order));
        if let Some(outbox) = &self.outbox {
            outbox.prioritize(order);
        }
    }

    fn finish(&mut self) -> Result<(), TransportError> {
        from::SendStream::finish(&mut self.inner)
            .map_err(|err| TransportError::new(&err, &self.secrets))?;
        if let Some(patience) = &mut self.patience {
            let limit = patience.limit + patience.quic.rtt();
            patience.over = Some(Box::pin(sleep(limit)));
        }
        if let Some(outbox) = &self.outbox {
            outbox.finish();
        }
        Ok(())
    }

    fn reset(&mut self, code: u32) {
        from::SendStream::reset(&mut self.inner, code);
        self.outbox = None;
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if let Poll::Ready(closed) = from::SendStream::poll_closed(&mut self.inner, cx) {
            self.outbox = None;
            return Poll::Ready(closed.map_err(|err| TransportError::new(&err, &self.secrets)));
        }
        if let Some(patience) = &mut self.patience
            && let Some(over) = &mut patience.over
        {
            ready!(over.as_mut().poll(cx));
            patience.over = None;
            return Poll::Ready(Err(self.give_up()));
        }
        // Asked for with each frame of an open group, which is as often as there is news.
        if self.outbox.as_ref().is_some_and(|it| it.is_hopeless()) {
            return Poll::Ready(Err(self.give_up()));
        }
        Poll::Pending
    }
}

impl to::RecvStream for RecvStream {
    type Error = TransportError;

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        dst: &mut [u8],
    ) -> Poll<Result<Option<usize>, TransportError>> {
        let inner = &mut self.inner;
        self.gate
            .poll_last(READ, cx, |cx| from::RecvStream::poll_read(inner, cx, dst))
            .map_err(|err| TransportError::new(&err, &self.secrets))
    }

    fn poll_read_buf<B: BufMut>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<Result<Option<usize>, TransportError>> {
        let inner = &mut self.inner;
        self.gate
            .poll_last(READ, cx, |cx| {
                from::RecvStream::poll_read_buf(inner, cx, buf)
            })
            .map_err(|err| TransportError::new(&err, &self.secrets))
    }

    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, TransportError>> {
        let inner = &mut self.inner;
        self.gate
            .poll_last(READ, cx, |cx| {
                from::RecvStream::poll_read_chunk(inner, cx, max)
            })
            .map_err(|err| TransportError::new(&err, &self.secrets))
    }

    fn stop(&mut self, code: u32) {
        from::RecvStream::stop(&mut self.inner, code);
        self.gate.open();
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let inner = &mut self.inner;
        self.gate
            .poll(RESET, cx, |cx| from::RecvStream::poll_closed(inner, cx))
            .map_err(|err| TransportError::new(&err, &self.secrets))
    }
}

struct Stats<S>(S);

impl<S: web_transport_trait::Stats> inner::Stats for Stats<S> {
    fn bytes_sent(&self) -> Option<u64> {
        self.0.bytes_sent()
    }

    fn bytes_received(&self) -> Option<u64> {
        self.0.bytes_received()
    }

    fn bytes_lost(&self) -> Option<u64> {
        self.0.bytes_lost()
    }

    fn packets_sent(&self) -> Option<u64> {
        self.0.packets_sent()
    }

    fn packets_received(&self) -> Option<u64> {
        self.0.packets_received()
    }

    fn packets_lost(&self) -> Option<u64> {
        self.0.packets_lost()
    }

    fn rtt(&self) -> Option<std::time::Duration> {
        self.0.rtt()
    }

    fn estimated_send_rate(&self) -> Option<u64> {
        self.0.estimated_send_rate()
    }
}

#[cfg(test)]
mod tests;

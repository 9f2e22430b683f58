//! Lets a `web-transport-quinn` session (trait 0.5) carry `moq_net` (trait 0.4).
//!
//! Every method forwards. The traits differ in one thing: a stream's priority is `u8` on moq_net's side and `i32` on
//! quinn's; both say that higher goes first.
//!
//! One thing is added: a group that is written to the end but waits for the network for too long is given up. moq_net does
//! that while it still has something to write; what it has handed over, quinn keeps until it is delivered, up to its
//! send window of 10 MB, which is a minute on a slow path.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use moq_net::{
    StreamError,
    web_transport_trait::{self as inner, poll as to},
};
use tokio::time::{Sleep, sleep};
use web_transport_trait::{Error as _, poll as from};

/// One MoQ transport session: WebTransport over HTTP/3, or raw QUIC.
#[derive(Clone)]
pub struct Session {
    session: web_transport_quinn::Session,
    patience: Option<Duration>,
}

impl Session {
    /// Wraps an established session.
    pub fn new(session: web_transport_quinn::Session) -> Self {
        Self {
            session,
            patience: None,
        }
    }

    /// Gives groups up that are not delivered so long after their end, and a round trip.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// The QUIC connection underneath, for its statistics and to watch or close it.
    pub fn quic(&self) -> &quinn::Connection {
        &self.session
    }

    /// What the congestion controller would let out, in bit/s.
    pub fn estimated_send_rate(&self) -> Option<u64> {
        use web_transport_trait::Stats as _;
        self.session.stats().estimated_send_rate()
    }
}

/// An outgoing stream of [`Session`].
pub struct SendStream {
    stream: web_transport_quinn::SendStream,
    patience: Option<Patience>,
}

impl SendStream {
    fn new(stream: web_transport_quinn::SendStream, patience: Option<Patience>) -> Self {
        Self { stream, patience }
    }
}

struct Patience {
    limit: Duration,
    quic: quinn::Connection,
    /// From the end of the stream on.
    over: Option<Pin<Box<Sleep>>>,
}

/// An incoming stream of [`Session`].
pub struct RecvStream(web_transport_quinn::RecvStream);

/// A failure of any of them, with the peer's code where it sent one.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Session(#[from] web_transport_quinn::SessionError),
    #[error(transparent)]
    Read(#[from] web_transport_quinn::ReadError),
    #[error(transparent)]
    Write(#[from] web_transport_quinn::WriteError),
    #[error("not delivered in time")]
    GivenUp,
}

/// DELIVERY_TIMEOUT of draft-ietf-moq-transport, and of moq-lite too.
fn given_up() -> u32 {
    StreamError::DeliveryTimeout.to_code()
}

impl inner::Error for TransportError {
    fn session_error(&self) -> Option<(u32, String)> {
        match self {
            Self::Session(err) => err.session_error(),
            Self::Read(err) => err.session_error(),
            Self::Write(err) => err.session_error(),
            Self::GivenUp => None,
        }
    }

    fn stream_error(&self) -> Option<u32> {
        match self {
            Self::Session(err) => err.stream_error(),
            Self::Read(err) => err.stream_error(),
            Self::Write(err) => err.stream_error(),
            Self::GivenUp => Some(given_up()),
        }
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
        let recv = ready!(from::Session::poll_accept_uni(&mut self.session, cx))?;
        Poll::Ready(Ok(RecvStream(recv)))
    }

    fn poll_accept_bi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), TransportError>> {
        let (send, recv) = ready!(from::Session::poll_accept_bi(&mut self.session, cx))?;
        Poll::Ready(Ok((SendStream::new(send, None), RecvStream(recv))))
    }

    fn poll_open_uni(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, TransportError>> {
        let send = ready!(from::Session::poll_open_uni(&mut self.session, cx))?;
        let patience = self.patience.map(|limit| Patience {
            limit,
            quic: self.quic().clone(),
            over: None,
        });
        Poll::Ready(Ok(SendStream::new(send, patience)))
    }

    fn poll_open_bi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), TransportError>> {
        let (send, recv) = ready!(from::Session::poll_open_bi(&mut self.session, cx))?;
        Poll::Ready(Ok((SendStream::new(send, None), RecvStream(recv))))
    }

    fn poll_send_datagram(
        &mut self,
        cx: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<Result<(), TransportError>> {
        from::Session::poll_send_datagram(&mut self.session, cx, payload).map_err(Into::into)
    }

    fn poll_recv_datagram(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, TransportError>> {
        from::Session::poll_recv_datagram(&mut self.session, cx).map_err(Into::into)
    }

    fn max_datagram_size(&self) -> usize {
        self.session.max_datagram_size()
    }

    fn protocol(&self) -> Option<&str> {
        self.session.protocol()
    }

    fn close(&mut self, code: u32, reason: &str) {
        from::Session::close(&mut self.session, code, reason);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        from::Session::poll_closed(&mut self.session, cx).map(Into::into)
    }

    fn stats(&self) -> impl inner::Stats {
        Stats(self.session.stats())
    }
}

impl to::SendStream for SendStream {
    type Error = TransportError;

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, TransportError>> {
        from::SendStream::poll_write(&mut self.stream, cx, buf).map_err(Into::into)
    }

    fn poll_write_buf<B: Buf>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<Result<usize, TransportError>> {
        from::SendStream::poll_write_buf(&mut self.stream, cx, buf).map_err(Into::into)
    }

    fn set_priority(&mut self, order: u8) {
        from::SendStream::set_priority(&mut self.stream, i32::from(order));
    }

    fn finish(&mut self) -> Result<(), TransportError> {
        from::SendStream::finish(&mut self.stream)?;
        if let Some(patience) = &mut self.patience {
            let limit = patience.limit + patience.quic.rtt();
            patience.over = Some(Box::pin(sleep(limit)));
        }
        Ok(())
    }

    fn reset(&mut self, code: u32) {
        from::SendStream::reset(&mut self.stream, code);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if let Poll::Ready(closed) = from::SendStream::poll_closed(&mut self.stream, cx) {
            return Poll::Ready(closed.map_err(Into::into));
        }
        if let Some(patience) = &mut self.patience
            && let Some(over) = &mut patience.over
        {
            ready!(over.as_mut().poll(cx));
            patience.over = None;
            from::SendStream::reset(&mut self.stream, given_up());
            return Poll::Ready(Err(TransportError::GivenUp));
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
        from::RecvStream::poll_read(&mut self.0, cx, dst).map_err(Into::into)
    }

    fn poll_read_buf<B: BufMut>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<Result<Option<usize>, TransportError>> {
        from::RecvStream::poll_read_buf(&mut self.0, cx, buf).map_err(Into::into)
    }

    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, TransportError>> {
        from::RecvStream::poll_read_chunk(&mut self.0, cx, max).map_err(Into::into)
    }

    fn stop(&mut self, code: u32) {
        from::RecvStream::stop(&mut self.0, code);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        from::RecvStream::poll_closed(&mut self.0, cx).map_err(Into::into)
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

//! A transport session that counts what its peer sends, waits where the peer holds too much, and ends streams that the
//! peer does not take from.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use moq_net::web_transport_trait::{self as transport, poll};
use tokio::time::{Instant, Sleep};

use super::held::Held;
use crate::net::transport::Session;

type Failure = <Session as poll::Session>::Error;

/// A session of the relay.
#[derive(Clone)]
pub(super) struct Metered {
    inner: Session,
    held: Arc<Held>,
    stall: Duration,
}

/// A failure of the session or of a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeteredError {
    #[error(transparent)]
    Transport(#[from] Failure),
    #[error("the peer did not take an object in time")]
    Stalled,
}

impl transport::Error for MeteredError {
    fn session_error(&self) -> Option<(u32, String)> {
        match self {
            Self::Transport(err) => err.session_error(),
            Self::Stalled => None,
        }
    }

    fn stream_error(&self) -> Option<u32> {
        match self {
            Self::Transport(err) => err.stream_error(),
            Self::Stalled => None,
        }
    }
}

impl Metered {
    /// `stall` is how long a peer has to take what was written to one stream at once.
    pub fn new(inner: Session, held: Arc<Held>, stall: Duration) -> Self {
        Self { inner, held, stall }
    }

    fn incoming(&self, inner: <Session as poll::Session>::RecvStream) -> RecvStream {
        RecvStream {
            inner,
            held: self.held.clone(),
            bytes: 0,
            cut: false,
        }
    }

    fn outgoing(&self, inner: <Session as poll::Session>::SendStream) -> SendStream {
        SendStream {
            inner,
            held: self.held.clone(),
            stall: self.stall,
            since: None,
            timer: None,
        }
    }
}

impl poll::Session for Metered {
    type SendStream = SendStream;
    type RecvStream = RecvStream;
    type Error = MeteredError;

    fn poll_accept_uni(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, MeteredError>> {
        let recv = ready!(self.inner.poll_accept_uni(cx))?;
        Poll::Ready(Ok(self.incoming(recv)))
    }

    fn poll_accept_bi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), MeteredError>> {
        let (send, recv) = ready!(self.inner.poll_accept_bi(cx))?;
        Poll::Ready(Ok((self.outgoing(send), self.incoming(recv))))
    }

    fn poll_open_uni(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, MeteredError>> {
        let send = ready!(self.inner.poll_open_uni(cx))?;
        Poll::Ready(Ok(self.outgoing(send)))
    }

    fn poll_open_bi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), MeteredError>> {
        let (send, recv) = ready!(self.inner.poll_open_bi(cx))?;
        Poll::Ready(Ok((self.outgoing(send), self.incoming(recv))))
    }

    fn poll_send_datagram(
        &mut self,
        cx: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<Result<(), MeteredError>> {
        self.inner
            .poll_send_datagram(cx, payload)
            .map_err(Into::into)
    }

    fn poll_recv_datagram(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, MeteredError>> {
        ready!(self.held.poll_may_read(cx));
        self.inner.poll_recv_datagram(cx).map_err(Into::into)
    }

    fn max_datagram_size(&self) -> usize {
        self.inner.max_datagram_size()
    }

    fn protocol(&self) -> Option<&str> {
        self.inner.protocol()
    }

    fn close(&mut self, code: u32, reason: &str) {
        poll::Session::close(&mut self.inner, code, reason);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<MeteredError> {
        self.inner.poll_closed(cx).map(Into::into)
    }

    fn stats(&self) -> impl transport::Stats {
        poll::Session::stats(&self.inner)
    }
}

/// An incoming stream, whose bytes count until it ends.
pub(super) struct RecvStream {
    inner: <Session as poll::Session>::RecvStream,
    held: Arc<Held>,
    bytes: u64,
    cut: bool,
}

impl RecvStream {
    fn received(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.held.received(bytes as u64);
    }

    fn cut(&mut self, err: Failure) -> MeteredError {
        self.cut = true;
        err.into()
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.held.stream_ended(self.bytes, self.cut);
    }
}

impl poll::RecvStream for RecvStream {
    type Error = MeteredError;

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        dst: &mut [u8],
    ) -> Poll<Result<Option<usize>, MeteredError>> {
        ready!(self.held.poll_may_read(cx));
        let read = ready!(self.inner.poll_read(cx, dst)).map_err(|err| self.cut(err))?;
        self.received(read.unwrap_or(0));
        Poll::Ready(Ok(read))
    }

    fn poll_read_buf<B: BufMut>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<Result<Option<usize>, MeteredError>> {
        ready!(self.held.poll_may_read(cx));
        let read = ready!(self.inner.poll_read_buf(cx, buf)).map_err(|err| self.cut(err))?;
        self.received(read.unwrap_or(0));
        Poll::Ready(Ok(read))
    }

    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, MeteredError>> {
        ready!(self.held.poll_may_read(cx));
        let read = ready!(self.inner.poll_read_chunk(cx, max)).map_err(|err| self.cut(err))?;
        self.received(read.as_ref().map_or(0, Bytes::len));
        Poll::Ready(Ok(read))
    }

    fn stop(&mut self, code: u32) {
        self.cut = true;
        self.inner.stop(code);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MeteredError>> {
        self.inner.poll_closed(cx).map_err(Into::into)
    }
}

/// An outgoing stream. While the peer takes nothing, `moq_net` holds the objects that come next on it, evicted or not.
pub(super) struct SendStream {
    inner: <Session as poll::Session>::SendStream,
    held: Arc<Held>,
    stall: Duration,
    /// Since when something waits that the peer has not taken in full.
    since: Option<Instant>,
    /// Made once and used again; armed while `since` is set and the stream is blocked.
    timer: Option<Pin<Box<Sleep>>>,
}

impl SendStream {
    /// What a blocked write comes to.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<MeteredError> {
        let deadline = *self.since.get_or_insert_with(Instant::now) + self.stall;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        self.held.stream_stalled();
        Poll::Ready(MeteredError::Stalled)
    }

    fn wrote(&mut self, written: usize, of: usize) {
        if written >= of {
            self.since = None;
        } else {
            self.since.get_or_insert_with(Instant::now);
        }
    }
}

impl poll::SendStream for SendStream {
    type Error = MeteredError;

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, MeteredError>> {
        match self.inner.poll_write(cx, buf) {
            Poll::Ready(written) => {
                let written = written?;
                self.wrote(written, buf.len());
                Poll::Ready(Ok(written))
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn poll_write_buf<B: Buf>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<Result<usize, MeteredError>> {
        let whole = buf.remaining();
        match self.inner.poll_write_buf(cx, buf) {
            Poll::Ready(written) => {
                let written = written?;
                self.wrote(written, whole);
                Poll::Ready(Ok(written))
            }
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    fn set_priority(&mut self, order: u8) {
        self.inner.set_priority(order);
    }

    fn finish(&mut self) -> Result<(), MeteredError> {
        self.inner.finish().map_err(Into::into)
    }

    fn reset(&mut self, code: u32) {
        self.inner.reset(code);
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MeteredError>> {
        self.inner.poll_closed(cx).map_err(Into::into)
    }
}

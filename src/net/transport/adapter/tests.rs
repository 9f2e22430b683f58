//! Of the adapter in front of a WebTransport session on loopback.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Wake, Waker},
};

use rustls::pki_types::PrivatePkcs8KeyDer;
use web_transport_quinn::{ClientBuilder, ServerBuilder};

use super::*;
use crate::runtime;

const LIMIT: Duration = Duration::from_secs(20);

/// How often a session is asked in vain, as a peer's is that only sends.
const POLLS: usize = 100;

#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The client's end in the adapter, and the server's as it is.
async fn pair() -> (Session, web_transport_quinn::Session) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let mut server = ServerBuilder::new()
        .with_addr("127.0.0.1:0".parse().unwrap())
        .with_certificate(vec![certificate.clone()], key.into())
        .unwrap();
    let url = format!("https://{}/", server.local_addr().unwrap());
    let client = ClientBuilder::new()
        .with_server_certificates(vec![certificate])
        .unwrap();
    let connect = client.connect(url.parse::<url::Url>().unwrap());
    let accept = async { server.accept().await.unwrap().ok().await.unwrap() };
    let (session, peer) = tokio::join!(connect, accept);
    (Session::new(session.unwrap()), peer)
}

/// web-transport-quinn 0.13.5 with kio 0.6.3 keeps an entry of each poll of an accept that waits, until a stream comes: a publisher's
/// memory grew by 16 bytes a packet, and each entry would be woken.
#[test]
fn an_accept_that_waits_is_asked_once_however_often_its_task_polls() {
    runtime::handle().block_on(async {
        let (mut session, peer) = pair().await;
        let task = Arc::<Task>::default();
        let waker = Waker::from(task.clone());
        let mut cx = Context::from_waker(&waker);
        for _ in 0..POLLS {
            assert!(to::Session::poll_accept_uni(&mut session, &mut cx).is_pending());
            assert!(to::Session::poll_accept_bi(&mut session, &mut cx).is_pending());
        }
        let streams = async {
            peer.open_uni()
                .await
                .unwrap()
                .write_all(b"1")
                .await
                .unwrap();
            let (mut send, _recv) = peer.open_bi().await.unwrap();
            send.write_all(b"2").await.unwrap();
        };
        streams.await;
        let arrived = async {
            while task.0.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            poll_fn(|cx| to::Session::poll_accept_uni(&mut session, cx))
                .await
                .unwrap();
            poll_fn(|cx| to::Session::poll_accept_bi(&mut session, cx))
                .await
                .unwrap();
        };
        tokio::time::timeout(LIMIT, arrived).await.unwrap();
        let woken = task.0.load(Ordering::Relaxed);
        assert!(woken < POLLS / 10, "woken {woken} times by two streams");
    });
}

use std::collections::BTreeSet;
use std::future::Future;
use std::net::Ipv4Addr;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::super::loss::{Bursts, Probability};
use super::super::settings::{QueueLimit, Rate};
use super::*;

mod changes;
mod tcp;

const LIMIT: Duration = Duration::from_secs(10);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future)
        .await
        .expect("it happens within the limit")
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(ANY).await.unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A client, the proxy that it is connected to, and the target behind it.
async fn rig(settings: Settings) -> (UdpSocket, Proxy, UdpSocket) {
    let target = socket().await;
    let proxy = Proxy::start(ANY, target.local_addr().unwrap(), settings).unwrap();
    let client = socket().await;
    client.connect(proxy.addr()).await.unwrap();
    (client, proxy, target)
}

/// The number that the next datagram carries, and who sent it.
async fn receive(socket: &UdpSocket) -> (u32, SocketAddr) {
    let mut buffer = [0; 4];
    let (len, from) = within(socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(len, 4);
    (u32::from_be_bytes(buffer), from)
}

/// Waits until `condition` holds for the counters.
async fn until(proxy: &Proxy, condition: impl Fn(&Stats) -> bool) -> Stats {
    within(async {
        let mut look = interval(ms(1));
        loop {
            look.tick().await;
            let stats = proxy.stats();
            if condition(&stats) {
                return stats;
            }
        }
    })
    .await
}

#[tokio::test]
async fn datagrams_go_both_ways_and_take_their_delay() {
    let path = |delay| PathSettings {
        delay,
        ..Default::default()
    };
    let settings = Settings {
        up: path(ms(30)),
        down: path(ms(10)),
        ..Default::default()
    };
    let (client, proxy, target) = rig(settings).await;

    let start = Instant::now();
    client.send(&1u32.to_be_bytes()).await.unwrap();
    let (number, from) = receive(&target).await;
    assert!(start.elapsed() >= ms(30), "up: {:?}", start.elapsed());
    assert_eq!(number, 1);

    let start = Instant::now();
    target.send_to(&2u32.to_be_bytes(), from).await.unwrap();
    assert_eq!(receive(&client).await, (2, proxy.addr()));
    assert!(start.elapsed() >= ms(10), "down: {:?}", start.elapsed());

    let stats = until(&proxy, |stats| stats.down.forwarded.packets == 1).await;
    assert_eq!((stats.clients, stats.refused_datagrams), (1, 0));
    for direction in [stats.up, stats.down] {
        let one = super::super::stats::Traffic {
            packets: 1,
            bytes: 4,
        };
        assert_eq!((direction.offered, direction.forwarded), (one, one));
        assert_eq!(direction.lost.total(), 0);
    }
}

#[tokio::test]
async fn order_is_kept_under_jitter() {
    let path = PathSettings {
        delay: ms(5),
        jitter: ms(20),
        ..Default::default()
    };
    let (client, _proxy, target) = rig(Settings::symmetric(path, 1)).await;
    for n in 0..100u32 {
        client.send(&n.to_be_bytes()).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(receive(&target).await.0, n);
    }
}

#[tokio::test]
async fn clients_are_told_apart_by_their_address() {
    let (first, proxy, target) = rig(Settings::default()).await;
    let second = socket().await;
    second.connect(proxy.addr()).await.unwrap();
    first.send(&1u32.to_be_bytes()).await.unwrap();
    let (_, first_seen) = receive(&target).await;
    second.send(&2u32.to_be_bytes()).await.unwrap();
    let (_, second_seen) = receive(&target).await;
    assert_ne!(first_seen, second_seen);
    target
        .send_to(&20u32.to_be_bytes(), second_seen)
        .await
        .unwrap();
    target
        .send_to(&10u32.to_be_bytes(), first_seen)
        .await
        .unwrap();
    assert_eq!(receive(&first).await.0, 10);
    assert_eq!(receive(&second).await.0, 20);
}

/// Which of `count` datagrams arrive through a proxy with this seed.
async fn survivors(seed: u64, count: u32) -> BTreeSet<u32> {
    let path = PathSettings {
        loss: Probability::percent(10.0),
        bursts: Some(Bursts::Runs {
            length: 3,
            start: Probability::percent(2.0),
        }),
        ..Default::default()
    };
    let (client, proxy, target) = rig(Settings::symmetric(path, seed)).await;
    let mut arrived = BTreeSet::new();
    let mut buffer = [0; 4];
    for n in 0..count {
        client.send(&n.to_be_bytes()).await.unwrap();
        // One at a time: a full socket buffer would add losses that no seed decides.
        let stats = until(&proxy, |stats| {
            stats.up.forwarded.packets + stats.up.lost.total() == u64::from(n) + 1
        })
        .await;
        if stats.up.forwarded.packets > arrived.len() as u64 {
            within(target.recv(&mut buffer)).await.unwrap();
            arrived.insert(u32::from_be_bytes(buffer));
        }
    }
    arrived
}

#[tokio::test]
async fn the_same_seed_loses_the_same_datagrams() {
    let first = survivors(7, 200).await;
    assert!((100..200).contains(&first.len()), "{} arrived", first.len());
    assert_eq!(first, survivors(7, 200).await);
    assert_ne!(first, survivors(8, 200).await);
}

#[tokio::test]
async fn a_cut_loses_what_is_sent_until_it_is_mended() {
    let (client, proxy, target) = rig(Settings::default()).await;
    client.send(&1u32.to_be_bytes()).await.unwrap();
    receive(&target).await;
    proxy.cut(Duration::from_secs(3600));
    client.send(&2u32.to_be_bytes()).await.unwrap();
    until(&proxy, |stats| stats.up.lost.outage == 1).await;
    proxy.cut(Duration::ZERO);
    client.send(&3u32.to_be_bytes()).await.unwrap();
    assert_eq!(receive(&target).await.0, 3);
}

#[tokio::test]
async fn a_cut_ends_by_itself() {
    let (client, proxy, target) = rig(Settings::default()).await;
    proxy.cut(ms(100));
    let start = Instant::now();
    let mut buffer = [0; 4];
    let arrived = within(async {
        loop {
            client.send(&1u32.to_be_bytes()).await.unwrap();
            if timeout(ms(5), target.recv(&mut buffer)).await.is_ok() {
                return start.elapsed();
            }
        }
    })
    .await;
    // The cut began a little before `start`.
    assert!(arrived >= ms(90), "{arrived:?}");
    assert!(proxy.stats().up.lost.outage > 0);
}

#[tokio::test]
async fn settings_change_under_way() {
    let (client, proxy, target) = rig(Settings::default()).await;
    let lossy = PathSettings {
        loss: Probability::ONE,
        ..Default::default()
    };
    proxy.set(lossy, PathSettings::default());
    client.send(&1u32.to_be_bytes()).await.unwrap();
    until(&proxy, |stats| stats.up.lost.random == 1).await;
    proxy.set(PathSettings::default(), PathSettings::default());
    client.send(&2u32.to_be_bytes()).await.unwrap();
    assert_eq!(receive(&target).await.0, 2);
}

#[tokio::test]
async fn a_rate_limits_and_the_queue_drops_the_rest() {
    let path = PathSettings {
        rate: Some(Rate::mbit(1)),
        queue: QueueLimit::Bytes(10_000),
        ..Default::default()
    };
    let (client, proxy, _target) = rig(Settings::symmetric(path, 0)).await;
    for _ in 0..50 {
        client.send(&[0; 1000]).await.unwrap();
    }
    let start = Instant::now();
    let stats = until(&proxy, |stats| {
        stats.up.offered.packets == 50 && stats.up.queued.packets == 0
    })
    .await;
    assert!(stats.up.lost.queue >= 30, "{stats:?}");
    // Ten packets of 8 ms each, the first of which may have left before the last was sent.
    assert!(start.elapsed() >= ms(50), "{:?}", start.elapsed());
    let stats = until(&proxy, |stats| {
        stats.up.forwarded.packets + stats.up.lost.total() == 50
    })
    .await;
    assert_eq!(stats.up.lost.total(), stats.up.lost.queue);
}

#[tokio::test]
async fn one_client_too_many_is_refused_and_taken_when_an_idle_one_is_forgotten() {
    let settings = Settings {
        max_clients: 1,
        client_idle: ms(200),
        ..Default::default()
    };
    let (first, proxy, target) = rig(settings).await;
    first.send(&1u32.to_be_bytes()).await.unwrap();
    receive(&target).await;
    let second = socket().await;
    second
        .send_to(&2u32.to_be_bytes(), proxy.addr())
        .await
        .unwrap();
    until(&proxy, |stats| stats.refused_datagrams == 1).await;
    until(&proxy, |stats| stats.clients == 0).await;
    second
        .send_to(&3u32.to_be_bytes(), proxy.addr())
        .await
        .unwrap();
    assert_eq!(receive(&target).await.0, 3);
}

#[tokio::test]
async fn a_target_that_comes_back_is_reached_again() {
    let (client, proxy, target) = rig(Settings::default()).await;
    let addr = target.local_addr().unwrap();
    drop(target);
    for n in 0..3u32 {
        client.send(&n.to_be_bytes()).await.unwrap();
        until(&proxy, |stats| {
            stats.up.forwarded.packets + stats.up.lost.total() > u64::from(n)
        })
        .await;
    }
    let target = UdpSocket::bind(addr).await.unwrap();
    client.send(&9u32.to_be_bytes()).await.unwrap();
    assert_eq!(receive(&target).await.0, 9);
}

#[tokio::test]
async fn a_busy_port_is_an_error_that_names_it() {
    let taken = socket().await.into_std().unwrap();
    let addr = taken.local_addr().unwrap();
    let error = Proxy::start(addr, addr, Settings::default()).unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert!(
        matches!(error, StartError::Bind { protocol: Protocol::Udp, source, .. }
        if source.kind() == io::ErrorKind::AddrInUse)
    );
}

#[test]
fn starting_outside_of_a_runtime_is_an_error() {
    let error = Proxy::start(ANY, ANY, Settings::default()).unwrap_err();
    assert!(matches!(error, StartError::NoRuntime));
}

#[tokio::test]
async fn a_stopped_proxy_frees_its_port() {
    let (client, proxy, target) = rig(Settings::default()).await;
    client.send(&1u32.to_be_bytes()).await.unwrap();
    receive(&target).await;
    let addr = proxy.addr();
    let stats = within(proxy.stop()).await;
    assert_eq!(stats.up.offered.packets, 1);
    bind(addr, true).unwrap();
}

#[tokio::test]
async fn a_dropped_proxy_frees_its_port() {
    let (_client, proxy, _target) = rig(Settings::default()).await;
    let addr = proxy.addr();
    drop(proxy);
    within(async {
        while bind(addr, true).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

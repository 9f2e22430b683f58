use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A client and the server that it reached through a proxy of these settings.
async fn connected(settings: Settings) -> (TcpStream, Proxy, TcpStream) {
    let target = TcpListener::bind(ANY).await.unwrap();
    let proxy = Proxy::start(ANY, target.local_addr().unwrap(), settings).unwrap();
    let client = within(TcpStream::connect(proxy.addr())).await.unwrap();
    let (server, _) = within(target.accept()).await.unwrap();
    (client, proxy, server)
}

#[tokio::test]
async fn plain_tcp_passes_untouched() {
    let target = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let lossy = PathSettings {
        loss: Probability::ONE,
        ..Default::default()
    };
    let settings = Settings {
        tcp: Tcp::Plain,
        ..Settings::symmetric(lossy, 0)
    };
    let proxy = Proxy::start(ANY, target.local_addr().unwrap(), settings).unwrap();
    let mut client = within(tokio::net::TcpStream::connect(proxy.addr()))
        .await
        .unwrap();
    let (mut server, _) = within(target.accept()).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    within(server.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    text.clear();
    within(client.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "answer");
    let stats = until(&proxy, |stats| stats.tcp_connections == 0).await;
    assert_eq!((stats.tcp_up_bytes, stats.tcp_down_bytes), (8, 6));
}

#[tokio::test]
async fn one_tcp_connection_too_many_is_closed() {
    let target = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let settings = Settings {
        max_tcp_connections: 1,
        ..Default::default()
    };
    let proxy = Proxy::start(ANY, target.local_addr().unwrap(), settings).unwrap();
    let _first = within(tokio::net::TcpStream::connect(proxy.addr()))
        .await
        .unwrap();
    until(&proxy, |stats| stats.tcp_connections == 1).await;
    let mut second = within(tokio::net::TcpStream::connect(proxy.addr()))
        .await
        .unwrap();
    // Closed by FIN or by RST.
    let read = within(second.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    until(&proxy, |stats| stats.refused_tcp_connections == 1).await;
}

#[tokio::test]
async fn a_stream_takes_the_delay_of_the_path_and_its_handshake_a_round_trip() {
    let path = |delay| PathSettings {
        delay,
        ..Default::default()
    };
    let settings = Settings {
        up: path(ms(30)),
        down: path(ms(20)),
        ..Default::default()
    };
    let start = Instant::now();
    let (mut client, _proxy, mut server) = connected(settings).await;
    assert!(start.elapsed() >= ms(30), "SYN: {:?}", start.elapsed());
    client.write_all(b"question").await.unwrap();
    let mut buffer = [0; 8];
    within(server.read_exact(&mut buffer)).await.unwrap();
    // SYN, SYN and ACK, and the question.
    assert!(start.elapsed() >= ms(80), "question: {:?}", start.elapsed());
    let sent = Instant::now();
    server.write_all(b"answer").await.unwrap();
    within(client.read_exact(&mut buffer[..6])).await.unwrap();
    assert!(sent.elapsed() >= ms(20), "answer: {:?}", sent.elapsed());
    drop(server);
    assert_eq!(within(client.read(&mut buffer)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stream_has_the_rate_of_the_path() {
    let path = PathSettings {
        rate: Some(Rate::mbit(8)),
        ..Default::default()
    };
    let (mut client, _proxy, mut server) = connected(Settings::symmetric(path, 1)).await;
    let start = Instant::now();
    let send = async {
        client.write_all(&vec![7; 200_000]).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    within(async { tokio::join!(send, server.read_to_end(&mut received)) })
        .await
        .1
        .unwrap();
    assert_eq!(received, vec![7; 200_000]);
    // 200 kB are 200 ms at 8 Mbit/s, less what the bottleneck may be ahead by.
    assert!(start.elapsed() >= ms(190), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_a_path_loses_of_a_stream_comes_late_and_in_order() {
    let path = PathSettings {
        delay: ms(1),
        loss: Probability::percent(10.0),
        ..Default::default()
    };
    let (mut client, proxy, mut server) = connected(Settings::symmetric(path, 3)).await;
    let data: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    let sent = data.clone();
    let send = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    within(async { tokio::join!(send, server.read_to_end(&mut received)) })
        .await
        .1
        .unwrap();
    assert_eq!(received, data);
    assert_eq!(proxy.stats().tcp_up_bytes, 100_000);
}

#[tokio::test]
async fn an_outage_stalls_a_stream() {
    let (mut client, proxy, mut server) = connected(Settings::default()).await;
    proxy.cut(ms(100));
    let start = Instant::now();
    client.write_all(b"x").await.unwrap();
    within(server.read_exact(&mut [0; 1])).await.unwrap();
    // The first retransmission, 200 ms after the loss, gets through.
    assert!(start.elapsed() >= ms(190), "{:?}", start.elapsed());
}

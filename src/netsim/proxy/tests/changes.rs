use super::super::super::schedule::Step;
use super::*;

fn change(key: &str, value: &str) -> PathChange {
    let mut change = PathChange::default();
    change.set(key, &[value]).unwrap();
    change
}

/// Sends until something arrives: what is sent to a port that is gone is lost.
async fn ping(client: &UdpSocket, target: &UdpSocket, number: u32) -> SocketAddr {
    client.send(&number.to_be_bytes()).await.unwrap();
    let (received, from) = receive(target).await;
    assert_eq!(received, number);
    from
}

#[tokio::test]
async fn a_rebinding_changes_the_port_that_the_target_sees_and_both_ways_go_on() {
    let (client, proxy, target) = rig(Settings::default()).await;
    let before = ping(&client, &target, 1).await;
    assert_eq!(proxy.rebind().unwrap(), 1);
    let after = ping(&client, &target, 2).await;
    assert_ne!(before, after);
    // The old mapping is gone, the new one works.
    target.send_to(&3u32.to_be_bytes(), before).await.unwrap();
    target.send_to(&4u32.to_be_bytes(), after).await.unwrap();
    assert_eq!(receive(&client).await.0, 4);
    assert_eq!(proxy.stats().rebinds, 1);
    assert_eq!(proxy.stats().clients, 1, "it is the same client");
}

/// Linux has all of 127.0.0.0/8.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_can_be_moved_to_another_address() {
    let (client, proxy, target) = rig(Settings::default()).await;
    ping(&client, &target, 1).await;
    let other = IpAddr::from([127, 0, 0, 9]);
    assert_eq!(proxy.rebind_to(other).unwrap(), 1);
    let from = ping(&client, &target, 2).await;
    assert_eq!(from.ip(), other);
    target.send_to(&3u32.to_be_bytes(), from).await.unwrap();
    assert_eq!(receive(&client).await.0, 3);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_is_handed_over_is_reached_at_both_addresses_for_a_while() {
    let (client, proxy, target) = rig(Settings::default()).await;
    let before = ping(&client, &target, 1).await;
    let other = IpAddr::from([127, 0, 0, 10]);
    assert_eq!(proxy.hand_over_to(other, LIMIT).unwrap(), 1);
    let from = ping(&client, &target, 2).await;
    assert_eq!(from.ip(), other);
    for (number, to) in [(3u32, before), (4, from)] {
        target.send_to(&number.to_be_bytes(), to).await.unwrap();
        assert_eq!(receive(&client).await.0, number);
    }
    // The next one ends what is left of the first.
    assert_eq!(proxy.hand_over_to(other, ms(1)).unwrap(), 1);
    ping(&client, &target, 5).await;
    let closed = async {
        while UdpSocket::bind(before).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(closed).await;
}

#[tokio::test]
async fn who_is_stranded_is_served_again_from_another_port() {
    let (client, proxy, target) = rig(Settings::default()).await;
    let before = ping(&client, &target, 1).await;
    proxy.strand();
    client.send(&2u32.to_be_bytes()).await.unwrap();
    target.send_to(&3u32.to_be_bytes(), before).await.unwrap();
    let other = socket().await;
    other.connect(proxy.addr()).await.unwrap();
    // The first that arrives on either side: what came before it is lost.
    let from = ping(&other, &target, 4).await;
    target.send_to(&5u32.to_be_bytes(), from).await.unwrap();
    assert_eq!(receive(&other).await.0, 5);
    assert!(client.try_recv(&mut [0; 4]).is_err());
}

#[tokio::test]
async fn a_schedule_rebinds_and_changes_the_path_by_itself() {
    let mut step = Step {
        at: ms(50),
        rebind: true,
        ..Default::default()
    };
    step.up = change("loss", "100%");
    let settings = Settings {
        schedule: Schedule::new(vec![step], None).unwrap(),
        ..Default::default()
    };
    let (client, proxy, target) = rig(settings).await;
    ping(&client, &target, 1).await;
    until(&proxy, |stats| stats.rebinds == 1).await;
    client.send(&2u32.to_be_bytes()).await.unwrap();
    until(&proxy, |stats| stats.up.lost.random == 1).await;
}

#[tokio::test]
async fn an_update_leaves_what_it_does_not_name() {
    let path = PathSettings {
        delay: ms(5),
        ..Default::default()
    };
    let (client, proxy, _target) = rig(Settings::symmetric(path, 0)).await;
    proxy.update(&change("loss", "100%"), &PathChange::default());
    client.send(&1u32.to_be_bytes()).await.unwrap();
    until(&proxy, |stats| stats.up.lost.random == 1).await;
    let (up, down) = proxy.settings();
    assert_eq!((up.delay, up.loss), (ms(5), Probability::ONE));
    assert_eq!(down.loss, Probability::ZERO);
}

#[tokio::test]
async fn duplicates_arrive_and_corrupted_datagrams_arrive_damaged() {
    let path = PathSettings {
        duplicate: Probability::ONE,
        corrupt: Probability::ONE,
        ..Default::default()
    };
    let (client, proxy, target) = rig(Settings::symmetric(path, 0)).await;
    client.send(&0u32.to_be_bytes()).await.unwrap();
    let (first, _) = receive(&target).await;
    assert_eq!(first.count_ones(), 1);
    assert_eq!(receive(&target).await.0, first);
    let stats = proxy.stats().up;
    assert_eq!((stats.duplicated, stats.corrupted), (1, 1));
}

#[tokio::test]
async fn a_delay_of_milliseconds_is_not_rounded_up_to_the_grain_of_a_coarse_timer() {
    let path = PathSettings {
        delay: Duration::from_micros(1500),
        ..Default::default()
    };
    let (client, _proxy, target) = rig(Settings::symmetric(path, 0)).await;
    let mut fastest = Duration::MAX;
    for n in 0..50 {
        let start = Instant::now();
        ping(&client, &target, n).await;
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest >= Duration::from_micros(1500), "{fastest:?}");
    // tokio's timer would take 2 to 3 ms. The fastest of many: others use the machine, too.
    assert!(fastest < ms(2), "{fastest:?}");
}

#[tokio::test]
async fn a_congestion_mark_is_carried_over() {
    let (_client, proxy, target) = rig(Settings::default()).await;
    let target = Socket::new(target.into_std().unwrap()).unwrap();
    let client = std::net::UdpSocket::bind(ANY).unwrap();
    let client = Socket::new(client).unwrap();
    let packet = super::super::super::packet::Packet {
        payload: vec![1, 2, 3].into(),
        ecn: super::super::super::packet::Ecn::Ect0,
        to: (),
    };
    let route = super::super::super::socket::Route {
        to: proxy.addr(),
        from: None,
    };
    client
        .send(route, std::slice::from_ref(&packet), &mut Vec::new())
        .await;
    let mut seen = None;
    let mut buffers = Buffers::default();
    within(async {
        while seen.is_none() {
            target.readable().await.unwrap();
            // An error is one of readiness that was none.
            let _ = target.receive(&mut buffers, |origin, _| seen = Some(origin.ecn));
        }
    })
    .await;
    assert_eq!(seen, Some(packet.ecn));
}

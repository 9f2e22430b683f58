use std::time::Instant;

use super::super::{path::Path, settings::PathSettings};
use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

fn clients(count: u16) -> Clients {
    let rules = Rules {
        target: LOOPBACK,
        limit: 16,
        idle: Duration::from_secs(60),
        many_addresses: false,
    };
    let down = Path::new(PathSettings::default(), 0);
    let down = Arc::new(Lane::new(down, Instant::now()));
    let clients = Clients::new(Handle::current(), rules, down);
    for port in 1..=count {
        let from = SocketAddr::new(LOOPBACK.ip(), port);
        let (to, ecn) = (None, Default::default());
        clients.get(&Origin { from, to, ecn }).unwrap();
    }
    clients
}

/// The sockets in use, by client.
fn upstream(clients: &Clients) -> HashMap<SocketAddr, *const Socket> {
    let table = clients.table.lock();
    let socket = |entry: &Entry| Arc::as_ptr(&entry.client.upstream.lock());
    table.iter().map(|(from, e)| (*from, socket(e))).collect()
}

#[tokio::test]
async fn clients_that_cannot_all_get_a_new_port_keep_theirs() {
    let clients = clients(3);
    let before = upstream(&clients);
    let mut left = 2;
    let sockets = || {
        left -= 1;
        match left {
            0 => Err(io::ErrorKind::AddrInUse.into()),
            _ => upstream_socket(LOOPBACK, None),
        }
    };
    let failed = clients.rebind_with(sockets, Duration::ZERO);
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(upstream(&clients), before);
    assert_eq!(clients.rebinds(), 0);

    assert_eq!(clients.rebind(None, Duration::ZERO).unwrap(), 3);
    let after = upstream(&clients);
    assert!(after.iter().all(|(from, socket)| before[from] != *socket));
    assert_eq!(clients.rebinds(), 3);
}

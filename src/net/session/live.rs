//! One MoQ session: set up, and taken down without losing what was queued.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;

use super::{Role, SessionInfo, shared::Shared};
use crate::net::{
    error::{Cause, Error, Result},
    transport::{self, Address, Dial, Dialed, Session, Wire, endpoint, failure},
};

/// How long a replaced session stays beside its successor, above three round trips: the peer must have seen the new one
/// before the old one ends, or its subscriptions would break.
const OVERLAP: Duration = Duration::from_millis(250);
/// What a relay needs to refuse a token, above two round trips.
const REFUSAL: Duration = Duration::from_millis(20);

/// A session that is up. Dropping it closes it.
pub struct Live {
    pub moq: moq_net::Session,
    pub transport: Session,
    pub info: Arc<SessionInfo>,
    address: Address,
    /// What was dialled: a redirect from here must not leave TLS behind.
    pub url: Url,
    pub since: Instant,
    endpoint: quinn::Endpoint,
}

/// Dials one URL and sets MoQ up on it.
pub async fn connect(shared: &Shared, dial: Dial<'_>) -> Result<Live> {
    let Dial { url, deadline, .. } = dial;
    let Dialed {
        session,
        endpoint,
        address,
        wire,
        versions,
    } = transport::dial(&shared.config, dial).await?;
    let at = &address.display;
    let session = session.with_patience(shared.patience);
    let transport = match shared.role {
        Role::Publisher => session.with_deadlines(shared.deadlines.clone()),
        Role::Subscriber => session,
    };
    let mut client = moq_net::Client::new().with_versions(versions);
    client = match shared.role {
        // moq-lite has no word before draft 07 for who wants to know of names that begin with a dot: the publisher decides.
        Role::Publisher => client.with_publisher(shared.origin.consume().with_hidden(true)),
        Role::Subscriber => client.with_subscriber(shared.heard.clone()),
    };
    if wire == Wire::Quic {
        client = client
            .with_path(address.target.0.clone())
            .with_authority(address.authority());
    }
    let now = Instant::now().into_std();
    let (moq, driver) = timeout_at(deadline, client.connect(now, transport.clone()))
        .await
        .map_err(|_| {
            Error::new(
                Cause::Timeout,
                format!("{at} did not set up MoQ within connect-timeout"),
            )
        })?
        .map_err(|err| failure::session(&err, transport.quic(), &address))?;
    tokio::spawn(moq_net::time::run(driver));

    // Most versions are up before the relay has judged our token: a refusal comes with its first answer.
    let answer = transport.quic().rtt() * 2 + REFUSAL;
    tokio::select! {
        err = moq.closed() => return Err(failure::session(&err, transport.quic(), &address)),
        () = sleep(answer) => {}
    }
    Ok(Live {
        info: Arc::new(SessionInfo {
            url: address.display.clone(),
            transport: wire.as_str(),
            version: moq.version().as_str().to_owned(),
        }),
        address,
        moq,
        transport,
        url: url.clone(),
        since: Instant::now(),
        endpoint,
    })
}

impl Live {
    /// Why it ended.
    pub async fn closed(&self) -> Error {
        let err = self.moq.closed().await;
        failure::session(&err, self.transport.quic(), &self.address)
    }

    /// Goes on from another port. A NAT may keep this one bound to an uplink that is gone, and the socket may have died.
    pub fn change_port(&self) {
        if let Err(err) = endpoint::change_port(&self.endpoint) {
            tracing::info!(url = self.info.url, %err, "no other port");
        }
    }

    /// Closes after delivery of what is queued, within `limit`.
    pub async fn drain(self, limit: Duration) -> Result<()> {
        let drained = timeout(limit, async {
            // moq_net drains lite sessions itself and closes the others without waiting.
            if self.moq.version().is_ietf() {
                self.quiet().await;
            }
            let sent = self.transport.quic().stats().udp_tx.datagrams;
            let closed = self.moq.clone().close().await;
            self.farewell(sent).await;
            // A peer that hangs up first has what it wanted.
            !matches!(closed, Err(moq_net::Error::Timeout))
        })
        .await;
        match drained {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => {
                self.abort();
                Err(Error::new(
                    Cause::Timeout,
                    format!("{} did not take all data in time", self.info.url),
                ))
            }
        }
    }

    /// Closes now.
    pub fn abort(&self) {
        self.moq.abort(moq_net::Error::Cancel);
    }

    /// Ends a session that has a successor. A `silent` one delivers nothing any more, but would send again what was lost
    /// once its path is back, beside the successor that sends the same.
    pub fn retire(self, silent: bool) {
        const LIMIT: Duration = Duration::from_secs(1);
        tokio::spawn(async move {
            sleep(self.transport.quic().rtt() * 3 + OVERLAP).await;
            match silent {
                true => self.abort(),
                false => drop(self.drain(LIMIT).await),
            }
        });
    }

    /// Until the packet that says goodbye is out: a process that ends right after would keep it to itself, and the relay
    /// would serve a dead broadcast until its idle timeout.
    async fn farewell(&self, sent: u64) {
        const LIMIT: Duration = Duration::from_millis(20);
        let quic = self.transport.quic();
        let deadline = Instant::now() + LIMIT;
        while quic.stats().udp_tx.datagrams == sent && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Until no stream data was sent for two round trips: what is lost is sent again within that time.
    async fn quiet(&self) {
        let quic = self.transport.quic();
        let mut sent = quic.stats().frame_tx.stream;
        loop {
            sleep(quic.rtt() * 2 + REFUSAL).await;
            let now = quic.stats().frame_tx.stream;
            if now == sent || quic.close_reason().is_some() {
                return;
            }
            sent = now;
        }
    }
}

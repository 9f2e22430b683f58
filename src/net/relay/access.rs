//! Who may publish and subscribe to what.

use std::net::{IpAddr, SocketAddr};

use moq_net::{Pattern, Patterns};

use super::config::RelayConfig;
use crate::{
    http::{AllowedOrigins, Site, unescape},
    net::{
        error::{Cause, Error, Result},
        transport::listen::is_loopback,
    },
};

/// The rules of a relay.
#[derive(Debug, Clone)]
pub(super) struct Access {
    publish: Patterns,
    subscribe: Patterns,
    trust_loopback: bool,
    pub origins: AllowedOrigins,
}

/// What one peer may do, as patterns from the relay's root; empty = nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub publish: Patterns,
    pub subscribe: Patterns,
}

impl Access {
    /// Reads the rules, and refuses a listener that others can reach as long as no rule says what they may do.
    pub fn new(config: &RelayConfig) -> Result<Self> {
        let access = Self {
            publish: parse(&config.public_publish, "public-publish")?,
            subscribe: parse(&config.public_subscribe, "public-subscribe")?,
            trust_loopback: config.trust_loopback,
            origins: AllowedOrigins::parse(&config.allowed_origins)
                .map_err(|err| Error::new(Cause::Settings, format!("allowed-origins: {err}")))?,
        };
        let open = config
            .listen
            .iter()
            .find(|address| !is_loopback(address.ip()));
        match open {
            Some(address) if access.publish.is_empty() && access.subscribe.is_empty() => {
                Err(refusal(address))
            }
            _ => Ok(access),
        }
    }

    /// Whether a peer needs no rule.
    pub fn trusts(&self, peer: IpAddr, site: Site) -> bool {
        self.trust_loopback && site == Site::Peer && is_loopback(peer)
    }

    /// What a peer at this address may do. Tokens will widen it when the relay checks them.
    ///
    /// A browser on this machine speaks for whatever page is open in it, so it is local only if the page is.
    pub fn grant(&self, peer: IpAddr, site: Site) -> Grant {
        if site == Site::Refused {
            return Grant {
                publish: Patterns::new(),
                subscribe: Patterns::new(),
            };
        }
        if self.trusts(peer, site) {
            let all = Patterns::from(Pattern::all());
            return Grant {
                publish: all.clone(),
                subscribe: all,
            };
        }
        Grant {
            publish: self.publish.clone(),
            subscribe: self.subscribe.clone(),
        }
    }
}

/// What counts as one peer where connections are counted: an IPv4 address, or an IPv6 /64, which is the least that a
/// host gets and within which it has any number of addresses (RFC 4291 section 2.5.4, RFC 6177).
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::from(std::net::Ipv6Addr::from(u128::from(v6) & (!0 << 64)))
        }
        other => other,
    }
}

impl Grant {
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }
}

fn refusal(address: &SocketAddr) -> Error {
    Error::new(
        Cause::Settings,
        format!(
            "refusing to listen on {address}, which other machines can reach, without access rules: set \
             public-subscribe and public-publish to patterns of broadcast names (\"**\" allows all), or listen on \
             127.0.0.1 or [::1]"
        ),
    )
}

fn parse(patterns: &[String], property: &str) -> Result<Patterns> {
    let mut parsed = Patterns::new();
    for text in patterns {
        let pattern = text.parse::<Pattern>().map_err(|err| {
            Error::new(
                Cause::Settings,
                format!("{property}: \"{text}\" is no pattern ({err}); examples: \"**\", \"room1/**\", \"*/camera\""),
            )
        })?;
        parsed.insert(pattern);
    }
    Ok(parsed)
}

/// Turns the path of a URL or of a SETUP message into the root that a session is confined to: `/room1/` → `room1`.
///
/// `None` for what names no place below the root: `.` and `..`, bad escapes, bytes that are not UTF-8, control
/// characters, more than 32 segments or 1024 bytes.
pub(super) fn scope_of(path: &str) -> Option<String> {
    const MAX_BYTES: usize = 1024;
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = unescape(path)?;
    if path.len() > MAX_BYTES || path.chars().any(char::is_control) {
        return None;
    }
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    if segments.len() > moq_net::Path::MAX_PARTS
        || segments
            .iter()
            .any(|segment| matches!(*segment, "." | ".."))
    {
        return None;
    }
    Some(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> RelayConfig {
        RelayConfig::new(vec![listen.parse().unwrap()])
    }

    #[test]
    fn a_public_listener_without_rules_is_refused_with_the_remedy() {
        for listen in ["0.0.0.0:4443", "[::]:0", "192.0.2.1:4443"] {
            let err = Access::new(&config(listen)).unwrap_err();
            assert_eq!(err.cause, Cause::Settings);
            assert!(
                err.message.contains("public-subscribe") && err.message.contains("127.0.0.1"),
                "{err}"
            );
        }
        assert!(Access::new(&config("127.0.0.1:0")).is_ok());
        assert!(Access::new(&config("[::1]:0")).is_ok());
    }

    #[test]
    fn rules_open_a_public_listener_for_what_they_name() {
        let mut config = config("0.0.0.0:4443");
        config.public_subscribe = vec!["room1/**".to_owned()];
        let access = Access::new(&config).unwrap();

        let stranger = access.grant("192.0.2.7".parse().unwrap(), Site::Peer);
        assert!(stranger.subscribe.matches("room1/camera"));
        assert!(!stranger.subscribe.matches("room2/camera"));
        assert!(stranger.publish.is_empty());

        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(
                access
                    .grant(local.parse().unwrap(), Site::Peer)
                    .publish
                    .matches("room2/camera")
            );
        }
    }

    #[test]
    fn a_page_has_no_more_than_the_rules_give_and_a_refused_one_nothing() {
        let mut config = config("127.0.0.1:0");
        config.public_subscribe = vec!["room1/**".to_owned()];
        let access = Access::new(&config).unwrap();
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let foreign = access.grant(here, Site::Foreign);
        assert!(foreign.subscribe.matches("room1/camera") && foreign.publish.is_empty());
        assert!(access.grant(here, Site::Refused).is_empty());
    }

    #[test]
    fn a_bad_origin_names_its_property() {
        let mut config = config("127.0.0.1:0");
        config.allowed_origins = vec!["player.example.org".to_owned()];
        let err = Access::new(&config).unwrap_err();
        assert_eq!(err.cause, Cause::Settings);
        assert!(err.message.starts_with("allowed-origins: "), "{err}");
    }

    #[test]
    fn without_trust_in_loopback_the_rules_hold_for_everyone() {
        let mut config = config("127.0.0.1:0");
        config.trust_loopback = false;
        let access = Access::new(&config).unwrap();
        assert!(
            access
                .grant("127.0.0.1".parse().unwrap(), Site::Peer)
                .is_empty()
        );
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one_peer() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8:0:1::2"), network("2001:db8:0:1:ffff::9"));
        assert_ne!(network("2001:db8:0:1::2"), network("2001:db8:0:2::2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn a_bad_pattern_names_its_property() {
        let mut config = config("127.0.0.1:0");
        config.public_publish = vec!["a/**/b/**".to_owned()];
        let err = Access::new(&config).unwrap_err();
        assert!(err.message.contains("public-publish"), "{err}");
    }

    #[test]
    fn a_path_becomes_the_scope_of_its_session() {
        assert_eq!(scope_of("").as_deref(), Some(""));
        assert_eq!(scope_of("/").as_deref(), Some(""));
        assert_eq!(scope_of("/room1/").as_deref(), Some("room1"));
        assert_eq!(scope_of("/a//b?jwt=secret").as_deref(), Some("a/b"));
        assert_eq!(scope_of("/caf%C3%A9").as_deref(), Some("café"));
    }

    #[test]
    fn a_path_that_climbs_or_is_no_text_is_rejected() {
        for path in [
            "/..",
            "/a/../b",
            "/%2e%2e/b",
            "/a%2F..%2Fb",
            "/%ff",
            "/%4",
            "/%zz",
            "/a%00b",
            "/a\nb",
        ] {
            assert_eq!(scope_of(path), None, "{path:?}");
        }
        assert_eq!(scope_of(&"/a".repeat(33)), None);
        assert_eq!(scope_of(&"a".repeat(2000)), None);
    }
}

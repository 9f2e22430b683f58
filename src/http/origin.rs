//! Which pages may use the relay.
//!
//! Browsers name the page's site in `Origin` with every WebTransport request and every cross-origin request whose answer the
//! page may read (RFC 6454 section 7, Fetch section 3.2). Programs send none.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

/// The origins whose pages may use the relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Pages of this machine as this machine; others may what the access rules allow everyone.
    #[default]
    ByRules,
    /// Every page, as the machine that its browser runs on.
    Any,
    /// Pages of these origins as the machine that their browser runs on, and pages of this machine. In the form that browsers send.
    Listed(Vec<String>),
}

/// What an entry of the list is that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no origin; write https://player.example.org or http://localhost:5173, with the port if it is not the scheme's and without a path, or * for all"
)]
pub struct NoOrigin(String);

/// Whom a request speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Whoever is at the peer's address: a program, or a page that may do what a program there may.
    Peer,
    /// A page of some web site that a browser there has open.
    Foreign,
    /// A page that may not use the relay.
    Refused,
}

impl AllowedOrigins {
    /// Reads a list of origins. Without an entry it is [`AllowedOrigins::ByRules`], with `*` among them [`AllowedOrigins::Any`].
    ///
    /// # Errors
    /// The first entry that is no origin of a web page (RFC 6454 section 6.2).
    pub fn parse(entries: &[String]) -> Result<Self, NoOrigin> {
        let mut listed = Vec::new();
        let mut any = false;
        for entry in entries {
            let entry = entry.trim();
            if entry == "*" {
                any = true;
                continue;
            }
            listed.push(origin_of(entry).ok_or_else(|| NoOrigin(entry.to_owned()))?);
        }
        Ok(match (any, listed.is_empty()) {
            (true, _) => Self::Any,
            (false, true) => Self::ByRules,
            (false, false) => Self::Listed(listed),
        })
    }

    /// Whom a request from this address speaks for. `authority` is the host and port that it was sent to.
    ///
    /// `host` is the same where a page of the relay's own origin sends no `Origin`, which is so with HTTP and not with
    /// WebTransport: a site whose name was pointed at this machine (DNS rebinding) is its own origin, but its name is there.
    /// An address there is no site's name.
    pub fn site(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        authority: Option<&str>,
        host: Option<&str>,
    ) -> Site {
        let origins: Vec<_> = headers.get_all(header::ORIGIN).iter().collect();
        let here = peer.to_canonical().is_loopback();
        let all = |allowed: &dyn Fn(&str) -> bool| {
            origins
                .iter()
                .all(|value| value.to_str().is_ok_and(allowed))
        };
        let local_host = host.is_none_or(is_local_authority);
        match self {
            Self::Any => Site::Peer,
            Self::ByRules if all(&is_local_origin) && local_host => Site::Peer,
            Self::ByRules => Site::Foreign,
            Self::Listed(listed) => {
                let is_listed = |origin: &str| listed.iter().any(|one| one == origin);
                let own = |origin: &str| authority.is_some_and(|host| is_own(origin, host));
                let known_host = local_host
                    || host.is_some_and(|host| {
                        listed
                            .iter()
                            .any(|one| one.split_once("://").is_some_and(|(_, it)| it == host))
                    });
                if all(&|origin| is_listed(origin) || (here && is_local_origin(origin))) {
                    if known_host {
                        Site::Peer
                    } else {
                        Site::Foreign
                    }
                } else if all(&|origin| is_listed(origin) || own(origin)) {
                    Site::Foreign
                } else {
                    Site::Refused
                }
            }
        }
    }

    /// `Access-Control-Allow-Origin` of an answer to a request that is not refused (Fetch section 3.2.3); `None` if no
    /// page asked.
    pub fn allow_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Self::ByRules | Self::Any => Some(HeaderValue::from_static("*")),
            Self::Listed(_) => headers.get(header::ORIGIN).cloned(),
        }
    }

    /// Whether answers differ by `Origin`, so that caches have to tell them apart.
    pub fn varies(&self) -> bool {
        matches!(self, Self::Listed(_))
    }
}

/// The form in which browsers send an origin; `None` for what is none.
fn origin_of(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    // No wildcards within a name: browsers never send one, so that it would match nothing.
    let bare = url.path() == "/"
        && !text.ends_with('/')
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !text.contains('*');
    let origin = url.origin();
    (bare && origin.is_tuple() && matches!(url.scheme(), "http" | "https"))
        .then(|| origin.ascii_serialization())
}

/// Whether a page came from the very address that its request goes to. Only of addresses: a name may be pointed anywhere.
fn is_own(origin: &str, authority: &str) -> bool {
    let Some((_, host)) = origin.split_once("://") else {
        return false;
    };
    let is_address = url::Url::parse(origin)
        .ok()
        .is_some_and(|url| matches!(url.host(), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_))));
    is_address && host == authority
}

/// `null`, which sandboxed pages of any site send, is not local.
fn is_local_origin(origin: &str) -> bool {
    let Ok(url) = url::Url::parse(origin) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => is_local_name(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

fn is_local_authority(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) => is_local_name(&name),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// RFC 6761 section 6.3.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const AFAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn from(origin: &str) -> HeaderMap {
        let value = HeaderValue::from_str(origin).unwrap();
        HeaderMap::from_iter([(header::ORIGIN, value)])
    }

    fn listed(entries: &[&str]) -> AllowedOrigins {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        AllowedOrigins::parse(&entries).unwrap()
    }

    #[test]
    fn by_the_rules_programs_and_pages_of_this_machine_are_the_peer() {
        let rules = AllowedOrigins::ByRules;
        assert_eq!(rules.site(HERE, &HeaderMap::new(), None, None), Site::Peer);
        for origin in [
            "http://localhost:8080",
            "https://player.localhost",
            "http://127.0.0.1",
            "http://[::1]:80",
        ] {
            assert_eq!(
                rules.site(HERE, &from(origin), None, None),
                Site::Peer,
                "{origin}"
            );
        }
        for host in ["localhost:4443", "127.0.0.1:4443", "[::1]:4443", "[::1]"] {
            let site = rules.site(HERE, &HeaderMap::new(), Some(host), Some(host));
            assert_eq!(site, Site::Peer, "{host}");
        }
    }

    #[test]
    fn by_the_rules_pages_of_web_sites_are_foreign() {
        let rules = AllowedOrigins::ByRules;
        for origin in [
            "https://example.org",
            "http://192.0.2.1",
            "http://localhost.example.org",
            "null",
            "file://",
            "",
        ] {
            assert_eq!(
                rules.site(HERE, &from(origin), None, None),
                Site::Foreign,
                "{origin}"
            );
        }
        for host in ["rebound.example.org:4443", "localhost.example.org", ""] {
            let site = rules.site(HERE, &HeaderMap::new(), Some(host), Some(host));
            assert_eq!(site, Site::Foreign, "{host}");
        }
        assert_eq!(rules.allow_origin(&from("null")).unwrap(), "*");
    }

    #[test]
    fn a_listed_page_is_the_peer_and_others_are_refused() {
        let list = listed(&["https://player.example.org", "http://dev.test:5173"]);
        for peer in [HERE, AFAR] {
            for origin in ["https://player.example.org", "http://dev.test:5173"] {
                assert_eq!(
                    list.site(peer, &from(origin), None, None),
                    Site::Peer,
                    "{origin}"
                );
            }
            for origin in [
                "http://player.example.org",
                "https://player.example.org:444",
                "https://player.example.org.evil.test",
                "null",
            ] {
                let site = list.site(peer, &from(origin), None, None);
                assert_eq!(site, Site::Refused, "{origin}");
            }
            assert_eq!(list.site(peer, &HeaderMap::new(), None, None), Site::Peer);
        }
        assert_eq!(
            list.allow_origin(&from("https://player.example.org"))
                .unwrap(),
            "https://player.example.org"
        );
        assert!(list.varies() && list.allow_origin(&HeaderMap::new()).is_none());
    }

    #[test]
    fn beside_a_list_a_page_of_this_machine_is_allowed_from_this_machine_only() {
        let list = listed(&["https://player.example.org"]);
        let page = from("http://localhost:5173");
        assert_eq!(list.site(HERE, &page, None, None), Site::Peer);
        assert_eq!(list.site(AFAR, &page, None, None), Site::Refused);
    }

    #[test]
    fn beside_a_list_the_relays_own_page_is_allowed_by_address_and_not_by_any_name() {
        let list = listed(&["https://player.example.org"]);
        let own = from("https://192.0.2.1:4443");
        assert_eq!(
            list.site(AFAR, &own, Some("192.0.2.1:4443"), Some("192.0.2.1:4443")),
            Site::Foreign
        );
        let rebound = from("https://evil.test:4443");
        assert_eq!(
            list.site(
                HERE,
                &rebound,
                Some("evil.test:4443"),
                Some("evil.test:4443")
            ),
            Site::Refused
        );
        let nameless = list.site(
            HERE,
            &HeaderMap::new(),
            Some("evil.test:4443"),
            Some("evil.test:4443"),
        );
        assert_eq!(nameless, Site::Foreign);
    }

    #[test]
    fn a_star_makes_every_page_the_peer() {
        let any = listed(&["https://player.example.org", "*"]);
        assert_eq!(any, AllowedOrigins::Any);
        assert_eq!(
            any.site(HERE, &from("https://evil.test"), None, None),
            Site::Peer
        );
        assert_eq!(any.allow_origin(&from("https://evil.test")).unwrap(), "*");
    }

    #[test]
    fn origins_are_compared_in_the_form_that_browsers_send() {
        let list = listed(&["HTTPS://Player.Example.org:443", "http://[0:0::1]:80"]);
        assert_eq!(
            list,
            AllowedOrigins::Listed(vec![
                "https://player.example.org".to_owned(),
                "http://[::1]".to_owned()
            ])
        );
        assert_eq!(AllowedOrigins::parse(&[]), Ok(AllowedOrigins::ByRules));
    }

    #[test]
    fn what_is_no_origin_is_told_with_an_example() {
        for entry in [
            "",
            "null",
            "player.example.org",
            "https://player.example.org/",
            "https://player.example.org/page",
            "https://*.example.org",
            "https://user@player.example.org",
            "file:///page.html",
            "ws://player.example.org",
        ] {
            let err = AllowedOrigins::parse(&[entry.to_owned()]).unwrap_err();
            assert!(
                err.to_string().contains("https://player.example.org"),
                "{err}"
            );
        }
    }
}

//! What a URL says about the transport.
//!
//! | Scheme | Transport | Versions |
//! |---|---|---|
//! | `https`, `moq+https` | WebTransport or raw QUIC, as the server chooses | all |
//! | `http`, `moq+http` | the same, after pinning the development certificate served at `/certificate.sha256` | all |
//! | `moqt` | raw QUIC | moq-transport |
//! | `moql` | raw QUIC | moq-lite |

use std::net::IpAddr;

use url::{Host, Url};

use super::{secrets::Secrets, versions::Family};
use crate::net::{
    config::{Secret, TransportKind},
    error::{Cause, Error, Result},
};

const DEFAULT_PORT: u16 = 443;
const DEFAULT_DEVELOPMENT_PORT: u16 = 4443;

/// Where to dial and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What is offered; with [`TransportKind::Auto`] both are.
    pub kind: TransportKind,
    pub family: Family,
    pub host: Name,
    pub port: u16,
    /// Path and query, the token included: a secret.
    pub target: Secret,
    /// Fetch the digest of the development certificate over HTTP first.
    pub development: bool,
    /// For humans: no query, no user info.
    pub display: String,
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Dns(String),
    Ip(IpAddr),
}

impl Name {
    /// As TLS wants it: without brackets.
    pub fn server_name(&self) -> String {
        match self {
            Self::Dns(name) => name.clone(),
            Self::Ip(ip) => ip.to_string(),
        }
    }

    /// As a URL wants it: with brackets around IPv6.
    fn in_url(&self) -> String {
        match self {
            Self::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            other => other.server_name(),
        }
    }
}

impl Address {
    /// Applies the rules above to one URL; `token` is appended to its query as `jwt`, in place of one that is there.
    ///
    /// Fails with [`Cause::Settings`] when the URL cannot be dialled.
    pub fn new(url: &Url, transport: TransportKind, token: Option<&Secret>) -> Result<Self> {
        let scheme = url.scheme();
        let (by_scheme, family, development) = match scheme {
            "https" | "moq+https" => (TransportKind::Auto, Family::All, false),
            "http" | "moq+http" => (TransportKind::Auto, Family::All, true),
            "moqt" => (TransportKind::Quic, Family::Ietf, false),
            "moql" => (TransportKind::Quic, Family::Lite, false),
            _ => {
                return Err(settings(format!(
                    "URL scheme '{scheme}' is not one of https, moqt, moql, http, moq+https, moq+http"
                )));
            }
        };
        let kind = match transport {
            TransportKind::Auto => by_scheme,
            chosen => chosen,
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => match name.parse() {
                Ok(ip) => Name::Ip(IpAddr::V4(ip)),
                Err(_) => Name::Dns(name.to_owned()),
            },
            Some(Host::Ipv4(ip)) => Name::Ip(ip.into()),
            Some(Host::Ipv6(ip)) => Name::Ip(ip.into()),
            _ => return Err(settings(format!("URL '{}' names no host", redact(url)))),
        };
        let port = url.port().unwrap_or(match development {
            true => DEFAULT_DEVELOPMENT_PORT,
            false => DEFAULT_PORT,
        });
        if port == 0 {
            return Err(settings(format!("URL '{}' has port 0", redact(url))));
        }
        Ok(Self {
            kind,
            family,
            host,
            port,
            target: Secret(target(url, token)),
            development,
            display: redact(url),
        })
    }

    /// `host:port`, the port left out where it is the default of HTTPS.
    pub fn authority(&self) -> String {
        match self.port {
            DEFAULT_PORT => self.host.in_url(),
            port => format!("{}:{port}", self.host.in_url()),
        }
    }

    /// Whether the request has neither path nor query.
    pub fn is_root(&self) -> bool {
        self.target.0 == "/"
    }

    /// What must not be shown of what the peer says.
    pub fn secrets(&self) -> Secrets {
        Secrets::of_target(&self.target)
    }

    /// The URL of the WebTransport CONNECT request: a secret.
    pub fn connect_url(&self) -> Result<Url> {
        format!("https://{}{}", self.authority(), self.target.0)
            .parse()
            .map_err(|_| {
                settings(format!(
                    "URL '{}' has a path that HTTP cannot carry",
                    self.display
                ))
            })
    }
}

/// Path and query with the token; the path is never empty.
fn target(url: &Url, token: Option<&Secret>) -> String {
    let path = match url.path() {
        "" => "/",
        path => path,
    };
    let mut query: Vec<String> = url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty())
        .filter(|pair| token.is_none() || pair.split('=').next() != Some("jwt"))
        .map(str::to_owned)
        .collect();
    if let Some(token) = token {
        let value: String = url::form_urlencoded::byte_serialize(token.0.as_bytes()).collect();
        query.push(format!("jwt={value}"));
    }
    match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", query.join("&")),
    }
}

/// Parses one URL as users write it: no scheme of ours may hide an explicit port.
///
/// `http://host:80` would lose its port in [`Url`], where 80 is the default of `http`, and end at 4443; so `http` is kept
/// as `moq+http`, which means the same here.
pub fn parse(text: &str) -> Result<Url> {
    let text = text.trim();
    let fixed = match text.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            format!("moq+http://{}", &text[7..])
        }
        _ => text.to_owned(),
    };
    let url: Url = fixed
        .parse()
        .map_err(|err| settings(format!("'{}' is not a URL: {err}", redact_text(text))))?;
    Address::new(&url, TransportKind::Auto, None)?;
    Ok(url)
}

/// Takes the `broadcast` out of the query of a `moq…` URI.
///
/// `https` and `http` URLs are left alone: their query belongs to the relay.
pub fn take_broadcast(url: &mut Url) -> Option<String> {
    if !url.scheme().starts_with("moq") {
        return None;
    }
    let mut broadcast = None;
    let rest: Vec<String> = url
        .query()?
        .split('&')
        .filter(|pair| match pair.strip_prefix("broadcast=") {
            Some(_) => {
                broadcast = url::form_urlencoded::parse(pair.as_bytes())
                    .next()
                    .map(|(_, value)| value.into_owned());
                false
            }
            None => true,
        })
        .map(str::to_owned)
        .collect();
    broadcast.as_ref()?;
    url.set_query((!rest.is_empty()).then(|| rest.join("&")).as_deref());
    broadcast.filter(|name| !name.is_empty())
}

/// The URL without query, fragment and user info.
pub fn redact(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that cannot have user info.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text = url.to_string();
    match text.strip_prefix("moq+http") {
        Some(rest) => format!("http{rest}"),
        None => text,
    }
}

/// The same for text that may not be a URL.
pub fn redact_text(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match (text.find("://"), text.find('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{}", &text[..scheme + 3], &text[at + 1..])
        }
        _ => text.to_owned(),
    }
}

fn settings(message: String) -> Error {
    Error::new(Cause::Settings, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::new(&parse(text).unwrap(), TransportKind::Auto, None).unwrap()
    }

    #[test]
    fn the_scheme_chooses_transport_versions_and_port() {
        let https = address("https://relay.example/live");
        assert_eq!(
            (https.kind, https.family, https.port, https.development),
            (TransportKind::Auto, Family::All, 443, false)
        );
        assert_eq!(https.target.0, "/live");
        let moqt = address("moqt://relay.example:4443/live");
        assert_eq!(
            (moqt.kind, moqt.family, moqt.port),
            (TransportKind::Quic, Family::Ietf, 4443)
        );
        let moql = address("moql://relay.example");
        assert_eq!(
            (moql.kind, moql.family, moql.port),
            (TransportKind::Quic, Family::Lite, 443)
        );
        assert_eq!(moql.target.0, "/");
        let local = address("http://localhost");
        assert_eq!(
            (local.kind, local.port, local.development),
            (TransportKind::Auto, 4443, true)
        );
        assert_eq!(address("http://localhost:80/x").port, 80);
        assert_eq!(address("moq+http://localhost").port, 4443);
        assert_eq!(address("moq+https://localhost").kind, TransportKind::Auto);
    }

    #[test]
    fn the_transport_property_overrides_the_scheme() {
        let url = parse("https://relay.example/live").unwrap();
        let raw = Address::new(&url, TransportKind::Quic, None).unwrap();
        assert_eq!((raw.kind, raw.family), (TransportKind::Quic, Family::All));
        let url = parse("moqt://relay.example/live").unwrap();
        let web = Address::new(&url, TransportKind::WebTransport, None).unwrap();
        assert_eq!(
            (web.kind, web.family),
            (TransportKind::WebTransport, Family::Ietf)
        );
    }

    #[test]
    fn literal_addresses_are_not_names() {
        assert_eq!(
            address("moqt://127.0.0.1").host,
            Name::Ip("127.0.0.1".parse().unwrap())
        );
        let six = address("moql://[::1]:4443/a");
        assert_eq!(six.host, Name::Ip("::1".parse().unwrap()));
        assert_eq!(six.host.server_name(), "::1");
        assert_eq!(six.authority(), "[::1]:4443");
    }

    #[test]
    fn the_token_goes_into_the_query_in_place_of_an_old_one() {
        let token = Secret("a.b+c".into());
        for (text, want) in [
            ("https://h/p", "/p?jwt=a.b%2Bc"),
            ("https://h/p?x=1", "/p?x=1&jwt=a.b%2Bc"),
            ("https://h/p?jwt=old&x=1", "/p?x=1&jwt=a.b%2Bc"),
            ("moqt://h", "/?jwt=a.b%2Bc"),
        ] {
            let url = parse(text).unwrap();
            let got = Address::new(&url, TransportKind::Auto, Some(&token)).unwrap();
            assert_eq!(got.target.0, want, "{text}");
        }
        assert_eq!(address("https://h/p?jwt=kept").target.0, "/p?jwt=kept");
    }

    #[test]
    fn secrets_never_show() {
        let url = parse("https://user:pass@relay.example/live?jwt=secret#secret").unwrap();
        assert_eq!(redact(&url), "https://relay.example/live");
        assert_eq!(
            redact_text("nonsense://u:p@h/x?jwt=secret"),
            "nonsense://h/x"
        );
        let shown = format!(
            "{:?}",
            Address::new(&url, TransportKind::Auto, None).unwrap()
        );
        assert!(!shown.contains("secret"), "{shown}");
        let error = parse("gopher://u:secret@h/?jwt=secret").unwrap_err();
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }

    #[test]
    fn what_cannot_be_dialled_is_a_settings_error() {
        for text in [
            "",
            "relay.example",
            "ftp://h/",
            "moqt:///x",
            "https://h:0/",
            "https://",
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.cause, Cause::Settings, "{text}");
        }
    }

    #[test]
    fn the_broadcast_of_a_uri_is_taken_out_of_its_query() {
        let mut url = parse("moq+https://h/p?broadcast=live%2Fcam+1&jwt=t").unwrap();
        assert_eq!(take_broadcast(&mut url).as_deref(), Some("live/cam 1"));
        assert_eq!(url.query(), Some("jwt=t"));
        let mut url = parse("https://h/p?broadcast=x").unwrap();
        assert_eq!(take_broadcast(&mut url), None);
        assert_eq!(url.query(), Some("broadcast=x"));
    }
}

//! The properties of relay-bridge: what each means, and what a relay is started with.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use gst::{glib, prelude::*};

use super::web;
use crate::elements::connection::{MoqCongestionControl, strings};
use crate::net::{
    error::{Cause, Error, Result},
    relay::{Cache, Limits, RelayConfig},
    transport::listen::parse_addresses,
};

/// What the application asked for; takes effect when the element goes from READY to PAUSED.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    listen: Option<String>,
    certificate_file: Option<String>,
    private_key_file: Option<String>,
    public_publish: Option<String>,
    public_subscribe: Option<String>,
    allowed_origins: Vec<String>,
    /// Empty = no page, which is not the same as unset.
    web_root: Option<String>,
    congestion_control: MoqCongestionControl,
    limits: Limits,
    cache: Cache,
}

impl Settings {
    /// The relay to start; `None` if there is nothing to listen on, which may be set later. `plugin` is the file that the plugin was loaded from.
    pub fn config(&self, plugin: Option<&Path>) -> Result<Option<RelayConfig>> {
        let addresses = parse_addresses(self.listen.as_deref().unwrap_or_default())?;
        let mut config = RelayConfig::new(addresses);
        config.certificate = match (&self.certificate_file, &self.private_key_file) {
            (Some(certificate), Some(key)) => {
                Some((PathBuf::from(certificate), PathBuf::from(key)))
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(settings(
                    "certificate-file is set, private-key-file is not: set both",
                ));
            }
            (None, Some(_)) => {
                return Err(settings(
                    "private-key-file is set, certificate-file is not: set both",
                ));
            }
        };
        config.public_publish = words(self.public_publish.as_deref());
        config.public_subscribe = words(self.public_subscribe.as_deref());
        config.allowed_origins = self.allowed_origins.clone();
        config.web_root = match self.web_root.as_deref() {
            None => web::built_in(plugin),
            Some("") => None,
            Some(named) => Some(PathBuf::from(named)),
        };
        config.congestion_control = self.congestion_control.into();
        config.limits = self.limits;
        config.cache = self.cache;
        config.validate()?;
        Ok((!config.listen.is_empty()).then_some(config))
    }

    /// Takes a value that GObject has checked against the property's type and range.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        const CHECKED: &str = "type checked by GObject";
        let text = || {
            value
                .get::<Option<String>>()
                .expect(CHECKED)
                .filter(|text| !text.trim().is_empty())
        };
        match name {
            "listen" => self.listen = text(),
            "certificate-file" => self.certificate_file = text(),
            "private-key-file" => self.private_key_file = text(),
            "public-publish" => self.public_publish = text(),
            "public-subscribe" => self.public_subscribe = text(),
            "allowed-origins" => self.allowed_origins = strings(value),
            "web-root" => self.web_root = value.get().expect(CHECKED),
            "congestion-control" => self.congestion_control = value.get().expect(CHECKED),
            "max-sessions" => self.limits.sessions = value.get::<u32>().expect(CHECKED) as usize,
            "max-sessions-per-address" => {
                self.limits.sessions_per_address = value.get::<u32>().expect(CHECKED) as usize;
            }
            "max-broadcasts-per-session" => {
                self.limits.broadcasts_per_session = value.get::<u32>().expect(CHECKED).into();
            }
            "max-tracks-per-session" => {
                self.limits.tracks_per_session = value.get::<u32>().expect(CHECKED).into()
            }
            "setup-timeout" => {
                let limit = Duration::from_nanos(value.get::<u64>().expect(CHECKED));
                self.limits.handshake_timeout = limit;
                self.limits.setup_timeout = limit;
            }
            "cache-size" => self.cache.bytes = value.get::<u64>().expect(CHECKED),
            "cache-duration" => {
                self.cache.age = Duration::from_nanos(value.get::<u64>().expect(CHECKED))
            }
            _ => unreachable!("no such property"),
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_value();
        match name {
            "listen" => self.listen.to_value(),
            "certificate-file" => self.certificate_file.to_value(),
            "private-key-file" => self.private_key_file.to_value(),
            "public-publish" => self.public_publish.to_value(),
            "public-subscribe" => self.public_subscribe.to_value(),
            "allowed-origins" => {
                gst::Array::new(self.allowed_origins.iter().map(String::as_str)).to_value()
            }
            "web-root" => self.web_root.to_value(),
            "congestion-control" => self.congestion_control.to_value(),
            "max-sessions" => count(self.limits.sessions),
            "max-sessions-per-address" => count(self.limits.sessions_per_address),
            "max-broadcasts-per-session" => count(self.limits.broadcasts_per_session as usize),
            "max-tracks-per-session" => count(self.limits.tracks_per_session as usize),
            "setup-timeout" => nanoseconds(self.limits.setup_timeout).to_value(),
            "cache-size" => self.cache.bytes.to_value(),
            "cache-duration" => nanoseconds(self.cache.age).to_value(),
            _ => unreachable!("no such property"),
        }
    }
}

fn settings(message: &str) -> Error {
    Error::new(Cause::Settings, message)
}

fn words(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default()
        .split([' ', ',', '\t', '\n'])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let limits = Limits::default();
    let cache = Cache::default();
    vec![
        text(
            "listen",
            "Listen",
            "Addresses to listen on, separated by spaces or commas: 127.0.0.1:4443, [::1]:4443, localhost:4443 (both), \
             :4443 (every address). QUIC on UDP and HTTP on TCP of the same number; port 0 takes a free one, see \
             bound-url. Addresses that other machines can reach need public-publish or public-subscribe. Empty = no \
             listener. Changeable in NULL and READY",
        ),
        glib::ParamSpecString::builder("bound-url")
            .nick("Bound URL")
            .blurb(
                "The URL that moqsink and moqsrc on this machine take, with the port that was chosen: http:// with a \
                 development certificate, https:// with certificate-file. NULL while it does not listen; notified",
            )
            .read_only()
            .build(),
        text(
            "certificate-file",
            "Certificate file",
            "PEM file with the certificate chain, leaf first. NULL = a development certificate (ECDSA, 13 days, \
             renewed while it runs) for all names and addresses of this machine. Needs private-key-file. Read again when \
             the file changes. Changeable in NULL and READY",
        ),
        text(
            "private-key-file",
            "Private key file",
            "PEM file with the private key of certificate-file. Changeable in NULL and READY",
        ),
        glib::ParamSpecString::builder("certificate-fingerprint")
            .nick("Certificate fingerprint")
            .blurb(
                "SHA-256 of the certificate that new connections get, 64 hexadecimal digits, as browsers' \
                 serverCertificateHashes and pins take it. NULL while it does not listen; notified",
            )
            .read_only()
            .build(),
        text(
            "public-publish",
            "Public publish",
            "Broadcasts that peers on other machines may publish: patterns separated by spaces or commas, such as ** (all), \
             room1/** or */camera. Empty = only peers on this machine, which may publish any. Changeable in NULL and READY",
        ),
        text(
            "public-subscribe",
            "Public subscribe",
            "Broadcasts that peers on other machines may subscribe to: patterns as in public-publish. Empty = only \
             peers on this machine, which may subscribe to any. Changeable in NULL and READY",
        ),
        gst::ParamSpecArray::builder("allowed-origins")
            .nick("Allowed origins")
            .blurb(
                "Origins whose web pages may connect and fetch, such as <\"https://player.example.org\">, as if they were \
                 programs on their browser's machine; pages of other sites are refused. * = every origin. Empty = pages of \
                 this machine as such, and all others with what public-publish and public-subscribe allow. Changeable in NULL and \
                 READY",
            )
            .element_spec(&glib::ParamSpecString::builder("origin").build())
            .mutable_ready()
            .build(),
        text(
            "web-root",
            "Web root",
            "Directory of a web page that HTTP serves at /, beside /certificate.sha256, /announced and /metrics. NULL = the \
             player page that is installed with the plugin (share/gst-plugin-moq/web below its prefix, or what the environment \
             variable GST_MOQ_WEB_ROOT names), if there is one. Empty = none: / says in a few words what this is. Changeable in \
             NULL and READY",
        ),
        glib::ParamSpecEnum::builder_with_default("congestion-control", MoqCongestionControl::default())
            .nick("Congestion control")
            .blurb("QUIC congestion controller for what is sent to each peer. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        count("max-sessions", "Maximum sessions", "Sessions at the same time; more are refused. Changeable in NULL and READY", limits.sessions as u32),
        count(
            "max-sessions-per-address",
            "Maximum sessions per address",
            "Sessions from one IP address at the same time; more are refused. Changeable in NULL and READY",
            limits.sessions_per_address as u32,
        ),
        count(
            "max-broadcasts-per-session",
            "Maximum broadcasts per session",
            "Broadcasts that one session may announce at the same time; a session with more is closed. Changeable in NULL and READY",
            limits.broadcasts_per_session as u32,
        ),
        count(
            "max-tracks-per-session",
            "Maximum tracks per session",
            "Tracks that one session may subscribe to at the same time; a session with more is closed. Changeable in NULL and READY",
            limits.tracks_per_session as u32,
        ),
        glib::ParamSpecUInt64::builder("setup-timeout")
            .nick("Setup timeout")
            .blurb(
                "How long a peer may take for the QUIC and TLS handshake, and as long again for the setup of MoQ, in \
                 nanoseconds. Changeable in NULL and READY",
            )
            .minimum(1_000_000)
            .default_value(nanoseconds(limits.setup_timeout))
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("cache-size")
            .nick("Cache size")
            .blurb(
                "Payload held for late joiners over all broadcasts, in bytes: what the relay returns to. With the newest \
                 group of each track, which is held in any case, it is twice that and at least 64 MiB more; who makes it \
                 hold more is closed. Changeable in NULL and READY",
            )
            .default_value(cache.bytes)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("cache-duration")
            .nick("Cache duration")
            .blurb(
                "Groups older than the newest are dropped when nobody touched them for this long, in nanoseconds. \
                 Changeable in NULL and READY",
            )
            .minimum(100_000_000)
            .default_value(nanoseconds(cache.age))
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Counters since it started to listen (application/x-relay-bridge-stats); the structure is empty while \
                 it does not. Times in nanoseconds, amounts in bytes",
            )
            .read_only()
            .build(),
    ]
});

fn text(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_ready()
        .build()
}

fn count(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: u32,
) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(1)
        .default_value(default)
        .mutable_ready()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config::CongestionControl;

    fn with(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.set(name, &value.to_value());
        }
        settings
    }

    #[test]
    fn nothing_to_listen_on_is_no_error() {
        assert_eq!(with(&[]).config(None), Ok(None));
        assert_eq!(with(&[("listen", " ")]).config(None), Ok(None));
    }

    #[test]
    fn patterns_are_separated_by_spaces_or_commas() {
        let config = with(&[("listen", ":0"), ("public-publish", "a/**, b  c")])
            .config(None)
            .unwrap()
            .unwrap();
        assert_eq!(config.public_publish, ["a/**", "b", "c"]);
    }

    #[test]
    fn an_empty_web_root_is_no_page_and_one_that_is_no_directory_is_an_error() {
        let web_root =
            |path: &str| with(&[("listen", "127.0.0.1:0"), ("web-root", path)]).config(None);
        assert_eq!(web_root("").unwrap().unwrap().web_root, None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let found = web_root(path).unwrap().unwrap().web_root;
        assert_eq!(found.as_deref(), Some(folder.path()));
        let err = web_root(&format!("{path}/absent")).unwrap_err();
        assert!(err.message.starts_with("web-root: "), "{err}");
    }

    #[test]
    fn congestion_control_reaches_the_listener() {
        let mut settings = with(&[("listen", "127.0.0.1:0")]);
        let chosen =
            |settings: &Settings| settings.config(None).unwrap().unwrap().congestion_control;
        assert_eq!(chosen(&settings), CongestionControl::Live);
        settings.set("congestion-control", &MoqCongestionControl::Bbr.to_value());
        assert_eq!(chosen(&settings), CongestionControl::Bbr);
        assert_eq!(
            settings
                .get("congestion-control")
                .get::<MoqCongestionControl>()
                .unwrap(),
            MoqCongestionControl::Bbr
        );
    }

    #[test]
    fn a_certificate_without_its_key_says_which_property_is_missing() {
        let err = with(&[("listen", "127.0.0.1:0"), ("certificate-file", "x.pem")])
            .config(None)
            .unwrap_err();
        assert!(err.message.contains("private-key-file"), "{err}");
        let err = with(&[("private-key-file", "x.pem")])
            .config(None)
            .unwrap_err();
        assert!(err.message.contains("certificate-file"), "{err}");
    }
}

//! The connection properties: specifications, values, and the configuration they make.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use gst::{glib, prelude::*};

use crate::net::{
    config::{CongestionControl, ConnectConfig, Secret, Tls, TransportKind},
    error::{Cause, Error, Result},
    transport,
};

/// Which transport carries MoQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMoqTransport")]
#[repr(i32)]
pub enum MoqTransport {
    #[default]
    #[enum_value(
        name = "As the URL's scheme says; of both, what the relay prefers",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "WebTransport (HTTP/3)", nick = "webtransport")]
    WebTransport,
    #[enum_value(name = "Raw QUIC", nick = "quic")]
    Quic,
}

/// QUIC congestion controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMoqCongestionControl")]
#[repr(i32)]
pub enum MoqCongestionControl {
    #[default]
    #[enum_value(name = "Delay-bounded, for live media", nick = "live")]
    Live,
    #[enum_value(name = "CUBIC (RFC 9438)", nick = "cubic")]
    Cubic,
    #[enum_value(name = "NewReno (RFC 9002)", nick = "new-reno")]
    NewReno,
    #[enum_value(name = "BBR, experimental", nick = "bbr")]
    Bbr,
}

impl From<MoqCongestionControl> for CongestionControl {
    fn from(value: MoqCongestionControl) -> Self {
        match value {
            MoqCongestionControl::Live => Self::Live,
            MoqCongestionControl::Cubic => Self::Cubic,
            MoqCongestionControl::NewReno => Self::NewReno,
            MoqCongestionControl::Bbr => Self::Bbr,
        }
    }
}

/// The values of the connection properties.
#[derive(Clone)]
pub struct ConnectionSettings {
    url: Option<String>,
    broadcast: Option<String>,
    auth_token: Option<Secret>,
    tls_disable_verify: bool,
    certificate_database_file: Option<String>,
    server_certificate_hashes: Vec<String>,
    certificate_file: Option<String>,
    private_key_file: Option<String>,
    protocol_versions: Vec<String>,
    transport: MoqTransport,
    congestion_control: MoqCongestionControl,
    idle_timeout: u64,
    keep_alive_interval: u64,
    connect_timeout: u64,
    retry_timeout: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        let defaults = ConnectConfig::new(Vec::new());
        Self {
            url: None,
            broadcast: None,
            auth_token: None,
            tls_disable_verify: false,
            certificate_database_file: None,
            server_certificate_hashes: Vec::new(),
            certificate_file: None,
            private_key_file: None,
            protocol_versions: Vec::new(),
            transport: MoqTransport::default(),
            congestion_control: MoqCongestionControl::default(),
            idle_timeout: nanoseconds(defaults.idle_timeout),
            keep_alive_interval: nanoseconds(defaults.keep_alive_interval),
            connect_timeout: nanoseconds(defaults.connect_timeout),
            retry_timeout: nanoseconds(defaults.retry_timeout),
        }
    }
}

impl ConnectionSettings {
    /// The specifications, to be put among the element's own.
    pub fn param_specs() -> Vec<glib::ParamSpec> {
        let mut specs = address_specs();
        specs.extend(tls_specs());
        specs.extend(protocol_specs());
        specs.extend(time_specs());
        specs
    }

    /// Sets one of these properties, which [`may_change`]; false when it is none of them.
    pub fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) -> bool {
        let ours = is_ours(pspec.name());
        if ours {
            self.assign(pspec.name(), value);
        }
        ours
    }

    fn assign(&mut self, name: &str, value: &glib::Value) {
        let text = || {
            value
                .get::<Option<String>>()
                .ok()
                .flatten()
                .filter(|text| !text.is_empty())
        };
        let time = |old: u64| value.get().unwrap_or(old);
        match name {
            "url" | "uri" => self.url = text(),
            "broadcast" => self.broadcast = text(),
            "auth-token" => self.auth_token = text().map(Secret),
            "tls-disable-verify" => self.tls_disable_verify = value.get().unwrap_or_default(),
            "certificate-database-file" => self.certificate_database_file = text(),
            "server-certificate-hashes" => self.server_certificate_hashes = strings(value),
            "certificate-file" => self.certificate_file = text(),
            "private-key-file" => self.private_key_file = text(),
            "protocol-versions" => self.protocol_versions = strings(value),
            "transport" => self.transport = value.get().unwrap_or_default(),
            "congestion-control" => self.congestion_control = value.get().unwrap_or_default(),
            "idle-timeout" => self.idle_timeout = time(self.idle_timeout),
            "keep-alive-interval" => self.keep_alive_interval = time(self.keep_alive_interval),
            "connect-timeout" => self.connect_timeout = time(self.connect_timeout),
            "retry-timeout" => self.retry_timeout = time(self.retry_timeout),
            _ => {}
        }
    }

    /// The value of one of these properties.
    pub fn get(&self, pspec: &glib::ParamSpec) -> Option<glib::Value> {
        let array =
            |strings: &[String]| gst::Array::new(strings.iter().map(String::as_str)).to_value();
        Some(match pspec.name() {
            "url" | "uri" => self.url.to_value(),
            "broadcast" => self.broadcast().to_value(),
            "tls-disable-verify" => self.tls_disable_verify.to_value(),
            "certificate-database-file" => self.certificate_database_file.to_value(),
            "server-certificate-hashes" => array(&self.server_certificate_hashes),
            "certificate-file" => self.certificate_file.to_value(),
            "private-key-file" => self.private_key_file.to_value(),
            "protocol-versions" => array(&self.protocol_versions),
            "transport" => self.transport.to_value(),
            "congestion-control" => self.congestion_control.to_value(),
            "idle-timeout" => self.idle_timeout.to_value(),
            "keep-alive-interval" => self.keep_alive_interval.to_value(),
            "connect-timeout" => self.connect_timeout.to_value(),
            "retry-timeout" => self.retry_timeout.to_value(),
            _ => return None,
        })
    }

    /// The URL or URLs as they were set.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Sets `url`, for GstURIHandler. Fails with [`Cause::Settings`] for what cannot be dialled.
    pub fn set_uri(&mut self, uri: &str) -> Result<()> {
        transport::parse_url(uri)?;
        self.url = Some(uri.to_owned());
        Ok(())
    }

    /// The property, or what the URI's query says.
    pub fn broadcast(&self) -> Option<String> {
        self.broadcast.clone().or_else(|| {
            let mut urls = self.url.as_deref()?.split_whitespace();
            urls.find_map(|url| transport::take_broadcast(&mut transport::parse_url(url).ok()?))
        })
    }

    /// The token for [`crate::net::session::Connection::set_token`].
    pub fn auth_token(&self) -> Option<Secret> {
        self.auth_token.clone()
    }

    /// Takes the place of the property's value.
    pub fn set_auth_token(&mut self, token: Secret) {
        self.auth_token = Some(token);
    }

    /// What to connect with. Fails with [`Cause::Settings`] and a sentence that names the property.
    pub fn config(&self) -> Result<ConnectConfig> {
        let mut urls = Vec::new();
        for text in self.url.as_deref().unwrap_or_default().split_whitespace() {
            let mut url = transport::parse_url(text)?;
            transport::take_broadcast(&mut url);
            urls.push(url);
        }
        if urls.is_empty() {
            return Err(Error::new(
                Cause::Settings,
                "no url is set; set it to the relay, for example https://relay.example/path",
            ));
        }
        let pins = self.server_certificate_hashes.iter().map(|hash| {
            transport::parse_pin(hash).map_err(|err| {
                Error::new(
                    Cause::Settings,
                    format!("server-certificate-hashes: '{hash}': {err}"),
                )
            })
        });
        let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
        Ok(ConnectConfig {
            tls: Tls {
                disable_verify: self.tls_disable_verify,
                database: path(&self.certificate_database_file),
                pins: pins.collect::<Result<_>>()?,
                certificate: path(&self.certificate_file),
                private_key: path(&self.private_key_file),
            },
            versions: self.protocol_versions.clone(),
            transport: match self.transport {
                MoqTransport::Auto => TransportKind::Auto,
                MoqTransport::WebTransport => TransportKind::WebTransport,
                MoqTransport::Quic => TransportKind::Quic,
            },
            congestion_control: self.congestion_control.into(),
            idle_timeout: Duration::from_nanos(self.idle_timeout),
            keep_alive_interval: Duration::from_nanos(self.keep_alive_interval),
            connect_timeout: Duration::from_nanos(self.connect_timeout),
            retry_timeout: Duration::from_nanos(self.retry_timeout),
            auth_token: self.auth_token.clone(),
            ..ConnectConfig::new(urls)
        })
    }
}

/// Whether a property may change in the element's state; if not, the log says so. To be asked before the settings are locked,
/// because it calls GStreamer.
pub fn may_change(element: &impl IsA<gst::Element>, pspec: &glib::ParamSpec) -> bool {
    let element = element.as_ref();
    let any_state = pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
    let may = any_state || element.current_state() <= gst::State::Ready;
    if !may {
        gst::warning!(
            gst::CAT_DEFAULT,
            obj = element,
            "{} may change only in NULL or READY; keeping the old value",
            pspec.name()
        );
    }
    may
}

fn is_ours(name: &str) -> bool {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let specs = ConnectionSettings::param_specs();
        specs.iter().map(|spec| spec.name().to_owned()).collect()
    });
    NAMES.iter().any(|ours| ours == name)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The strings of a GstArray; values of other types (a hash of digits alone from gst-launch) in their text form.
pub fn strings(value: &glib::Value) -> Vec<String> {
    let Ok(array) = value.get::<gst::ArrayRef>() else {
        return Vec::new();
    };
    array
        .as_slice()
        .iter()
        .filter_map(|item| {
            item.transform::<String>()
                .ok()?
                .get::<Option<String>>()
                .ok()?
        })
        .collect()
}

fn text(name: &str, nick: &str, blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_ready()
        .build()
}

fn address_specs() -> Vec<glib::ParamSpec> {
    vec![
        text(
            "url",
            "URL",
            "Where to connect: https://host/path (WebTransport or raw QUIC, as the relay prefers), moqt:// (raw QUIC, \
             moq-transport), moql:// (raw QUIC, moq-lite), http:// (local development: like https://, and fetches and pins \
             /certificate.sha256). Several URLs separated by spaces are tried in order. Changeable in NULL and READY",
        ),
        text(
            "uri",
            "URI",
            "The same setting as url, also in the form moq+https://host/path?broadcast=name. Changeable in NULL and READY",
        ),
        text(
            "broadcast",
            "Broadcast",
            "Name of the broadcast; unset = from the query of the URI. Changeable in NULL and READY",
        ),
        glib::ParamSpecString::builder("auth-token")
            .nick("Authentication token")
            .blurb(
                "Token for the relay, used at the next dial (sent as ?jwt=); cannot be read back. Replaced by what the signal \
                 request-token returns. Changeable in any state",
            )
            .write_only()
            .mutable_playing()
            .build(),
    ]
}

fn tls_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("tls-disable-verify")
            .nick("Disable TLS verification")
            .blurb("Accept any certificate: anybody on the path can read and change the media. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        text(
            "certificate-database-file",
            "Certificate database",
            "PEM file of authorities trusted in addition to the system's. Changeable in NULL and READY",
        ),
        gst::ParamSpecArray::builder("server-certificate-hashes")
            .nick("Server certificate hashes")
            .blurb(
                "SHA-256 digests of the server's certificate (DER) in hex, with or without colons; when set, no other \
                 certificate is accepted. Changeable in NULL and READY",
            )
            .element_spec(&glib::ParamSpecString::builder("hash").build())
            .mutable_ready()
            .build(),
        text(
            "certificate-file",
            "Certificate file",
            "PEM file of the client certificate, with private-key-file. Changeable in NULL and READY",
        ),
        text(
            "private-key-file",
            "Private key file",
            "PEM file of the key of certificate-file. Changeable in NULL and READY",
        ),
    ]
}

fn protocol_specs() -> Vec<glib::ParamSpec> {
    vec![
        gst::ParamSpecArray::builder("protocol-versions")
            .nick("Protocol versions")
            .blurb(
                "Versions to offer in order of preference, moq-lite-03 to -06 and moq-transport-14 to -22, for example \
                 <moq-lite-05,moq-transport-16>; empty = all. Changeable in NULL and READY",
            )
            .element_spec(&glib::ParamSpecString::builder("version").build())
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("transport", MoqTransport::default())
            .nick("Transport")
            .blurb("Transport to use; what is in use stands in stats. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("congestion-control", MoqCongestionControl::default())
            .nick("Congestion control")
            .blurb("QUIC congestion controller for what is sent. Changeable in NULL and READY")
            .mutable_ready()
            .build(),
    ]
}

fn time_specs() -> Vec<glib::ParamSpec> {
    let defaults = ConnectionSettings::default();
    let time = |name: &str, nick: &str, default: u64, blurb: &str| {
        glib::ParamSpecUInt64::builder(name)
            .nick(nick)
            .blurb(blurb)
            .default_value(default)
            .mutable_ready()
            .build()
    };
    vec![
        time(
            "idle-timeout",
            "Idle timeout",
            defaults.idle_timeout,
            "A connection silent for this long is lost (ns, 0 = never). Changeable in NULL and READY",
        ),
        time(
            "keep-alive-interval",
            "Keep-alive interval",
            defaults.keep_alive_interval,
            "Interval of keep-alive packets on an idle connection (ns, 0 = none). Changeable in NULL and READY",
        ),
        time(
            "connect-timeout",
            "Connect timeout",
            defaults.connect_timeout,
            "Limit for one URL, from name resolution to MoQ set-up; the first connection fails when every URL failed and \
             this time is over (ns). Changeable in NULL and READY",
        ),
        time(
            "retry-timeout",
            "Retry timeout",
            defaults.retry_timeout,
            "Give up when a lost connection could not be restored for this long (ns, 0 = retry for ever). Changeable in \
             NULL and READY",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> glib::ParamSpec {
        let specs = ConnectionSettings::param_specs();
        specs.into_iter().find(|spec| spec.name() == name).unwrap()
    }

    fn set(settings: &mut ConnectionSettings, name: &str, value: impl ToValue) {
        assert!(settings.set(&value.to_value(), &spec(name)));
    }

    #[test]
    fn every_property_reads_back_what_was_set_but_the_token() {
        gst::init().unwrap();
        let mut settings = ConnectionSettings::default();
        for spec in ConnectionSettings::param_specs() {
            let value = match spec.value_type() {
                t if t == String::static_type() => "text".to_value(),
                t if t == gst::Array::static_type() => gst::Array::new(["a", "b"]).to_value(),
                t if t == u64::static_type() => 7u64.to_value(),
                t if t == bool::static_type() => true.to_value(),
                _ => spec.default_value().clone(),
            };
            assert!(settings.set(&value, &spec), "{}", spec.name());
            match settings.get(&spec) {
                Some(got) => {
                    assert_eq!(format!("{got:?}"), format!("{value:?}"), "{}", spec.name())
                }
                None => assert_eq!(spec.name(), "auth-token"),
            }
            let blurb = spec.blurb().unwrap();
            assert!(blurb.contains("Changeable in"), "{}", spec.name());
        }
        let other = glib::ParamSpecInt::builder("other").build();
        assert!(!settings.set(&1.to_value(), &other));
        assert!(settings.get(&other).is_none());
    }

    #[test]
    fn only_the_token_changes_while_playing() {
        gst::init().unwrap();
        let element = gst::Bin::new();
        for spec in ConnectionSettings::param_specs() {
            assert!(may_change(&element, &spec), "{}", spec.name());
        }
        element.set_state(gst::State::Paused).unwrap();
        for spec in ConnectionSettings::param_specs() {
            let is_token = spec.name() == "auth-token";
            assert_eq!(may_change(&element, &spec), is_token, "{}", spec.name());
        }
        element.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn the_configuration_follows_the_properties() {
        gst::init().unwrap();
        let mut settings = ConnectionSettings::default();
        set(
            &mut settings,
            "url",
            "moq+https://a/p?broadcast=cam&jwt=x  moqt://b",
        );
        set(
            &mut settings,
            "server-certificate-hashes",
            gst::Array::new(["ab:".repeat(31) + "ab"]),
        );
        set(
            &mut settings,
            "protocol-versions",
            gst::Array::new(["moq-lite-05"]),
        );
        set(&mut settings, "connect-timeout", 1_500_000_000u64);
        set(&mut settings, "transport", MoqTransport::Quic);
        let config = settings.config().unwrap();
        assert_eq!(config.urls.len(), 2);
        assert_eq!(config.urls[0].query(), Some("jwt=x"));
        assert_eq!(settings.broadcast().as_deref(), Some("cam"));
        assert_eq!(config.tls.pins, [[0xab; 32]]);
        assert_eq!(config.versions, ["moq-lite-05"]);
        assert_eq!(config.connect_timeout, Duration::from_millis(1500));
        assert_eq!(config.transport, TransportKind::Quic);
        assert_eq!(
            config.idle_timeout,
            ConnectConfig::new(Vec::new()).idle_timeout
        );
        set(&mut settings, "broadcast", "other");
        assert_eq!(settings.broadcast().as_deref(), Some("other"));
    }

    /// Row 16: a bad setting says what is wrong.
    #[test]
    fn what_is_wrong_is_named() {
        gst::init().unwrap();
        let mut settings = ConnectionSettings::default();
        let error = settings.config().unwrap_err();
        assert!(
            error.cause == Cause::Settings && error.message.contains("url"),
            "{error}"
        );
        set(&mut settings, "url", "gopher://h?jwt=secret");
        let error = settings.config().unwrap_err();
        assert!(
            error.message.contains("gopher") && !error.message.contains("secret"),
            "{error}"
        );
        set(&mut settings, "url", "https://h");
        set(
            &mut settings,
            "server-certificate-hashes",
            gst::Array::new(["xyz"]),
        );
        let error = settings.config().unwrap_err();
        assert!(
            error.message.contains("server-certificate-hashes"),
            "{error}"
        );
    }
}

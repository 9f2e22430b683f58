//! How the server's certificate is judged and which one we show.
//!
//! TLS 1.3 with the aws-lc-rs provider, passed explicitly: the process default belongs to the application.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::net::{
    config::Tls,
    error::{Cause, Error, Result},
};

/// The provider of every TLS configuration here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// SHA-256 of a certificate (DER), what pins are compared with.
pub fn digest(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let hash = web_transport_quinn::crypto::sha256(&provider(), certificate);
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.as_ref());
    digest
}

/// Parses a digest in hex; colons and surrounding white space are tolerated.
///
/// Fails with [`Cause::Settings`] unless there are exactly 32 bytes.
pub fn parse_pin(text: &str) -> Result<[u8; 32]> {
    let hex: String = text.trim().chars().filter(|c| *c != ':').collect();
    let mut pin = [0; 32];
    hex::decode_to_slice(&hex, &mut pin).map_err(|_| {
        Error::new(
            Cause::Settings,
            "a certificate digest is 64 hex digits: the SHA-256 of the certificate in DER",
        )
    })?;
    Ok(pin)
}

/// How many client configurations are kept.
const KEPT: usize = 8;
/// How long one is used: roots of the system come and go.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The newest first.
static CLIENTS: Mutex<VecDeque<Client>> = Mutex::new(VecDeque::new());

/// A configuration, with the tickets of the sessions that were made with it, and all that it is made from: a session that is resumed
/// skips the verification of the certificate (RFC 8446 section 2.2), so that tickets must not outlive any of that.
struct Client {
    source: Source,
    made: Instant,
    config: Arc<ClientConfig>,
}

#[derive(PartialEq, Eq)]
struct Source {
    tls: Tls,
    development: Option<[u8; 32]>,
    alpns: Vec<String>,
    /// Time and size of each file.
    files: Vec<Option<(SystemTime, u64)>>,
}

impl Source {
    fn new(tls: &Tls, development: Option<[u8; 32]>, alpns: &[&str]) -> Self {
        let state = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        let files = [&tls.database, &tls.certificate, &tls.private_key];
        Self {
            tls: tls.clone(),
            development,
            alpns: alpns.iter().map(|alpn| (*alpn).to_owned()).collect(),
            files: files.into_iter().flatten().map(state).collect(),
        }
    }
}

/// The client's TLS configuration, the same for the same properties, so that a session with a server that is dialled again is
/// resumed. Reads files and the system's roots: not for a worker thread.
///
/// `development` is the digest that the relay served over HTTP, accepted like a pin.
/// Fails with [`Cause::Settings`], naming the file that is missing or unusable.
pub fn client(
    tls: &Tls,
    development: Option<[u8; 32]>,
    alpns: &[&str],
) -> Result<Arc<ClientConfig>> {
    if tls.disable_verify {
        tracing::warn!(
            "certificates are not verified: anybody on the path can read and change the media"
        );
    }
    let source = Source::new(tls, development, alpns);
    {
        let mut clients = CLIENTS.lock();
        clients.retain(|client| client.made.elapsed() < MAX_AGE);
        let found = clients.iter().position(|client| client.source == source);
        if let Some(client) = found.and_then(|at| clients.remove(at)) {
            let config = client.config.clone();
            clients.push_front(client);
            return Ok(config);
        }
    }
    // Without the lock: files may be slow.
    let config = Arc::new(build(tls, development, alpns)?);
    let mut clients = CLIENTS.lock();
    clients.push_front(Client {
        source,
        made: Instant::now(),
        config: config.clone(),
    });
    clients.truncate(KEPT);
    Ok(config)
}

fn build(tls: &Tls, development: Option<[u8; 32]>, alpns: &[&str]) -> Result<ClientConfig> {
    let provider = provider();
    let verifier = verifier(tls, development, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|err| Error::new(Cause::Tls, format!("TLS 1.3 is not available: {err}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&tls.certificate, &tls.private_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|err| {
                settings(format!(
                    "certificate-file {} and private-key-file {} do not work together: {err}",
                    certificate.display(),
                    key.display()
                ))
            })?,
        (Some(_), None) => {
            return Err(settings(
                "certificate-file is set but private-key-file is not".into(),
            ));
        }
        (None, Some(_)) => {
            return Err(settings(
                "private-key-file is set but certificate-file is not".into(),
            ));
        }
    };
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    Ok(config)
}

fn verifier(
    tls: &Tls,
    development: Option<[u8; 32]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    if tls.disable_verify {
        return Ok(Arc::new(Pinned {
            pins: None,
            provider: provider.clone(),
        }));
    }
    let pins: Vec<[u8; 32]> = tls.pins.iter().copied().chain(development).collect();
    if !pins.is_empty() {
        return Ok(Arc::new(Pinned {
            pins: Some(pins),
            provider: provider.clone(),
        }));
    }
    let extra = match &tls.database {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider.clone()).map_err(
            |err| match &tls.database {
                Some(path) => settings(format!(
                    "certificate-database-file {} holds a certificate that cannot be a root: {err}",
                    path.display()
                )),
                None => Error::new(
                    Cause::Tls,
                    format!("the system's root certificates cannot be used: {err}"),
                ),
            },
        )?;
    Ok(Arc::new(verifier))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|err| {
            settings(format!(
                "cannot read certificates from {}: {err}",
                path.display()
            ))
        })?;
    if certificates.is_empty() {
        return Err(settings(format!(
            "{} holds no PEM certificate",
            path.display()
        )));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|err| {
        settings(format!(
            "cannot read a private key from {}: {err}",
            path.display()
        ))
    })
}

fn settings(message: String) -> Error {
    Error::new(Cause::Settings, message)
}

/// Accepts by digest instead of by issuer; the handshake signature is always checked.
#[derive(Debug)]
struct Pinned {
    /// `None` accepts any certificate.
    pins: Option<Vec<[u8; 32]>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.pins {
            Some(pins) if !pins.contains(&digest(end_entity)) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_hex_with_or_without_colons() {
        let plain = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let colons: Vec<&str> = (0..32).map(|i| &plain[i * 2..i * 2 + 2]).collect();
        let pin = parse_pin(plain).unwrap();
        assert_eq!(pin[1], 0x11);
        assert_eq!(parse_pin(&format!(" {}\n", colons.join(":"))).unwrap(), pin);
        for bad in [
            "",
            "00",
            &plain[2..],
            &format!("{plain}00"),
            &plain.replace('f', "g"),
        ] {
            assert_eq!(parse_pin(bad).unwrap_err().cause, Cause::Settings, "{bad}");
        }
    }

    fn identity(dir: &Path, name: &str) -> Tls {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let tls = Tls {
            disable_verify: true,
            certificate: Some(dir.join("certificate.pem")),
            private_key: Some(dir.join("key.pem")),
            ..Tls::default()
        };
        std::fs::write(dir.join("certificate.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        tls
    }

    #[test]
    fn a_configuration_is_kept_until_something_it_is_made_from_changes() {
        let dir = tempfile::tempdir().unwrap();
        let tls = identity(dir.path(), "a");
        let first = client(&tls, None, &["h3"]).unwrap();
        let same = |other: Arc<ClientConfig>| Arc::ptr_eq(&first, &other);
        assert!(same(client(&tls, None, &["h3"]).unwrap()));
        assert!(!same(client(&tls, None, &["moq-lite-06"]).unwrap()));
        assert!(!same(client(&tls, Some([7; 32]), &["h3"]).unwrap()));
        // A renewed certificate is as good as another.
        identity(dir.path(), "another-name");
        assert!(!same(client(&tls, None, &["h3"]).unwrap()));
    }

    #[test]
    fn no_more_configurations_are_kept_than_are_of_use() {
        let tls = |pin: u8| Tls {
            pins: vec![[pin; 32]],
            ..Tls::default()
        };
        for pin in 0..20 {
            client(&tls(pin), None, &["h3"]).unwrap();
            assert!(CLIENTS.lock().len() <= KEPT);
        }
    }

    #[test]
    fn a_missing_or_unusable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.pem");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        for (tls, name) in [
            (
                Tls {
                    database: Some(missing.clone()),
                    ..Tls::default()
                },
                "missing.pem",
            ),
            (
                Tls {
                    database: Some(empty.clone()),
                    ..Tls::default()
                },
                "empty.pem",
            ),
            (
                Tls {
                    certificate: Some(missing.clone()),
                    private_key: Some(missing),
                    disable_verify: true,
                    ..Tls::default()
                },
                "missing.pem",
            ),
            (
                Tls {
                    certificate: Some(empty),
                    disable_verify: true,
                    ..Tls::default()
                },
                "private-key-file",
            ),
        ] {
            let error = client(&tls, None, &["h3"]).unwrap_err();
            assert_eq!(error.cause, Cause::Settings);
            assert!(error.message.contains(name), "{error}");
        }
    }
}

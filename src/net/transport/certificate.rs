//! The certificate that a listener presents: read from files, or made for development and renewed while it runs.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::tls;
use crate::net::error::{Cause, Error, Result};

/// How long a development certificate is valid. Browsers accept a certificate pinned by its hash
/// (`serverCertificateHashes`) only below 14 days (W3C WebTransport, "custom certificate requirements").
pub const DEVELOPMENT_LIFETIME: Duration = Duration::from_secs(13 * 24 * 3600);

/// A development certificate is replaced when less than this is left of it, so that a hash fetched just before
/// still serves for days.
pub const RENEW_BEFORE: Duration = Duration::from_secs(6 * 24 * 3600);

/// A development certificate is valid from this long before it was made, for clients whose clock is late.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate chain with its key, ready to sign.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    fingerprint: [u8; 32],
    expires: Option<SystemTime>,
}

impl Certificate {
    /// Makes a self-signed ECDSA P-256 certificate for `names` (DNS names and IP addresses), valid for
    /// [`DEVELOPMENT_LIFETIME`] around `now`. Names that cannot stand in a certificate are left out.
    pub fn development(names: impl IntoIterator<Item = String>, now: SystemTime) -> Result<Self> {
        let failed = |err: &dyn fmt::Display| {
            Error::new(
                Cause::Tls,
                format!("cannot make a development certificate: {err}"),
            )
        };

        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(
            rcgen::DnType::CommonName,
            "relay-bridge development certificate",
        );
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.into_iter().filter_map(subject_alt_name).collect();
        let expires = now - BACKDATED + DEVELOPMENT_LIFETIME;
        params.not_before = (now - BACKDATED).into();
        params.not_after = expires.into();

        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|err| failed(&err))?;
        let der = params
            .self_signed(&pair)
            .map_err(|err| failed(&err))?
            .der()
            .clone();
        let key = PrivateKeyDer::try_from(pair.serialize_der()).map_err(|err| failed(&err))?;
        Self::new(vec![der], key, Some(expires)).map_err(|err| failed(&err))
    }

    /// Reads a PEM chain (leaf first) and its PEM key.
    pub fn from_files(certificate: &Path, private_key: &Path) -> Result<Self> {
        let unusable = |path: &Path, err: &dyn fmt::Display| {
            Error::new(Cause::Tls, format!("cannot use {}: {err}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|err| unusable(certificate, &err))?;
        if chain.is_empty() {
            return Err(unusable(
                certificate,
                &"it holds no certificate in PEM form",
            ));
        }
        let key =
            PrivateKeyDer::from_pem_file(private_key).map_err(|err| unusable(private_key, &err))?;
        Self::new(chain, key, None).map_err(|err| match err {
            rustls::Error::InconsistentKeys(_) => unusable(
                certificate,
                &format_args!(
                    "its first certificate is not for the key in {}",
                    private_key.display()
                ),
            ),
            err => unusable(certificate, &err),
        })
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        expires: Option<SystemTime>,
    ) -> Result<Self, rustls::Error> {
        let provider = tls::provider();
        let fingerprint = chain.first().map(tls::digest).unwrap_or_default();
        let key = CertifiedKey::from_der(chain, key, &provider)?;
        Ok(Self {
            key: Arc::new(key),
            fingerprint,
            expires,
        })
    }

    /// SHA-256 of the leaf in DER form, as `serverCertificateHashes` and pins name it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The leaf in DER form.
    pub fn leaf(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |leaf| leaf.as_ref())
    }

    /// When a development certificate ends; `None` for one from a file, which we do not renew.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    fn due(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| {
            expires
                .duration_since(now)
                .is_ok_and(|left| left < RENEW_BEFORE)
                || expires <= now
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &hex::encode(self.fingerprint))
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn subject_alt_name(name: String) -> Option<rcgen::SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(rcgen::SanType::IpAddress(address)),
        Err(_) => name.try_into().ok().map(rcgen::SanType::DnsName),
    }
}

/// The names a development certificate stands for: `localhost`, this host, and every local address.
pub fn local_names() -> Vec<String> {
    let mut names = BTreeSet::from([
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ]);
    if let Some(host) = gethostname::gethostname()
        .to_str()
        .filter(|host| !host.is_empty())
    {
        names.insert(host.to_owned());
        // mDNS names, by which machines of one home or office reach each other.
        if !host.contains('.') {
            names.insert(format!("{host}.local"));
        }
    }
    names.extend(
        if_addrs::get_if_addrs()
            .unwrap_or_default()
            .iter()
            .map(|interface| interface.ip().to_string()),
    );
    names.into_iter().collect()
}

/// The certificate of a listener; connections made after a change get the new one.
#[derive(Debug)]
pub struct Resolver {
    /// A leaf, as is what `files` holds.
    current: RwLock<Certificate>,
    files: Option<Files>,
}

/// Where a certificate comes from.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    private_key: PathBuf,
    seen: Mutex<Seen>,
}

/// What files looked like: when they were last read, and when they were last looked at.
#[derive(Debug)]
struct Seen {
    read: Stamps,
    last: Stamps,
}

/// Time of the last change and length of the certificate's and the key's file; `None` for one that is not there.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Files {
    fn stamps(certificate: &Path, private_key: &Path) -> Stamps {
        [certificate, private_key].map(|path| {
            let metadata = path.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// Whether the files changed since they were read and are at rest: the same at two looks. Who replaces them
    /// writes one after the other.
    fn changed(&self) -> bool {
        let now = Self::stamps(&self.certificate, &self.private_key);
        let mut seen = self.seen.lock();
        let at_rest = std::mem::replace(&mut seen.last, now) == now;
        if !at_rest || seen.read == now {
            return false;
        }
        seen.read = now;
        true
    }
}

impl Resolver {
    /// With a development certificate for this machine.
    pub fn development(now: SystemTime) -> Result<Self> {
        Ok(Self {
            current: RwLock::new(Certificate::development(local_names(), now)?),
            files: None,
        })
    }

    /// With the certificate in these PEM files.
    ///
    /// # Errors
    /// As [`Certificate::from_files`].
    pub fn from_files(certificate: &Path, private_key: &Path) -> Result<Self> {
        // A change while they are read is noticed later.
        let stamps = Files::stamps(certificate, private_key);
        Ok(Self {
            current: RwLock::new(Certificate::from_files(certificate, private_key)?),
            files: Some(Files {
                certificate: certificate.to_owned(),
                private_key: private_key.to_owned(),
                seen: Mutex::new(Seen {
                    read: stamps,
                    last: stamps,
                }),
            }),
        })
    }

    pub fn current(&self) -> Certificate {
        self.current.read().clone()
    }

    /// Takes the certificate anew from files that changed, or replaces a development certificate that ends soon, and says
    /// whether there is another one now. To be called again and again; reads files.
    ///
    /// # Errors
    /// Files that changed and cannot be used, once for each change; the certificate stays.
    pub fn refresh(&self, now: SystemTime) -> Result<bool> {
        let certificate = match &self.files {
            Some(files) if files.changed() => {
                Certificate::from_files(&files.certificate, &files.private_key)?
            }
            None if self.current.read().due(now) => Certificate::development(local_names(), now)?,
            _ => return Ok(false),
        };
        let fingerprint = certificate.fingerprint();
        let old = std::mem::replace(&mut *self.current.write(), certificate);
        Ok(old.fingerprint() != fingerprint)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().key.clone())
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::{extensions::GeneralName, prelude::*};

    use super::*;

    fn parse(certificate: &Certificate) -> X509Certificate<'_> {
        X509Certificate::from_der(certificate.leaf()).unwrap().1
    }

    #[test]
    fn a_development_certificate_is_valid_for_thirteen_days_around_now() {
        let now = SystemTime::now();
        let certificate = Certificate::development(local_names(), now).unwrap();
        let parsed = parse(&certificate);
        let validity = parsed.validity();
        let lifetime = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert_eq!(lifetime, DEVELOPMENT_LIFETIME.as_secs() as i64);
        assert!(validity.is_valid());
    }

    #[test]
    fn a_development_certificate_names_this_machine() {
        let certificate = Certificate::development(local_names(), SystemTime::now()).unwrap();
        let parsed = parse(&certificate);
        let names = &parsed
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names;
        assert!(names.contains(&GeneralName::DNSName("localhost")));
        assert!(names.contains(&GeneralName::IPAddress(&[127, 0, 0, 1])));
        assert!(names.contains(&GeneralName::IPAddress(
            &std::net::Ipv6Addr::LOCALHOST.octets()
        )));
        for interface in if_addrs::get_if_addrs().unwrap_or_default() {
            let octets = match interface.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            assert!(
                names.contains(&GeneralName::IPAddress(&octets)),
                "{interface:?} is missing"
            );
        }
    }

    #[test]
    fn a_development_certificate_is_renewed_before_it_ends_and_not_sooner() {
        let made = SystemTime::now();
        let resolver = Resolver::development(made).unwrap();
        let first = resolver.current().fingerprint();

        assert!(
            !resolver
                .refresh(made + Duration::from_secs(24 * 3600))
                .unwrap()
        );
        assert_eq!(resolver.current().fingerprint(), first);

        let late = made + DEVELOPMENT_LIFETIME - RENEW_BEFORE;
        assert!(resolver.refresh(late).unwrap());
        assert_ne!(resolver.current().fingerprint(), first);
        assert!(resolver.current().expires().unwrap() > late + RENEW_BEFORE);
    }

    /// A new certificate and its key in PEM form.
    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    /// A folder with a chain and a key, and a resolver of them.
    fn from_files() -> (tempfile::TempDir, PathBuf, PathBuf, Resolver) {
        let folder = tempfile::tempdir().unwrap();
        let chain = folder.path().join("chain.pem");
        let key = folder.path().join("key.pem");
        write(&chain, &key, &pair());
        let resolver = Resolver::from_files(&chain, &key).unwrap();
        (folder, chain, key, resolver)
    }

    fn write(chain: &Path, key: &Path, pair: &(String, String)) {
        std::fs::write(chain, &pair.0).unwrap();
        std::fs::write(key, &pair.1).unwrap();
        // Written within one tick of the file system's clock they would look the same.
        let later = SystemTime::now() + Duration::from_secs(fastrand::u64(1..1 << 20));
        std::fs::File::options()
            .append(true)
            .open(chain)
            .unwrap()
            .set_modified(later)
            .unwrap();
    }

    #[test]
    fn a_certificate_from_files_is_kept_for_as_long_as_they_do_not_change() {
        let (_folder, chain, key, resolver) = from_files();
        let file = Certificate::from_files(&chain, &key).unwrap();
        assert_eq!(resolver.current().leaf(), file.leaf());
        let far = SystemTime::now() + Duration::from_secs(400 * 24 * 3600);
        assert!(!resolver.refresh(far).unwrap());
    }

    #[test]
    fn files_that_changed_are_read_again_when_they_are_at_rest() {
        let (_folder, chain, key, resolver) = from_files();
        let first = resolver.current().fingerprint();
        let now = SystemTime::now();
        write(&chain, &key, &pair());
        assert!(!resolver.refresh(now).unwrap(), "perhaps half written");
        assert!(resolver.refresh(now).unwrap());
        assert_ne!(resolver.current().fingerprint(), first);
        assert!(!resolver.refresh(now).unwrap(), "once");
    }

    #[test]
    fn files_that_do_not_belong_together_keep_the_old_certificate_and_are_told_of_once() {
        let (_folder, chain, key, resolver) = from_files();
        let first = resolver.current().fingerprint();
        let now = SystemTime::now();
        let (other, its_key) = pair();
        write(&chain, &key, &(other.clone(), pair().1));
        assert!(!resolver.refresh(now).unwrap());
        let err = resolver.refresh(now).unwrap_err();
        assert!(
            err.message.contains("chain.pem") && err.message.contains("key.pem"),
            "{err}"
        );
        assert!(!resolver.refresh(now).unwrap());
        assert_eq!(resolver.current().fingerprint(), first);

        write(&chain, &key, &(other, its_key));
        resolver.refresh(now).unwrap();
        assert!(resolver.refresh(now).unwrap(), "and it recovers");
    }

    #[test]
    fn a_file_that_is_gone_keeps_the_old_certificate() {
        let (_folder, chain, _key, resolver) = from_files();
        std::fs::remove_file(&chain).unwrap();
        let now = SystemTime::now();
        resolver.refresh(now).unwrap();
        let err = resolver.refresh(now).unwrap_err();
        assert!(err.message.contains("chain.pem"), "{err}");
    }

    #[test]
    fn a_certificate_file_that_cannot_be_used_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let chain = folder.path().join("chain.pem");
        std::fs::write(&chain, "no certificate here").unwrap();
        let err = Certificate::from_files(&chain, &chain).unwrap_err();
        assert_eq!(err.cause, Cause::Tls);
        assert!(err.message.contains("chain.pem"), "{err}");

        let err = Certificate::from_files(&folder.path().join("absent.pem"), &chain).unwrap_err();
        assert!(err.message.contains("absent.pem"), "{err}");
    }
}

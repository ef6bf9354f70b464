//! TLS: the server's certificate and key, and the authority of its clients' certificates; read again
//! while the server runs.
//!
//! Resumed handshakes save phones a flight of certificates. Not where clients have certificates: a
//! ticket would outlive what it was given for. There is no early data: it can be replayed by anybody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dyno_core::{Error, ErrorKind, Result};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::reload::{Live, Reading, Reload};

/// Where certificates and keys are.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// The server's chain, leaf first.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Who signs the certificates of clients; none: clients need none.
    pub(crate) client_ca: Option<PathBuf>,
}

/// Certificates and key, ready for handshakes.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<Live<ServerConfig>>);

impl Tls {
    /// Fails with [`ErrorKind::InvalidArgument`], naming the file, if there is no certificate or
    /// key in it, or the two do not belong together. One that is not valid now is warned of. Blocking.
    pub(crate) fn open(files: TlsFiles) -> Result<Self> {
        let paths = [&files.cert, &files.key];
        let paths = paths.into_iter().chain(&files.client_ca).cloned();
        let live = Live::open("tls", paths.collect(), move |reading| load(&files, reading))?;
        Ok(Self(Arc::new(live)))
    }

    /// For one handshake, with what was read last; `http1` is for clients that may speak HTTP/1.1.
    pub(crate) fn acceptor(&self, http1: bool) -> TlsAcceptor {
        let current = self.0.current();
        if !http1 {
            return TlsAcceptor::from(current);
        }
        let mut config = ServerConfig::clone(&current);
        config.alpn_protocols.push(b"http/1.1".to_vec());
        TlsAcceptor::from(Arc::new(config))
    }

    pub(crate) fn reload(&self) -> Arc<dyn Reload> {
        Arc::clone(&self.0) as _
    }
}

fn load(files: &TlsFiles, reading: Reading) -> Result<ServerConfig> {
    let chain = certificates(&files.cert)?;
    let private = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| bad(&files.key, "no private key (PEM) can be read", &error))?;
    match (reading, why_not_now(&chain)) {
        (_, None) => {}
        (Reading::First, Some(why)) => {
            let file = files.cert.display();
            tracing::warn!("{file}: {why}: clients will refuse it");
        }
        (Reading::Again, Some(why)) => return Err(bad(&files.cert, "not valid now", &why)),
    }

    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::with_source(ErrorKind::Internal, "no TLS version", error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(client_verifier(ca, provider)?),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        let what = "certificate and key cannot be used together";
        bad(&files.key, what, &error)
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.max_early_data_size = 0;
    if files.client_ca.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = ring::Ticketer::new()
            .map_err(|error| Error::with_source(ErrorKind::Internal, "no session keys", error))?;
    }
    Ok(config)
}

fn client_verifier(
    ca: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let what = "cannot be an authority of clients' certificates";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| bad(ca, what, &error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| bad(ca, what, &error))
}

/// All certificates of a file: at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = "no certificate (PEM) can be read";
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(path, what, &error))?;
    if chain.is_empty() {
        return Err(bad(path, what, &"none found"));
    }
    Ok(chain)
}

/// Why a chain is of no use at this moment, if it is not.
fn why_not_now(chain: &[CertificateDer<'_>]) -> Option<&'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    chain.iter().find_map(|certificate| {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
            return Some("a certificate cannot be parsed");
        };
        let validity = certificate.validity();
        if validity.not_after.timestamp() < now {
            Some("a certificate has expired")
        } else if validity.not_before.timestamp() > now {
            Some("a certificate is not valid yet")
        } else {
            None
        }
    })
}

fn bad(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    let message = format!("{}: {what}: {error}", path.display());
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn files(&self) -> TlsFiles {
            TlsFiles {
                cert: self.0.path().join("cert.pem"),
                key: self.0.path().join("key.pem"),
                client_ca: None,
            }
        }

        /// Writes a certificate that is valid in these years, and its key.
        fn certify(&self, years: std::ops::Range<i32>) -> String {
            let mut params = rcgen::CertificateParams::new([String::from("localhost")]).unwrap();
            params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap().pem();
            std::fs::write(self.files().cert, &cert).unwrap();
            std::fs::write(self.files().key, key.serialize_pem()).unwrap();
            cert
        }
    }

    /// How often what was read again was taken, and how often not.
    fn counts(tls: &Tls) -> (u64, u64) {
        let counts = &tls.0.counts;
        (
            counts.taken.load(Ordering::Relaxed),
            counts.failed.load(Ordering::Relaxed),
        )
    }

    #[test]
    fn a_replacement_of_no_use_is_not_taken_and_counted() {
        let folder = Folder::new();
        folder.certify(2020..2100);
        let tls = Tls::open(folder.files()).unwrap();
        let first = tls.0.current();
        let is_first = || Arc::ptr_eq(&first, &tls.0.current());

        folder.certify(2020..2021);
        tls.reload().reload();
        assert!(is_first(), "expired");
        folder.certify(2090..2100);
        tls.reload().reload();
        assert!(is_first(), "not valid yet");
        let cert = folder.certify(2020..2100);
        folder.certify(2020..2100);
        std::fs::write(folder.files().cert, &cert).unwrap();
        tls.reload().reload();
        assert!(is_first(), "the key of another");
        std::fs::write(folder.files().cert, "rubbish").unwrap();
        tls.reload().reload();
        std::fs::remove_file(folder.files().cert).unwrap();
        tls.reload().reload();
        assert!(is_first());
        assert_eq!(counts(&tls), (0, 5));

        folder.certify(2020..2100);
        tls.reload().reload();
        assert!(!is_first());
        assert_eq!(counts(&tls), (1, 5));
    }

    #[test]
    fn a_server_starts_with_an_expired_certificate() {
        let folder = Folder::new();
        folder.certify(2020..2021);
        assert!(Tls::open(folder.files()).is_ok());
    }

    #[test]
    fn tickets_are_for_clients_without_certificates() {
        let folder = Folder::new();
        folder.certify(2020..2100);
        let mut files = folder.files();
        let without = Tls::open(files.clone()).unwrap().0.current();
        assert!(without.ticketer.enabled());
        assert_eq!(without.max_early_data_size, 0);
        files.client_ca = Some(files.cert.clone());
        let with = Tls::open(files).unwrap().0.current();
        assert!(!with.ticketer.enabled());
        assert_eq!(with.send_tls13_tickets, 0);
    }
}

//! The one warm connection, and how it is replaced when it is no longer to be trusted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::HttpOptions;
use crate::{Error, ErrorKind, Result};

/// While a request is open, a ping goes out this often (an idle connection is left in peace: its
/// pings would wake the radio) ...
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and the connection is given up if one stays unanswered for this long.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What was sent and stays unacknowledged for this long ends the connection: a network that drops
/// everything is noticed even where no ping is due.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(8);
/// A connection unused for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Hands out the HTTP client whose pool holds the connection.
///
/// An HTTP client keeps a dead HTTP/2 connection in its pool and offers no way to drop it, so a
/// suspect connection is left behind together with its client. Requests under way keep theirs.
#[derive(Debug)]
pub(super) struct Connection {
    secure: bool,
    options: HttpOptions,
    current: Mutex<(Client, u64)>,
}

impl Connection {
    pub(super) fn new(secure: bool, options: HttpOptions) -> Result<Self> {
        let client = build(secure, &options)?;
        Ok(Self {
            secure,
            options,
            current: Mutex::new((client, 0)),
        })
    }

    /// The client to use now, and its generation.
    pub(super) fn current(&self) -> (Client, u64) {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the client of `generation`, unless that has been done: requests that fail
    /// together on one connection replace it once.
    pub(super) fn renew(&self, generation: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1 != generation {
            return;
        }
        self.replace(&mut current);
    }

    /// Replaces the client, whichever it is.
    pub(super) fn renew_current(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&mut current);
    }

    fn replace(&self, current: &mut (Client, u64)) {
        match build(self.secure, &self.options) {
            Ok(client) => *current = (client, current.1 + 1),
            Err(error) => log::warn!("keeping a suspect connection: {error}"),
        }
    }
}

fn build(secure: bool, options: &HttpOptions) -> Result<Client> {
    install_crypto();
    let mut headers = HeaderMap::new();
    if let Some(token) = &options.token {
        headers.insert(AUTHORIZATION, token.header()?);
    }
    let builder = Client::builder()
        .default_headers(headers)
        .http2_prior_knowledge()
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy();
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let builder = builder.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
    let builder = match &options.root_certificate {
        Some(pem) => builder.tls_certs_only(certificates(pem)?),
        None if secure => builder,
        // Without TLS no authority is needed, and reading the system's takes its time.
        None => builder.tls_certs_only([]),
    };
    builder.build().map_err(|error| {
        Error::with_source(
            ErrorKind::InvalidArgument,
            "cannot set up HTTP/2 with these options",
            error,
        )
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|error| {
        Error::with_source(
            ErrorKind::InvalidArgument,
            "the root certificate is not PEM",
            error,
        )
    })?;
    if certificates.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "the root certificate's PEM holds no certificate",
        ));
    }
    Ok(certificates)
}

/// Makes ring the process's cryptography, unless the app has chosen its own.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails if another thread has been faster, and then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

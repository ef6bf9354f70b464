//! Every knob of the server, with its default and its bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use dyno_core::bundle::TailPattern;
use dyno_core::pixels::MAX_PHOTO_BYTES;
use dyno_core::{Error, ErrorKind, Result};

use crate::tls::TlsFiles;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8477);
const DEFAULT_SPANS: NonZeroU16 = NonZeroU16::MIN.saturating_add(255);
const DEFAULT_MAX_BATCH: NonZeroU16 = NonZeroU16::MIN.saturating_add(15);
const DEFAULT_PHOTO_BYTES: NonZeroU32 = NonZeroU32::MIN.saturating_add((16 << 20) - 1);
const DEFAULT_CONNECTIONS: NonZeroU16 = NonZeroU16::MIN.saturating_add(1023);
const DEFAULT_PER_ADDRESS: NonZeroU16 = NonZeroU16::MIN.saturating_add(63);
const DEFAULT_MAX_DEADLINE: Duration = Duration::from_secs(10);
const DEFAULT_OTLP_SAMPLE: f64 = 1.0;
const DEFAULT_HANDSHAKE: Duration = Duration::from_secs(5);
const DEFAULT_BODY_IDLE: Duration = Duration::from_secs(5);
const DEFAULT_BODY_TOTAL: Duration = Duration::from_secs(30);
const DEFAULT_ANSWER_IDLE: Duration = Duration::from_secs(30);
const DEFAULT_DRAIN_DELAY: Duration = Duration::ZERO;
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RELOAD_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_KEEP_OLD_VERSIONS: Duration = Duration::from_mins(10);

/// Workers where another server runs the tails: each waits for one answer at a time.
const WORKERS_ELSEWHERE: usize = 64;
/// Cores that share one worker.
const CORES_PER_WORKER: usize = 2;
/// Requests in flight that each worker adds to the capacity: those that wait for it.
const IN_FLIGHT_PER_WORKER: usize = 16;
/// Requests in flight beyond those: uploads, which take a phone far longer than a tail takes a worker.
const UPLOADS: usize = 64;
/// Longest duration that a flag takes.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// How a server is set up; the fields are the flags of `dyno-server`.
///
/// ```
/// use dyno_server::Config;
///
/// let mut config = Config::new("bundles");
/// config.listen = "127.0.0.1:0".parse()?;
/// assert_eq!(config.max_deadline.as_secs(), 10);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, clap::Args)]
#[non_exhaustive]
pub struct Config {
    /// Folder of bundles; the name of a bundle's folder is the model's name
    #[arg(long, value_name = "DIR", env = "DYNO_BUNDLES", hide_env_values = true)]
    pub bundles: PathBuf,

    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "DYNO_LISTEN", hide_env_values = true,
          default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// Address and port of metrics and health over HTTP/1.1; `auto` is 127.0.0.1:9477 if that is
    /// free, `off` is none
    #[arg(
        long,
        value_name = "ADDR",
        env = "DYNO_METRICS_LISTEN",
        hide_env_values = true,
        default_value = "auto"
    )]
    pub metrics_listen: MetricsListen,
    /// Second address, for programs that speak the Open Inference Protocol: HTTP/1.1 as well as
    /// HTTP/2, and the paths under /v2 alone
    #[arg(
        long,
        value_name = "ADDR",
        env = "DYNO_OIP_LISTEN",
        hide_env_values = true
    )]
    pub oip_listen: Option<SocketAddr>,

    /// Certificate chain (PEM), leaf first: turns TLS on
    #[arg(
        long,
        value_name = "FILE",
        env = "DYNO_TLS_CERT",
        hide_env_values = true,
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// Private key (PEM) of the certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "DYNO_TLS_KEY",
        hide_env_values = true,
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// Certificates (PEM) of the authority that signs clients' certificates: only clients that have
    /// one are let in
    #[arg(
        long,
        value_name = "FILE",
        env = "DYNO_TLS_CLIENT_CA",
        hide_env_values = true,
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,

    /// Listen without TLS on addresses that other machines reach (behind a proxy that ends TLS)
    #[arg(long, env = "DYNO_ALLOW_PLAINTEXT", hide_env_values = true)]
    pub allow_plaintext: bool,

    /// File of the keys that are let in, a line `ID SHA256-HEX` each; without it everybody is
    #[arg(
        long,
        value_name = "FILE",
        env = "DYNO_KEYS_FILE",
        hide_env_values = true
    )]
    pub keys: Option<PathBuf>,

    /// Time between two looks for bundles that came, changed or went; 0s looks on SIGHUP only
    #[arg(long, value_name = "TIME", env = "DYNO_RELOAD_INTERVAL", hide_env_values = true,
          default_value = "10s", value_parser = parse_duration)]
    pub reload_interval: Duration,

    /// Time that a version which was replaced is served to clients that have its bundle
    #[arg(long, value_name = "TIME", env = "DYNO_KEEP_OLD_VERSIONS", hide_env_values = true,
          default_value = "10m", value_parser = parse_duration)]
    pub keep_old_versions: Duration,

    /// Public keys (JSON Web Key Set) of whoever signs tokens (JWT, Ed25519) that are let in
    #[arg(
        long,
        value_name = "FILE",
        env = "DYNO_JWT_KEYS",
        hide_env_values = true,
        requires = "jwt_audience"
    )]
    pub jwt_keys: Option<PathBuf>,

    /// The audience (aud) that a signed token must be for
    #[arg(
        long,
        value_name = "NAME",
        env = "DYNO_JWT_AUDIENCE",
        hide_env_values = true,
        requires = "jwt_keys"
    )]
    pub jwt_audience: Option<String>,

    /// The issuer (iss) that a signed token must be of [default: any]
    #[arg(
        long,
        value_name = "NAME",
        env = "DYNO_JWT_ISSUER",
        hide_env_values = true,
        requires = "jwt_keys"
    )]
    pub jwt_issuer: Option<String>,

    /// Longest time from issue to expiry of a signed token
    #[arg(long, value_name = "TIME", env = "DYNO_JWT_MAX_LIFETIME", hide_env_values = true,
          default_value = "1440m", value_parser = parse_duration)]
    pub jwt_max_lifetime: Duration,

    /// Requests in a second that a client may send; more are answered 429 [default: no limit]
    #[arg(long, value_name = "N", env = "DYNO_CLIENT_REQUESTS_PER_S", hide_env_values = true,
          value_parser = parse_rate)]
    pub client_requests_per_s: Option<f64>,

    /// Bytes of bodies in a second that a client may send [default: no limit]
    #[arg(long, value_name = "BYTES", env = "DYNO_CLIENT_BYTES_PER_S", hide_env_values = true,
          value_parser = parse_rate)]
    pub client_bytes_per_s: Option<f64>,

    /// Milliseconds of workers in a second that a client may use [default: no limit]
    #[arg(long, value_name = "MS", env = "DYNO_CLIENT_COMPUTE_MS_PER_S", hide_env_values = true,
          value_parser = parse_rate)]
    pub client_compute_ms_per_s: Option<f64>,

    /// Have tails run by another inference server, over the Open Inference Protocol's gRPC API:
    /// grpc://HOST:PORT, or grpcs:// with TLS (see `dyno export-tails`)
    #[arg(
        long,
        value_name = "URL",
        env = "DYNO_TAIL_ENGINE",
        hide_env_values = true
    )]
    pub tail_engine: Option<String>,

    /// Names of the tails there: {model}, {hash} and {cut} stand for what they say
    #[arg(
        long,
        value_name = "PATTERN",
        env = "DYNO_TAIL_MODEL",
        hide_env_values = true,
        default_value_t,
        requires = "tail_engine"
    )]
    pub tail_model: TailPattern,

    /// Address of a collector that takes traces (OTLP over HTTP, usually port 4318); needs a build with
    /// the feature `otlp` [default: what `OTEL_EXPORTER_OTLP_ENDPOINT` says, or none]
    #[arg(
        long,
        value_name = "URL",
        env = "DYNO_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<String>,

    /// Part of the requests, from 0 to 1, that are traced although no trace brings them along
    #[arg(long, value_name = "RATIO", env = "DYNO_OTLP_SAMPLE", hide_env_values = true,
          default_value_t = DEFAULT_OTLP_SAMPLE, value_parser = parse_ratio)]
    pub otlp_sample: f64,

    /// Refuse to start if any bundle cannot be served, instead of leaving it out
    #[arg(long, env = "DYNO_STRICT", hide_env_values = true)]
    pub strict: bool,

    /// Runs that go on at once [default: one for every 2 cores; 64 with --tail-engine]
    #[arg(long, value_name = "N", env = "DYNO_WORKERS", hide_env_values = true)]
    pub workers: Option<NonZeroU16>,

    /// Threads of one run [default: cores / workers]
    #[arg(long, value_name = "N", env = "DYNO_THREADS", hide_env_values = true)]
    pub threads: Option<NonZeroU16>,

    /// Requests admitted at once; more are answered 503 [default: 16 x workers + 64]
    #[arg(
        long,
        value_name = "N",
        env = "DYNO_MAX_IN_FLIGHT",
        hide_env_values = true
    )]
    pub max_in_flight: Option<NonZeroU16>,

    /// Activations that run together at most; 1 turns batching off
    #[arg(long, value_name = "N", env = "DYNO_MAX_BATCH", hide_env_values = true,
          default_value_t = DEFAULT_MAX_BATCH)]
    pub max_batch: NonZeroU16,

    /// Longest time that a request may have to wait for a worker; sooner it is answered 503
    /// [default: 6 times what one takes, at least 5ms]
    #[arg(long, value_name = "TIME", env = "DYNO_MAX_QUEUE_WAIT", hide_env_values = true,
          value_parser = parse_duration)]
    pub max_queue_wait: Option<Duration>,

    /// Sessions kept ready for each model; the least recently used one goes first
    #[arg(long, value_name = "N", env = "DYNO_SPANS", hide_env_values = true,
          default_value_t = DEFAULT_SPANS)]
    pub spans: NonZeroU16,

    /// Most bytes of a photo
    #[arg(long, value_name = "BYTES", env = "DYNO_MAX_PHOTO_BYTES", hide_env_values = true,
          default_value_t = DEFAULT_PHOTO_BYTES)]
    pub max_photo_bytes: NonZeroU32,

    /// Connections open at once; more are closed as they come
    #[arg(long, value_name = "N", env = "DYNO_MAX_CONNECTIONS", hide_env_values = true,
          default_value_t = DEFAULT_CONNECTIONS)]
    pub max_connections: NonZeroU16,

    /// Connections open at once from one address (IPv6: one /64); more are closed as they come
    #[arg(long, value_name = "N", env = "DYNO_MAX_CONNECTIONS_PER_ADDRESS",
          hide_env_values = true, default_value_t = DEFAULT_PER_ADDRESS)]
    pub max_connections_per_address: NonZeroU16,

    /// Longest deadline a request may have, and the deadline of those that name none
    #[arg(long, value_name = "TIME", env = "DYNO_MAX_DEADLINE", hide_env_values = true,
          default_value = "10s", value_parser = parse_duration)]
    pub max_deadline: Duration,

    /// Time for a new connection's TLS handshake and HTTP/2 preface
    #[arg(long, value_name = "TIME", env = "DYNO_HANDSHAKE_TIMEOUT", hide_env_values = true,
          default_value = "5s", value_parser = parse_duration)]
    pub handshake_timeout: Duration,

    /// Time between two pieces of a body
    #[arg(long, value_name = "TIME", env = "DYNO_BODY_IDLE_TIMEOUT", hide_env_values = true,
          default_value = "5s", value_parser = parse_duration)]
    pub body_idle_timeout: Duration,

    /// Time for a whole body; the request's deadline counts where it is shorter
    #[arg(long, value_name = "TIME", env = "DYNO_BODY_TIMEOUT", hide_env_values = true,
          default_value = "30s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// Time that a client may take nothing of its answer or download
    #[arg(long, value_name = "TIME", env = "DYNO_ANSWER_IDLE_TIMEOUT", hide_env_values = true,
          default_value = "30s", value_parser = parse_duration)]
    pub answer_idle_timeout: Duration,

    /// Time to go on accepting connections after SIGTERM, for load balancers that notice late
    #[arg(long, value_name = "TIME", env = "DYNO_DRAIN_DELAY", hide_env_values = true,
          default_value = "0s", value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// Time for requests in flight to end after SIGTERM
    #[arg(long, value_name = "TIME", env = "DYNO_DRAIN_TIMEOUT", hide_env_values = true,
          default_value = "30s", value_parser = parse_duration)]
    pub drain_timeout: Duration,
}

impl Config {
    /// The defaults, for the bundles in a folder.
    pub fn new(bundles: impl Into<PathBuf>) -> Self {
        Self {
            bundles: bundles.into(),
            listen: DEFAULT_LISTEN,
            metrics_listen: MetricsListen::Off,
            oip_listen: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            allow_plaintext: false,
            keys: None,
            jwt_keys: None,
            jwt_audience: None,
            jwt_issuer: None,
            jwt_max_lifetime: MAX_DURATION,
            client_requests_per_s: None,
            client_bytes_per_s: None,
            client_compute_ms_per_s: None,
            tail_engine: None,
            tail_model: TailPattern::default(),
            otlp_endpoint: None,
            otlp_sample: DEFAULT_OTLP_SAMPLE,
            strict: false,
            workers: None,
            threads: None,
            max_in_flight: None,
            max_batch: DEFAULT_MAX_BATCH,
            max_queue_wait: None,
            spans: DEFAULT_SPANS,
            max_photo_bytes: DEFAULT_PHOTO_BYTES,
            max_connections: DEFAULT_CONNECTIONS,
            max_connections_per_address: DEFAULT_PER_ADDRESS,
            max_deadline: DEFAULT_MAX_DEADLINE,
            handshake_timeout: DEFAULT_HANDSHAKE,
            body_idle_timeout: DEFAULT_BODY_IDLE,
            body_timeout: DEFAULT_BODY_TOTAL,
            answer_idle_timeout: DEFAULT_ANSWER_IDLE,
            drain_delay: DEFAULT_DRAIN_DELAY,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            reload_interval: DEFAULT_RELOAD_INTERVAL,
            keep_old_versions: DEFAULT_KEEP_OLD_VERSIONS,
        }
    }

    /// Certificates and key, if there is to be TLS.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if one of the two is missing, or both are and the
    /// address is one that other machines reach: activations and photos are private.
    pub(crate) fn tls_files(&self) -> Result<Option<TlsFiles>> {
        match (&self.tls_cert, &self.tls_key, self.open_address()) {
            (Some(cert), Some(key), _) => Ok(Some(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                client_ca: self.tls_client_ca.clone(),
            })),
            (None, None, _) if self.tls_client_ca.is_some() => Err(Error::new(
                ErrorKind::InvalidArgument,
                "--tls-client-ca needs TLS: give --tls-cert and --tls-key as well",
            )),
            (None, None, Some(open)) if !self.allow_plaintext => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{open} can be reached by other machines, and there is no TLS: give \
                     --tls-cert and --tls-key, listen on a loopback address, or say \
                     --allow-plaintext if a proxy in front of this server ends TLS"
                ),
            )),
            (None, None, _) => Ok(None),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "TLS needs both --tls-cert and --tls-key",
            )),
        }
    }

    /// Keys of whoever signs tokens, and the audience of those, if tokens are to be taken.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if one of the two is missing.
    pub(crate) fn jwt(&self) -> Result<Option<(&PathBuf, &String)>> {
        match (&self.jwt_keys, &self.jwt_audience) {
            (Some(keys), Some(audience)) => Ok(Some((keys, audience))),
            (None, None) => Ok(None),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "signed tokens need both --jwt-keys and --jwt-audience: without an audience, \
                 tokens for other services of the same backend would be let in",
            )),
        }
    }

    /// Fails with [`ErrorKind::InvalidArgument`] if traces are asked of a build that has none.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn check_traces(&self) -> Result<()> {
        match self.otlp_endpoint {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::InvalidArgument,
                "this dyno-server was built without traces, which --otlp-endpoint asks for: build it \
                 with --features otlp",
            )),
        }
    }

    /// Whether whoever carries a request to this server reads its token.
    pub(crate) fn tokens_are_readable(&self) -> bool {
        (self.keys.is_some() || self.jwt_keys.is_some())
            && self.tls_cert.is_none()
            && self.open_address().is_some()
    }

    /// An address that other machines reach.
    fn open_address(&self) -> Option<SocketAddr> {
        [Some(self.listen), self.oip_listen]
            .into_iter()
            .flatten()
            .find(|address| !address.ip().is_loopback())
    }

    /// Runs that go on at once: as set, or one for every two cores of this machine; at least 1.
    pub fn workers(&self) -> usize {
        self.workers
            .map_or_else(|| self.usual_workers(), |n| n.get().into())
    }

    fn usual_workers(&self) -> usize {
        if self.tail_engine.is_some() {
            WORKERS_ELSEWHERE
        } else {
            (cores() / CORES_PER_WORKER).max(1)
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
            .map_or((cores() / self.workers()).max(1), |n| n.get().into())
    }

    pub(crate) fn max_in_flight(&self) -> usize {
        self.max_in_flight
            .map_or(IN_FLIGHT_PER_WORKER * self.workers() + UPLOADS, |n| {
                n.get().into()
            })
    }

    /// Most bytes of a photo: the flag's, within what the decoder takes.
    pub(crate) fn max_photo_bytes(&self) -> usize {
        usize::try_from(self.max_photo_bytes.get())
            .unwrap_or(usize::MAX)
            .min(MAX_PHOTO_BYTES)
    }
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere: what a server in another program does unless it is told otherwise.
    Off,
    /// On [`MetricsListen::USUAL`], unless somebody has that already: what the command does.
    IfFree,
    /// There, or the server does not start.
    At(SocketAddr),
}

impl MetricsListen {
    /// The usual address: of this machine only.
    pub const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9477);
}

impl std::str::FromStr for MetricsListen {
    type Err = String;

    /// An address with a port, `off`, or `auto` for [`MetricsListen::IfFree`].
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::IfFree),
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|_| {
                format!("'{text}' is neither an address with a port, such as 127.0.0.1:9477, nor auto or off")
            }),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A duration as the flags take it: a whole number of `ms`, `s` or `m`, at most a day.
///
/// ```
/// use std::time::Duration;
/// use dyno_server::parse_duration;
///
/// assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
/// assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
/// assert!(parse_duration("30").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: Option<u32> = digits.parse().ok();
    let unit = match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_mins(1)),
        _ => None,
    };
    number
        .zip(unit)
        .and_then(|(number, unit)| unit.checked_mul(number))
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| {
            format!("'{text}' is not a duration: write 500ms, 30s or 2m, at most 24 hours")
        })
}

/// A rate as the flags, keys and tokens take it, in something a second: 0.001 to 10¹².
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    rate.filter(|&rate| is_rate(rate))
        .ok_or_else(|| format!("'{text}' is not a rate: write a number from 0.001 to 1e12"))
}

/// A part of a whole, from 0 to 1.
fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| format!("'{text}' is not a part of all: write a number from 0 to 1"))
}

/// Whether there is a wait for the next request at this rate that anybody waits.
pub(crate) fn is_rate(rate: f64) -> bool {
    (1e-3..=1e12).contains(&rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1h",
            "1 s",
            "1441m",
            "99999999999ms",
            "1é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_that_make_no_sense_are_refused() {
        for text in [
            "", "0", "-1", "inf", "NaN", "1e13", "0.0009", "5/s", "1e999",
        ] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        for (text, rate) in [("0.5", 0.5), ("100", 100.0), ("1e6", 1e6)] {
            assert_eq!(parse_rate(text), Ok(rate));
        }
    }

    #[test]
    fn ratios_that_make_no_sense_are_refused() {
        for text in ["", "-0.1", "1.1", "NaN", "inf", "10%"] {
            assert!(parse_ratio(text).is_err(), "{text}");
        }
        for (text, ratio) in [("0", 0.0), ("0.01", 0.01), ("1", 1.0)] {
            assert_eq!(parse_ratio(text), Ok(ratio));
        }
    }

    #[test]
    fn signed_tokens_need_keys_and_an_audience() {
        let mut config = Config::new("bundles");
        assert!(config.jwt().unwrap().is_none());
        config.jwt_keys = Some("jwks.json".into());
        let error = config.jwt().unwrap_err().to_string();
        assert!(error.contains("--jwt-audience"), "{error}");
        config.jwt_audience = Some("dyno".into());
        assert!(config.jwt().unwrap().is_some());
        config.jwt_keys = None;
        assert!(config.jwt().is_err());
    }

    #[test]
    fn plaintext_stays_on_this_machine_unless_asked_for() {
        let mut config = Config::new("bundles");
        for local in ["127.0.0.1:0", "127.8.8.8:0", "[::1]:0"] {
            config.listen = local.parse().unwrap();
            assert!(config.tls_files().unwrap().is_none());
        }
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            config.listen = open.parse().unwrap();
            let refused = config.tls_files().unwrap_err();
            assert!(refused.to_string().contains("--tls-cert"), "{refused}");
        }
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.oip_listen = Some("192.0.2.1:0".parse().unwrap());
        assert!(config.tls_files().is_err());
        config.allow_plaintext = true;
        assert!(config.tls_files().unwrap().is_none());
        config.tls_client_ca = Some("ca.pem".into());
        assert!(
            config.tls_files().is_err(),
            "clients' certificates without TLS"
        );
        config.tls_cert = Some("cert.pem".into());
        assert!(config.tls_files().is_err(), "a certificate without a key");
    }

    #[test]
    fn tokens_are_readable_where_there_is_no_tls_on_the_way() {
        let mut config = Config::new("bundles");
        config.listen = "192.0.2.1:0".parse().unwrap();
        assert!(!config.tokens_are_readable(), "there are none");
        config.keys = Some("keys".into());
        assert!(config.tokens_are_readable());
        config.keys = None;
        config.jwt_keys = Some("jwks.json".into());
        assert!(config.tokens_are_readable());
        config.tls_cert = Some("cert.pem".into());
        assert!(!config.tokens_are_readable());
        config.tls_cert = None;
        config.listen = "127.0.0.1:0".parse().unwrap();
        assert!(!config.tokens_are_readable());
    }

    #[test]
    fn capacity_follows_the_workers() {
        let mut config = Config::new("bundles");
        config.workers = NonZeroU16::new(3);
        assert_eq!(config.max_in_flight(), 112);
        config.max_in_flight = NonZeroU16::new(5);
        assert_eq!(config.max_in_flight(), 5);
    }
}

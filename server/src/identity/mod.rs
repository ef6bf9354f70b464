//! Who asks, and what they may do and use.
//!
//! A client is known by a token of the file of [`keys`], by a token that the app's backend has signed
//! ([`jwt`]), or by its certificate. Whichever it is: an id, the models it may use, its [`budget`].

mod budget;
mod client;
mod file;
mod jwks;
mod jwt;
mod keys;

use std::sync::Arc;

use dyno_core::Result;
use dyno_core::client::Token;

pub(crate) use budget::{Budgets, Payer, Rates};
pub(crate) use client::{Caller, ClientId, HASH_BYTES, Peer};

use crate::config::Config;
use crate::metrics::AuthFailure;
use crate::reload::{Live, Reload};
use client::Rights;
use jwt::Jwt;
use keys::Keys;

/// The ways in that are configured.
#[derive(Debug)]
pub(crate) struct Identity {
    keys: Option<Arc<Live<Keys>>>,
    jwt: Option<Jwt>,
    /// Whether every client has a certificate.
    certified: bool,
    pub(crate) budgets: Budgets,
    /// What clients may use that have no rates of their own.
    pub(crate) rates: Rates,
}

/// What a request has to show for itself.
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    Token(Token),
    /// An `authorization` header that holds no token.
    Rubbish,
}

/// Why somebody is not let in; for the operator, not for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// For the metrics.
    pub(crate) reason: AuthFailure,
    /// For the log.
    pub(crate) why: &'static str,
}

impl Identity {
    /// Reads the configured files.
    ///
    /// Fails with [`dyno_core::ErrorKind::InvalidArgument`] if one cannot be read or makes no
    /// sense, and names it; nothing of its content is told.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let keys = config.keys.clone().map(|path| {
            let file = path.clone();
            Live::open("keys", vec![file], move |_| Keys::open(&path)).map(Arc::new)
        });
        Ok(Self {
            keys: keys.transpose()?,
            jwt: Jwt::of(config)?,
            certified: config.tls_client_ca.is_some(),
            budgets: Budgets::default(),
            rates: Rates::of(config),
        })
    }

    /// How many keys of clients and of whoever signs tokens are known, where there are files of them.
    pub(crate) fn keys(&self) -> (Option<usize>, Option<usize>) {
        let keys = self.keys.as_ref().map(|keys| keys.current().len());
        (keys, self.jwt.as_ref().map(Jwt::keys))
    }

    /// Who asks. Whatever is configured has to be satisfied: where there are keys or signed tokens,
    /// a certificate counts only if the file of keys has its hash.
    pub(crate) fn caller(&self, shown: &Shown, peer: &Peer) -> Result<Caller, Refused> {
        let wants_token = self.keys.is_some() || self.jwt.is_some();
        let refused = |reason, why| Err(Refused { reason, why });
        match (shown, peer.certificate) {
            (Shown::Token(token), _) if wants_token => self.find(token),
            (Shown::Rubbish, _) if wants_token => {
                refused(AuthFailure::Malformed, "no token in the header")
            }
            (Shown::Nothing, Some(hash)) if wants_token => {
                let keys = self.keys.as_ref();
                match keys.and_then(|keys| keys.current().find_hash(&hash)) {
                    Some(caller) => Ok(caller),
                    None => refused(
                        AuthFailure::Missing,
                        "no token, and a certificate that is not among the keys",
                    ),
                }
            }
            (Shown::Nothing, None) if wants_token => refused(AuthFailure::Missing, "no token"),
            (_, Some(hash)) => Ok(Caller {
                id: Some(ClientId::of_hash("cert", &hash)),
                rights: Rights::default(),
            }),
            (_, None) if self.certified => refused(AuthFailure::Missing, "no certificate"),
            (_, None) => Ok(Caller::anonymous()),
        }
    }

    fn find(&self, token: &Token) -> Result<Caller, Refused> {
        let known = self
            .keys
            .as_ref()
            .and_then(|keys| keys.current().find(token));
        match (known, &self.jwt) {
            (Some(caller), _) => Ok(caller),
            (None, Some(jwt)) => jwt.find(token).map_err(|why| Refused {
                reason: AuthFailure::Signed,
                why,
            }),
            (None, None) => Err(Refused {
                reason: AuthFailure::Unknown,
                why: "an unknown token",
            }),
        }
    }

    /// What is read again while the server runs.
    pub(crate) fn reloads(&self) -> impl Iterator<Item = Arc<dyn Reload>> {
        let keys = self.keys.iter().map(|keys| Arc::clone(keys) as _);
        keys.chain(self.jwt.iter().map(Jwt::reload))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn certified() -> Peer {
        Peer {
            certificate: Some(Sha256::digest("certificate").into()),
            ..Peer::unknown()
        }
    }

    fn token(text: &str) -> Shown {
        Shown::Token(text.parse().unwrap())
    }

    /// The id that is let in, or why none is.
    fn who(identity: &Identity, shown: &Shown, peer: &Peer) -> Result<String, Refused> {
        let caller = identity.caller(shown, peer)?;
        Ok(caller
            .id
            .map_or_else(String::new, |id| id.as_str().to_owned()))
    }

    fn line(id: &str, secret: &str) -> String {
        let hash: [u8; HASH_BYTES] = Sha256::digest(secret).into();
        let [left, right] =
            [&hash[..16], &hash[16..]].map(|half| u128::from_be_bytes(half.try_into().unwrap()));
        format!("{id} {left:032x}{right:032x}\n")
    }

    #[test]
    fn without_anything_configured_everybody_is_let_in_and_headers_mean_nothing() {
        let identity = Identity::of(&Config::new("bundles")).unwrap();
        for shown in [Shown::Nothing, Shown::Rubbish, token("sesame")] {
            assert_eq!(who(&identity, &shown, &Peer::unknown()), Ok(String::new()));
        }
    }

    #[test]
    fn a_certificate_stands_in_for_a_token_where_none_is_wanted_or_its_hash_is_a_key() {
        let mut config = Config::new("bundles");
        config.tls_client_ca = Some("ca.pem".into());
        let identity = Identity::of(&config).unwrap();
        let id = who(&identity, &Shown::Nothing, &certified()).unwrap();
        assert!(id.starts_with("cert-") && id.len() == 37, "{id}");
        assert!(who(&identity, &Shown::Nothing, &Peer::unknown()).is_err());

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), line("phone", "sesame")).unwrap();
        config.keys = Some(file.path().into());
        let identity = Identity::of(&config).unwrap();
        assert!(who(&identity, &Shown::Nothing, &certified()).is_err());
        assert!(who(&identity, &Shown::Rubbish, &certified()).is_err());
        assert!(who(&identity, &token("other"), &certified()).is_err());
        assert_eq!(
            who(&identity, &token("sesame"), &certified()),
            Ok("phone".into())
        );

        let lines = line("phone", "sesame") + &line("tablet", "certificate");
        std::fs::write(file.path(), lines).unwrap();
        let identity = Identity::of(&config).unwrap();
        assert_eq!(
            who(&identity, &Shown::Nothing, &certified()),
            Ok("tablet".into())
        );
        assert_eq!(
            who(&identity, &token("sesame"), &certified()),
            Ok("phone".into())
        );
        assert!(who(&identity, &token("other"), &certified()).is_err());
        assert!(who(&identity, &Shown::Nothing, &Peer::unknown()).is_err());
    }
}

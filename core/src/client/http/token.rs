//! The token that a client shows its server.

use std::fmt;

use reqwest::header::HeaderValue;

use crate::{Error, ErrorKind, Result};

/// A secret that says to a server whose requests these are (`authorization: Bearer …`).
///
/// It is shown by [`Token::reveal`] alone: neither `Debug` nor any error holds it.
///
/// ```
/// use dyno_core::client::Token;
///
/// let token: Token = "53a9f0c1".parse()?;
/// assert_eq!(token.reveal(), "53a9f0c1");
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// assert!("two words".parse::<Token>().is_err());
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Most characters of a token.
    pub const MAX_CHARS: usize = 4096;

    /// The secret itself, for whoever sends or checks it: keep it out of logs and messages.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of the `authorization` header, marked so that HTTP/2 does not keep it in the
    /// connection's tables and nothing prints it.
    pub(super) fn header(&self) -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .map_err(|_| Error::new(ErrorKind::Internal, "a token that no header can hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl std::str::FromStr for Token {
    type Err = Error;

    /// Fails with [`ErrorKind::InvalidArgument`] unless the text is 1 to [`Token::MAX_CHARS`]
    /// visible ASCII characters, none of them a space.
    fn from_str(text: &str) -> Result<Self> {
        let is_valid = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "a token is 1 to {} visible ASCII characters without spaces; this text of {} \
                     bytes is none",
                    Self::MAX_CHARS,
                    text.len()
                ),
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_ascii_is_taken_up_to_the_limit() {
        let longest = "~".repeat(Token::MAX_CHARS);
        for text in ["x", "!~09azAZ-._=+/", &longest] {
            let token: Token = text.parse().unwrap();
            assert_eq!(token.reveal(), text);
            let header = token.header().unwrap();
            assert!(header.is_sensitive());
            assert_eq!(header.to_str().unwrap(), format!("Bearer {text}"));
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_told() {
        let too_long = "x".repeat(Token::MAX_CHARS + 1);
        for text in [
            "",
            " ",
            "sesame open",
            "sesame\n",
            "sesame\r\n",
            "\tsesame",
            "sesame\0",
            "sésame",
            "sesame\u{7f}",
            &too_long,
        ] {
            let error = text.parse::<Token>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let told = format!("{error} {error:?}");
            assert!(!told.contains("sesame") && !told.contains("xxx"), "{told}");
        }
    }

    #[test]
    fn debug_hides_it() {
        let token: Token = "sesame".parse().unwrap();
        let options = super::super::HttpOptions {
            token: Some(token),
            ..Default::default()
        };
        let shown = format!("{options:?} {options:#?}");
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

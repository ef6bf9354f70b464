//! The token for a server that lets nobody else in: from a file, because a command's arguments are
//! there for everybody to see.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dyno_core::client::Token;

/// Most bytes read of a file: the longest token, the end of its line, and one that is too many.
const MAX_FILE_BYTES: u64 = Token::MAX_CHARS as u64 + 3;

/// The flag of every command that asks a server.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// File with the token that the server wants to see (dyno-server --keys).
    #[arg(
        long,
        value_name = "FILE",
        env = "DYNO_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token in the file, if a file is named.
    ///
    /// Fails if it cannot be read or holds anything but a token and the end of its line; the
    /// message names the file and tells nothing of its content.
    pub(crate) fn token(&self) -> Result<Option<Token>> {
        self.token_file.as_deref().map(read).transpose()
    }
}

fn read(path: &Path) -> Result<Token> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let token = line.strip_suffix('\r').unwrap_or(line);
    token
        .parse()
        .with_context(|| format!("{} holds no token", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: impl AsRef<[u8]>) -> Result<Token> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let token = read(file.path());
        if let Err(error) = &token {
            let told = format!("{error:#}");
            assert!(told.contains(file.path().to_str().unwrap()), "{told}");
            assert!(!told.contains("sesame"), "{told}");
        }
        token
    }

    #[test]
    fn one_line_end_is_no_part_of_the_token() {
        let longest = "x".repeat(Token::MAX_CHARS);
        for token in ["sesame", &longest] {
            for end in ["", "\n", "\r\n"] {
                let read = read_text(format!("{token}{end}")).unwrap();
                assert_eq!(read.reveal(), token);
            }
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        for text in ["", "\n", "sesame\n\n", "sesame \n", "open sesame", "é"] {
            assert!(read_text(text).is_err(), "{text:?}");
        }
        assert!(read_text(b"sesame\xff").is_err());
        assert!(read_text("x".repeat(Token::MAX_CHARS + 1)).is_err());
        assert!(read_text("x".repeat(1 << 20)).is_err());
        assert!(read(Path::new("/does/not/exist")).is_err());
    }
}

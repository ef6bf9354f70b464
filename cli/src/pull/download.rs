//! One file over HTTP: resumed, bounded, hashed on the way, in place only when it is whole.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::error::PullError;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of the server.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes hashed at a time when a file is read back.
const READ_BYTES: usize = 1 << 16;

/// What the file must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin<'a> {
    /// Length.
    pub(super) bytes: u64,
    /// SHA-256, lower-case hex.
    pub(super) sha256: &'a str,
}

/// A client for downloads, with rustls on ring.
pub(super) fn client() -> Result<Client, PullError> {
    // Fails only if one is installed already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("dyno/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .build()
        .map_err(|source| PullError::Unreachable {
            url: "the network".to_owned(),
            source,
        })
}

/// Downloads `url` to `target`, going on with `target.part` where an earlier attempt stopped.
///
/// The part is kept when the connection breaks and deleted when its content turns out wrong.
pub(super) async fn download(
    client: &Client,
    url: &str,
    target: &Path,
    pin: Pin<'_>,
    progress: &ProgressBar,
) -> Result<(), PullError> {
    let mut part = Part::open(target, pin)?;
    progress.set_length(pin.bytes);
    progress.set_position(part.length);
    if part.length < pin.bytes
        && let Err(e) = part.fetch_rest(client, url, progress).await
    {
        if part.length == 0 {
            part.delete()?;
        }
        return Err(e);
    }
    let found = part.hex();
    if found != pin.sha256 {
        part.delete()?;
        return Err(PullError::WrongHash {
            url: url.to_owned(),
            expected: pin.sha256.to_owned(),
            found,
        });
    }
    part.finish(target)
}

/// Whether `path` is the pinned file; false if there is none.
pub(super) fn is_whole(path: &Path, pin: Pin<'_>) -> Result<bool, PullError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(PullError::io("open", path)(e)),
    };
    let mut hash = Sha256::new();
    let length = hash_rest(&mut file, &mut hash).map_err(PullError::io("read", path))?;
    Ok(length == pin.bytes && hex(hash) == pin.sha256)
}

/// The partial file: what has come so far, and its hash.
struct Part<'a> {
    path: PathBuf,
    file: File,
    length: u64,
    hash: Sha256,
    pin: Pin<'a>,
}

impl<'a> Part<'a> {
    /// Opens or creates it, alone; one that is too long to be the start of the file is emptied.
    fn open(target: &Path, pin: Pin<'a>) -> Result<Self, PullError> {
        let path = with_suffix(target, ".part");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(PullError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PullError::Busy { path }),
            Err(TryLockError::Error(e)) => return Err(PullError::io("lock", &path)(e)),
        }
        let mut hash = Sha256::new();
        let length = hash_rest(&mut file, &mut hash).map_err(PullError::io("read", &path))?;
        let mut part = Self {
            path,
            file,
            length,
            hash,
            pin,
        };
        if part.length > pin.bytes {
            part.restart()?;
        }
        Ok(part)
    }

    async fn fetch_rest(
        &mut self,
        client: &Client,
        url: &str,
        progress: &ProgressBar,
    ) -> Result<(), PullError> {
        let response = self.request(client, url).await?;
        self.receive(response, url, progress).await
    }

    /// Asks for what is missing; leaves the part at the offset at which the answer starts.
    async fn request(&mut self, client: &Client, url: &str) -> Result<Response, PullError> {
        let mut response = self.send(client, url).await?;
        if self.length > 0 && !self.answers_the_range(&response) {
            // 200: the server ignores ranges or has another version. Anything else that succeeds,
            // or 416, is an answer to a question that was not asked: ask for all of it.
            self.restart()?;
            if response.status() != StatusCode::OK {
                response = self.send(client, url).await?;
            }
        }
        let status = response.status();
        let expected = if self.length > 0 {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        };
        if status != expected {
            return Err(PullError::Status {
                url: url.to_owned(),
                status,
            });
        }
        if let Some(rest) = response.content_length()
            && self.length.saturating_add(rest) != self.pin.bytes
        {
            return Err(self.wrong_length(url, self.length.saturating_add(rest)));
        }
        self.remember_version(url, response.headers())?;
        Ok(response)
    }

    /// One GET, with a range if there is a start already.
    async fn send(&self, client: &Client, url: &str) -> Result<Response, PullError> {
        let mut request = client.get(url);
        if self.length > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.length));
            if let Some(etag) = self.version(url) {
                request = request.header(IF_RANGE, etag);
            }
        }
        request
            .send()
            .await
            .map_err(|source| PullError::Unreachable {
                url: url.to_owned(),
                source,
            })
    }

    /// Whether `response` is, or fails to be, the rest of the file: an error status says nothing
    /// about the part, so the part stays.
    fn answers_the_range(&self, response: &Response) -> bool {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|range| range.starts_with(&format!("bytes {}-", self.length))),
            StatusCode::RANGE_NOT_SATISFIABLE => false,
            status => !status.is_success(),
        }
    }

    /// Appends the body, never more than the pinned length.
    async fn receive(
        &mut self,
        mut response: Response,
        url: &str,
        progress: &ProgressBar,
    ) -> Result<(), PullError> {
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if self.length == self.pin.bytes => return Ok(()),
                Ok(None) => return Err(self.cut_off(url, None)),
                Err(e) => return Err(self.cut_off(url, Some(e))),
            };
            let length = self.length.saturating_add(chunk.len() as u64);
            if length > self.pin.bytes {
                self.restart()?;
                return Err(self.wrong_length(url, length));
            }
            self.file
                .write_all(&chunk)
                .map_err(PullError::io("write", &self.path))?;
            self.hash.update(&chunk);
            self.length = length;
            progress.set_position(length);
        }
    }

    /// Empties it.
    fn restart(&mut self) -> Result<(), PullError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(PullError::io("empty", &self.path))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Makes it the target, in one step.
    fn finish(self, target: &Path) -> Result<(), PullError> {
        self.file
            .sync_all()
            .map_err(PullError::io("write", &self.path))?;
        fs::rename(&self.path, target).map_err(PullError::io("move", &self.path))?;
        remove(&self.version_path())
    }

    fn delete(self) -> Result<(), PullError> {
        remove(&self.path)?;
        remove(&self.version_path())
    }

    fn hex(&self) -> String {
        hex(self.hash.clone())
    }

    /// The strong validator under which the part was started, if it came from `url`: with If-Range
    /// a server sends the whole file instead of a rest that belongs to another version.
    fn version(&self, url: &str) -> Option<String> {
        let noted = fs::read_to_string(self.version_path()).ok()?;
        let (from, etag) = noted.split_once('\n')?;
        (from == url && etag.starts_with('"')).then(|| etag.to_owned())
    }

    fn remember_version(&self, url: &str, headers: &HeaderMap) -> Result<(), PullError> {
        let path = self.version_path();
        match headers.get(ETAG).and_then(|etag| etag.to_str().ok()) {
            Some(etag) => {
                fs::write(&path, format!("{url}\n{etag}")).map_err(PullError::io("write", &path))
            }
            None => remove(&path),
        }
    }

    fn version_path(&self) -> PathBuf {
        with_suffix(&self.path, ".etag")
    }

    fn cut_off(&self, url: &str, source: Option<reqwest::Error>) -> PullError {
        PullError::CutOff {
            url: url.to_owned(),
            got: self.length,
            bytes: self.pin.bytes,
            source,
        }
    }

    fn wrong_length(&self, url: &str, offered: u64) -> PullError {
        PullError::WrongLength {
            url: url.to_owned(),
            offered,
            bytes: self.pin.bytes,
        }
    }
}

/// Hashes from the file's position to its end; the number of bytes.
fn hash_rest(file: &mut File, hash: &mut Sha256) -> std::io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length),
            read => {
                hash.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// The finished hash as lower-case hex digits.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<(), PullError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(PullError::io("delete", path)(e)),
        _ => Ok(()),
    }
}

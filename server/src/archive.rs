//! A bundle as one tar stream, without a copy of it in memory.
//!
//! Its length is known from the start (for `content-length`), and its bytes are read as fast as
//! the client takes them, into a channel of a few pieces. A task does that, not a blocking thread: a
//! client that stops reading must not keep one until it is given up ([`crate::stall`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dyno_core::bundle::Manifest;
use dyno_core::{Error, ErrorKind, Result};
use futures_util::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::{self, Sender};

/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// Pieces between the file and the connection.
const PIECES: usize = 4;
/// Size of a tar record: headers are one, content is filled up to whole ones.
const RECORD: u64 = 512;
/// Two empty records end an archive.
const TRAILER: u64 = 2 * RECORD;
/// Longest file name that a tar header holds without extensions.
const MAX_NAME: usize = 100;

/// The files of a bundle, in the order they are sent.
#[derive(Debug)]
pub(crate) struct Archive {
    files: Vec<File>,
    bytes: u64,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    header: Bytes,
    bytes: u64,
}

impl Archive {
    /// `bundle_json` and the files that the manifest names; not the profile, which belongs to a
    /// machine.
    pub(crate) fn new(folder: &Path, bundle_json: &str, manifest: &Manifest) -> Result<Self> {
        let names = manifest.files.iter().map(|file| file.name.as_str());
        let files = std::iter::once(bundle_json)
            .chain(names)
            .map(|name| File::new(folder, name))
            .collect::<Result<Vec<_>>>()?;
        let bytes = files.iter().map(File::archived).sum::<u64>() + TRAILER;
        Ok(Self { files, bytes })
    }

    /// Exact length of the stream.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The archive's bytes; `held` is dropped when the last of them is taken, or with the stream.
    pub(crate) fn stream(
        self: Arc<Self>,
        held: impl Send + 'static,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        let (sender, mut receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            if let Err(Stop::Io(error)) = self.write(&sender).await {
                tracing::warn!(%error, "a bundle's download broke off");
                // Nobody to tell if the client has gone as well.
                let _ = sender.send(Err(error)).await;
            }
            drop(held);
        });
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
    }

    async fn write(&self, sender: &Pieces) -> Result<(), Stop> {
        for file in &self.files {
            send(sender, file.header.clone()).await?;
            file.write(sender).await?;
        }
        send(sender, zeros(TRAILER)).await
    }
}

impl File {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Error::new(
                ErrorKind::InvalidBundle,
                format!("the bundle's file '{}' {what}", name.escape_debug()),
            )
        };
        let path = Path::new(name);
        if name.len() > MAX_NAME || path.file_name() != Some(path.as_os_str()) {
            return Err(invalid("does not have a plain, short name"));
        }
        let path = folder.join(path);
        let metadata = path
            .metadata()
            .map_err(|error| Error::io(&path, "read", error))?;
        let mut header = tar::Header::new_gnu();
        header
            .set_path(name)
            .map_err(|_| invalid("has a name that tar cannot hold"))?;
        header.set_size(metadata.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        Ok(Self {
            path,
            header: Bytes::copy_from_slice(header.as_bytes()),
            bytes: metadata.len(),
        })
    }

    /// Zeros behind the content.
    fn filling(&self) -> u64 {
        self.bytes.next_multiple_of(RECORD) - self.bytes
    }

    /// Bytes in the archive.
    fn archived(&self) -> u64 {
        RECORD + self.bytes + self.filling()
    }

    async fn write(&self, sender: &Pieces) -> Result<(), Stop> {
        let file = tokio::fs::File::open(&self.path).await?;
        let mut content = file.take(self.bytes);
        let mut left = self.bytes;
        while left > 0 {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = content.read_buf(&mut piece).await?;
            if read == 0 {
                let short = format!("{} has become shorter", self.path.display());
                return Err(std::io::Error::other(short).into());
            }
            left = left.saturating_sub(read as u64);
            send(sender, piece.freeze()).await?;
        }
        send(sender, zeros(self.filling())).await
    }
}

type Pieces = Sender<std::io::Result<Bytes>>;

/// Why a download ended early.
enum Stop {
    Gone,
    Io(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

async fn send(sender: &Pieces, piece: Bytes) -> Result<(), Stop> {
    if piece.is_empty() {
        return Ok(());
    }
    sender.send(Ok(piece)).await.map_err(|_| Stop::Gone)
}

/// At most [`TRAILER`] zeros.
fn zeros(count: u64) -> Bytes {
    let count = usize::try_from(count.min(TRAILER)).unwrap_or(0);
    BytesMut::zeroed(count).freeze()
}

//! Files that are read again while the server runs: when they change, and when somebody asks.
//!
//! A new file that makes no sense is never taken: the old content stays, the log says why, and the
//! failure is counted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use dyno_core::Result;
use tokio::sync::watch;

use crate::observe::AUDIT;

/// How often small files are looked at. A change is taken once it has stood for one such interval,
/// so that files that are still being written are not read.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What is read again.
pub(crate) trait Reload: Send + Sync {
    /// Reads the files, changed or not. Blocking.
    fn reload(&self);

    /// Reads the files if they have changed and stand still since the last look. Blocking.
    fn poll(&self);

    /// What it is, in a word.
    fn what(&self) -> &'static str;

    /// How often that worked out.
    fn counts(&self) -> &Counts;
}

/// Which time a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    First,
    Again,
}

/// A value read from files, and how to read it.
pub(crate) struct Live<T> {
    /// For the log.
    what: &'static str,
    files: Vec<PathBuf>,
    load: Box<dyn Fn(Reading) -> Result<T> + Send + Sync>,
    current: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
    pub(crate) counts: Counts,
}

/// How often reading again worked out.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) taken: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Asks a running server to read its files again; from [`crate::Server::reloader`].
#[derive(Debug, Clone, Default)]
pub struct Reloader(Arc<watch::Sender<u64>>);

#[derive(Debug)]
struct Seen {
    /// When the files were read.
    read: Vec<Option<Stamp>>,
    /// At the last look.
    last: Vec<Option<Stamp>>,
    /// The files that were not taken, and why, since the last that were: they are tried again at each look, for what
    /// was wrong may be outside of them, and told of once.
    not_taken: Option<(Vec<Option<Stamp>>, String)>,
}

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Number of the file and time of its last change of any kind: a file that is replaced by one
    /// of the same size and age is another one.
    #[cfg(unix)]
    identity: (u64, i64, i64),
}

impl<T> Live<T> {
    /// Reads the value for the first time. Blocking. Fails as `load` does.
    pub(crate) fn open(
        what: &'static str,
        files: Vec<PathBuf>,
        load: impl Fn(Reading) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let read = stamps(&files);
        let current = RwLock::new(Arc::new(load(Reading::First)?));
        Ok(Self {
            what,
            files,
            load: Box::new(load),
            current,
            seen: Mutex::new(Seen {
                last: read.clone(),
                read,
                not_taken: None,
            }),
            counts: Counts::default(),
        })
    }

    /// The value as it was read last.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files, which somebody has asked for or which looked like this.
    fn read(&self, stamps: Vec<Option<Stamp>>, is_asked: bool) {
        let mut seen = self.seen();
        // Taken before the files are read: what changes meanwhile is noticed at the next look.
        seen.last.clone_from(&stamps);
        let what = self.what;
        match (self.load)(Reading::Again) {
            Ok(value) => {
                seen.read = stamps;
                seen.not_taken = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                self.counts.taken.fetch_add(1, Ordering::Relaxed);
                tracing::info!(target: AUDIT, what, "read again");
            }
            Err(error) => {
                let failure = Some((stamps, error.to_string()));
                let is_known = std::mem::replace(&mut seen.not_taken, failure.clone()) == failure;
                if is_known && !is_asked {
                    return;
                }
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(target: AUDIT, what, %error, "not taken: what was read before stays in use");
            }
        }
    }
}

impl<T: Send + Sync> Reload for Live<T> {
    fn reload(&self) {
        self.read(stamps(&self.files), true);
    }

    fn poll(&self) {
        let now = stamps(&self.files);
        let mut seen = self.seen();
        let is_new = now != seen.read;
        let stands = now == seen.last;
        seen.last.clone_from(&now);
        drop(seen);
        if is_new && stands {
            self.read(now, false);
        }
    }
    fn what(&self) -> &'static str {
        self.what
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl<T> std::fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("what", &self.what)
            .field("files", &self.files)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Reloader {
    /// Has all files read again, soon: returns at once. Those that make no sense are not taken.
    pub fn reload(&self) {
        self.0.send_modify(|asked| *asked += 1);
    }

    /// Who asks from now on, and who has asked already.
    fn asked(&self) -> watch::Receiver<u64> {
        let mut asked = self.0.subscribe();
        if *asked.borrow() > 0 {
            asked.mark_changed();
        }
        asked
    }
}

/// Looks at the files every `pause` (never if that is zero), and reads them all when it is asked
/// to; for ever.
pub(crate) async fn watch(all: Vec<Arc<dyn Reload>>, reloader: Reloader, pause: Duration) {
    let all: Arc<[_]> = all.into();
    let mut asking = reloader.asked();
    loop {
        let asked = tokio::select! {
            // The sender is this function's own.
            _ = asking.changed() => true,
            () = tokio::time::sleep(pause), if !pause.is_zero() => false,
        };
        if asked {
            tracing::info!("asked to read the files again");
        }
        let all = Arc::clone(&all);
        let reading = tokio::task::spawn_blocking(move || {
            for one in &*all {
                if asked {
                    one.reload();
                } else {
                    one.poll();
                }
            }
        });
        if let Err(error) = reading.await {
            tracing::error!(%error, "reading files again failed");
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

/// None if there is no such file, or none that can be looked at.
pub(crate) fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp {
        bytes: metadata.len(),
        modified: metadata.modified().ok(),
        #[cfg(unix)]
        identity: {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        },
    })
}

#[cfg(test)]
mod tests {
    use dyno_core::{Error, ErrorKind};
    use tokio::sync::Notify;

    use super::*;

    struct Number {
        file: tempfile::NamedTempFile,
        live: Live<u32>,
    }

    impl Number {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), "1").unwrap();
            let path = file.path().to_owned();
            let live = Live::open("number", vec![path.clone()], move |_| {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                text.parse()
                    .map_err(|_| Error::new(ErrorKind::InvalidArgument, "no number"))
            });
            Self {
                file,
                live: live.unwrap(),
            }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.file.path(), text).unwrap();
        }

        /// The value, and how often one was taken and not.
        fn state(&self) -> (u32, u64, u64) {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let counts = &self.live.counts;
            let (taken, failed) = (count(&counts.taken), count(&counts.failed));
            (*self.live.current(), taken, failed)
        }
    }

    #[test]
    fn a_changed_file_is_read_once_it_stands_still() {
        let number = Number::new();
        number.live.poll();
        number.live.poll();
        assert_eq!(number.state(), (1, 0, 0), "nothing has changed");
        number.write("22");
        number.live.poll();
        assert_eq!(number.state(), (1, 0, 0), "it may still be written");
        number.write("333");
        number.live.poll();
        assert_eq!(number.state(), (1, 0, 0), "it was");
        number.live.poll();
        assert_eq!(number.state(), (333, 1, 0));
        number.live.poll();
        assert_eq!(number.state(), (333, 1, 0), "once");
    }

    #[test]
    fn rubbish_is_not_taken_and_told_of_once() {
        let number = Number::new();
        number.write("rubbish");
        for _ in 0..5 {
            number.live.poll();
        }
        assert_eq!(number.state(), (1, 0, 1));
        std::fs::remove_file(number.file.path()).unwrap();
        for _ in 0..5 {
            number.live.poll();
        }
        assert_eq!(number.state(), (1, 0, 2));
        number.write("4");
        number.live.poll();
        number.live.poll();
        assert_eq!(number.state(), (4, 1, 2));
    }

    /// A certificate may be good in a second from now, and a file be opened once others are closed.
    #[test]
    fn what_was_not_taken_is_tried_again_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let is_good = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let good = Arc::clone(&is_good);
        let load = move |_| {
            let number = good.load(Ordering::Relaxed).then_some(1);
            number.ok_or_else(|| Error::new(ErrorKind::Io, "not now"))
        };
        let live = Live::open("number", vec![file.path().into()], load).unwrap();
        let counts = || {
            let Counts { taken, failed } = &live.counts;
            [taken, failed].map(|count| count.load(Ordering::Relaxed))
        };
        is_good.store(false, Ordering::Relaxed);
        std::fs::write(file.path(), "new").unwrap();
        for _ in 0..4 {
            live.poll();
        }
        assert_eq!(counts(), [0, 1]);
        is_good.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            live.poll();
        }
        assert_eq!(counts(), [1, 1], "taken, and once");
    }

    #[cfg(unix)]
    #[test]
    fn a_replacement_of_the_same_size_and_age_is_noticed() {
        let number = Number::new();
        let old = std::fs::metadata(number.file.path()).unwrap();
        let folder = number.file.path().parent().unwrap();
        let other = tempfile::NamedTempFile::new_in(folder).unwrap();
        std::fs::write(other.path(), "9").unwrap();
        let times = std::fs::FileTimes::new().set_modified(old.modified().unwrap());
        other.as_file().set_times(times).unwrap();
        std::fs::rename(other.path(), number.file.path()).unwrap();
        number.live.poll();
        number.live.poll();
        assert_eq!(number.state(), (9, 1, 0));
    }

    /// Tells when it has been read.
    struct Shared(Arc<Number>, Notify);

    impl Reload for Shared {
        fn reload(&self) {
            self.0.live.reload();
            self.1.notify_one();
        }

        fn poll(&self) {}

        fn what(&self) -> &'static str {
            self.0.live.what()
        }

        fn counts(&self) -> &Counts {
            self.0.live.counts()
        }
    }

    #[tokio::test]
    async fn whoever_asks_has_everything_read() {
        let number = Arc::new(Number::new());
        let reloader = Reloader::default();
        let shared = Arc::new(Shared(Arc::clone(&number), Notify::new()));
        let watching = tokio::spawn(super::watch(
            vec![shared.clone()],
            reloader.clone(),
            Duration::ZERO,
        ));
        number.write("7");
        reloader.reload();
        shared.1.notified().await;
        assert_eq!(number.state(), (7, 1, 0));
        watching.abort();
    }
}

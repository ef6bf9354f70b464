//! The log on its way to standard error: by a thread of its own, so that requests do not wait for whoever
//! reads it. Lines that nobody takes in time are dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Lines that wait at most: about a megabyte.
const MAX_LINES: usize = 4096;
/// Lines written at once at most.
const MAX_AT_ONCE: usize = 256;
/// How long a line waits for others to be written with: under load a thread that wakes for each line costs more
/// than the lines.
const GATHER: Duration = Duration::from_millis(50);
/// Between two tries to say that no more lines come.
const TRY: Duration = Duration::from_millis(10);

/// Takes lines; each call of [`Write::write`] is one.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// All that came before has been written.
    Last(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread. Fails if there can be none.
    pub(crate) fn start(log: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(MAX_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&queue, log, &counted))?;
        Ok(Self { lines, dropped })
    }

    /// Waits until everything is written, at most that long.
    pub(crate) fn flush(&self, patience: Duration) {
        let limit = Instant::now() + patience;
        let (done, is_done) = sync_channel(1);
        let mut last = Line::Last(done);
        while let Err(error) = self.lines.try_send(last) {
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            match error {
                Full(line) if Instant::now() < limit => last = line,
                Full(_) | Disconnected(_) => return,
            }
            std::thread::sleep(TRY);
        }
        // Neither comes where nobody reads the log.
        let _ = is_done.recv_timeout(limit.saturating_duration_since(Instant::now()));
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Line::Text(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(queue: &Receiver<Line>, mut log: impl Write, dropped: &AtomicU64) {
    while let Ok(first) = queue.recv() {
        if matches!(first, Line::Text(_)) {
            std::thread::sleep(GATHER);
        }
        write_waiting(first, queue, &mut log);
        let lines = dropped.swap(0, Ordering::Relaxed);
        if lines > 0 {
            tracing::warn!(
                lines,
                "lines of this log are missing: it is not read fast enough"
            );
        }
    }
}

/// Writes all lines that are there, without a rest: at any rate the queue is emptied as fast as it can be written.
fn write_waiting(first: Line, queue: &Receiver<Line>, log: &mut impl Write) {
    let mut lines = std::iter::once(first).chain(queue.try_iter()).peekable();
    let mut text = Vec::new();
    // A log that cannot be written is no reason to stop, and there is nobody to tell.
    let mut write = |text: &mut Vec<u8>| {
        let _ = log.write_all(text);
        text.clear();
    };
    while lines.peek().is_some() {
        for line in lines.by_ref().take(MAX_AT_ONCE) {
            match line {
                Line::Text(line) => text.extend(line),
                Line::Last(done) => {
                    write(&mut text);
                    let _ = done.try_send(());
                }
            }
        }
        write(&mut text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes a line when it is let.
    struct Slow(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_the_others_come_in_order() {
        let (take, taken) = sync_channel(2 * MAX_LINES);
        let written = Arc::default();
        let mut writer = LogWriter::start(Slow(taken, Arc::clone(&written))).unwrap();
        let all = MAX_LINES + MAX_AT_ONCE + 10;
        for number in 0..all {
            writer.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // Some may have been on their way already.
        let dropped = writer.dropped.load(Ordering::Relaxed);
        assert!(dropped >= 10, "{dropped}");
        writer.flush(Duration::ZERO);
        for _ in 0..2 * MAX_LINES {
            take.send(()).unwrap();
        }
        writer.flush(Duration::from_secs(30));
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let numbers: Vec<usize> = written.lines().map(|line| line.parse().unwrap()).collect();
        assert!(numbers.is_sorted());
        assert_eq!(numbers.len() + usize::try_from(dropped).unwrap(), all);
    }

    #[test]
    fn all_that_wait_are_written_in_one_go_and_in_few_writes() {
        struct Counted(Vec<usize>);
        impl Write for Counted {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (lines, queue) = sync_channel(MAX_LINES);
        for _ in 0..2 * MAX_AT_ONCE + 9 {
            lines.send(Line::Text(b"x".to_vec())).unwrap();
        }
        let mut log = Counted(Vec::new());
        write_waiting(Line::Text(b"x".to_vec()), &queue, &mut log);
        assert_eq!(log.0, [MAX_AT_ONCE, MAX_AT_ONCE, 10]);
    }

    #[test]
    fn a_log_that_fails_takes_the_next_line_all_the_same() {
        let (take, taken) = sync_channel(1);
        drop(take);
        let mut writer = LogWriter::start(Slow(taken, Arc::default())).unwrap();
        for _ in 0..3 {
            assert_eq!(writer.write(b"line\n").unwrap(), 5);
            writer.flush(Duration::from_secs(30));
        }
        assert_eq!(writer.dropped.load(Ordering::Relaxed), 0);
    }
}

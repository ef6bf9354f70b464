//! The same work on many items, by as many threads as there are cores.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, ErrorKind, Result};

/// As many workers as the machine has cores.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// `work(worker, item)` for the items 0 to `count`, the results in the order of the items. Stops at
/// the first error.
pub(super) fn in_parallel<T: Send>(
    workers: usize,
    count: usize,
    work: impl Fn(usize, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let share = |worker: usize| -> Result<Vec<(usize, T)>> {
        let mut done = Vec::new();
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            if item >= count {
                return Ok(done);
            }
            match work(worker, item) {
                Ok(result) => done.push((item, result)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let mut results = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        let share = &share;
        let threads: Vec<_> = (0..workers.clamp(1, count.max(1)))
            .map(|worker| scope.spawn(move || share(worker)))
            .collect();
        for thread in threads {
            let done = thread.join().unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Internal,
                    "a measuring thread ended early",
                ))
            });
            results.extend(done?);
        }
        Ok::<(), Error>(())
    })?;
    results.sort_by_key(|(item, _)| *item);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let squares = in_parallel(3, 100, |_, item| Ok(item * item)).unwrap();
        assert!(
            squares
                .iter()
                .enumerate()
                .all(|(i, &square)| square == i * i)
        );
        assert!(in_parallel(3, 0, |_, item| Ok(item)).unwrap().is_empty());
    }

    #[test]
    fn an_error_ends_the_work() {
        let done = AtomicUsize::new(0);
        let failed = in_parallel(2, 10_000, |_, item| {
            done.fetch_add(1, Ordering::Relaxed);
            if item == 5 {
                return Err(Error::new(ErrorKind::Internal, "five"));
            }
            std::thread::yield_now();
            Ok(item)
        });
        assert_eq!(failed.unwrap_err().to_string(), "five");
        assert!(done.into_inner() < 10_000);
    }
}

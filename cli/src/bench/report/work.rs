//! Simulates the cells that are missing, on every core.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use super::cell::Cell;
use super::grid::{Grid, Job};
use crate::progress;

/// Every cell in the order of the grid, and how many of them were simulated now. Each is kept in
/// `folder` as soon as it is known.
pub(super) fn all_cells(grid: &Grid, folder: &Path) -> Result<(Vec<Cell>, usize)> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut cells: Vec<(usize, Cell)> = Vec::new();
    let mut missing: Vec<(usize, Job<'_>)> = Vec::new();
    for (index, job) in grid.jobs().into_iter().enumerate() {
        match Cell::read(folder, &job.key)? {
            Some(cell) => cells.push((index, cell)),
            None => missing.push((index, job)),
        }
    }
    let simulated = missing.len();
    cells.extend(simulate_all(&missing, folder)?);
    cells.sort_by_key(|(index, _)| *index);
    Ok((cells.into_iter().map(|(_, cell)| cell).collect(), simulated))
}

fn simulate_all(jobs: &[(usize, Job<'_>)], folder: &Path) -> Result<Vec<(usize, Cell)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bar = progress::bar(jobs.len().max(1) as u64, "simulating cells");
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Cell)>> {
        let mut done = Vec::new();
        while let Some((index, job)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let cell = Cell::simulate(job);
            if let Err(error) = cell.write(folder) {
                // The others need not go on for what cannot be kept.
                next.store(jobs.len(), Ordering::Relaxed);
                return Err(error);
            }
            done.push((*index, cell));
            bar.inc(1);
        }
        Ok(done)
    };
    let cells = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(jobs.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut cells = Vec::with_capacity(jobs.len());
        for worker in workers {
            match worker.join() {
                Ok(done) => cells.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(cells)
    });
    bar.finish_and_clear();
    cells
}

//! A device slower than this machine: it runs the real spans and then waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyno_core::Result;
use dyno_core::runtime::{Activation, Cancel, DeviceExecutor, Executor, SpanRun};

/// How often a wait looks whether anybody still wants its span.
const CANCEL_LOOK: Duration = Duration::from_millis(10);

/// Runs spans so many times slower than this machine does.
#[derive(Debug)]
pub(crate) struct SlowDevice {
    device: Arc<DeviceExecutor>,
    slowdown: f64,
}

impl SlowDevice {
    /// `slowdown` is at least 1.
    pub(crate) fn new(device: Arc<DeviceExecutor>, slowdown: f64) -> Self {
        Self {
            device,
            slowdown: slowdown.max(1.0),
        }
    }
}

impl Executor for SlowDevice {
    fn ready_cuts(&self) -> Vec<usize> {
        self.device.ready_cuts()
    }

    fn request(&self, cut: usize) {
        self.device.request(cut);
    }

    fn prepare(&self, cut: usize) -> Result<()> {
        self.device.prepare(cut)
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        let mut run = self.device.run(input, to, cancel)?;
        let end = Instant::now() + run.elapsed.mul_f64(self.slowdown - 1.0);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            cancel.check()?;
            std::thread::sleep(left.min(CANCEL_LOOK));
        }
        run.elapsed = run.elapsed.mul_f64(self.slowdown);
        Ok(run)
    }
}

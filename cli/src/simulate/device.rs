//! The device of a stream in virtual time: one thing after the other, and tails that it resumes in between.

use std::collections::VecDeque;

/// What the device has computed until when, and which tails it will resume.
///
/// A resumed tail begins when it is due and holds up the head it falls into by as long as it takes.
/// The true device lets the head end first, which is as much work in another order.
#[derive(Debug, Default)]
pub(super) struct Device {
    free_ms: f64,
    /// Tails to come: from and until, in order and not overlapping.
    resumed: VecDeque<(f64, f64)>,
}

impl Device {
    /// When it can begin with the next head.
    pub(super) fn free_ms(&self) -> f64 {
        self.free_ms
    }

    /// Computes for `takes_ms`, from `from_ms` on or as soon as it can; returns the end.
    pub(super) fn compute(&mut self, from_ms: f64, takes_ms: f64) -> f64 {
        let start_ms = from_ms.max(self.free_ms);
        let mut end_ms = start_ms + takes_ms;
        while let Some(&(from_ms, until_ms)) = self.resumed.front()
            && from_ms < end_ms
        {
            end_ms += (until_ms - from_ms.max(start_ms)).max(0.0);
            self.resumed.pop_front();
        }
        self.free_ms = end_ms;
        end_ms
    }

    /// When a tail that is due at `due_ms`, no earlier than what was begun last, would begin.
    pub(super) fn resumes_ms(&self, due_ms: f64) -> f64 {
        let after_ms = self.resumed.back().map_or(0.0, |&(_, until_ms)| until_ms);
        due_ms.max(after_ms).max(self.free_ms)
    }

    /// Computes a tail from then on, until it has ended or is not needed any more.
    pub(super) fn resume(&mut self, from_ms: f64, until_ms: f64) {
        self.resumed.push_back((from_ms, until_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_ms(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    #[test]
    fn a_tail_holds_up_the_head_it_falls_into_by_what_it_takes() {
        let mut device = Device::default();
        assert_ms(device.compute(0.0, 10.0), 10.0);
        let from_ms = device.resumes_ms(25.0);
        device.resume(from_ms, from_ms + 4.0);
        assert_ms(device.compute(10.0, 10.0), 20.0);
        assert_ms(device.compute(20.0, 10.0), 34.0);
        assert_ms(device.compute(34.0, 10.0), 44.0);
    }

    #[test]
    fn a_tail_that_began_while_the_device_was_idle_holds_up_what_is_left_of_it() {
        let mut device = Device::default();
        device.resume(5.0, 15.0);
        assert_ms(device.compute(12.0, 10.0), 25.0);
        device.resume(30.0, 31.0);
        assert_ms(device.compute(40.0, 10.0), 50.0);
    }

    #[test]
    fn tails_run_one_after_the_other() {
        let mut device = Device::default();
        for _ in 0..2 {
            let from_ms = device.resumes_ms(5.0);
            device.resume(from_ms, from_ms + 3.0);
        }
        assert_ms(device.resumes_ms(5.0), 11.0);
        assert_ms(device.compute(0.0, 10.0), 16.0);
    }
}

//! How the threads that read and write share a core with one that computes.
//!
//! The one place of the server with `unsafe` beside the switch of ONNX Runtime's telemetry: a call into
//! the C library, which takes plain numbers and changes the calling thread only.

/// Keeps this thread from breaking into a run whenever a frame arrives.
///
/// Linux lets a thread that wakes take the core from one that computes, and each frame of a body wakes
/// one: measured on one full core, two to three times a request, after which the run found its caches
/// cold; without it the server did 2 % more requests. A thread of `SCHED_BATCH` gets its turn when the
/// other waits, yields or has used its slice up (about 3 ms), and at once where a core is idle. Threads
/// that it starts are ordinary ones again.
///
/// Where that is refused, and where there is no glibc (musl has no such call), all stays as it is.
pub(crate) fn let_runs_finish() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let policy = libc::SCHED_BATCH | libc::SCHED_RESET_ON_FORK;
        let param = libc::sched_param { sched_priority: 0 };
        // SAFETY: `param` is alive during the call, which only reads it; 0 is the calling thread.
        #[allow(unsafe_code)]
        let _ = unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
    }
}

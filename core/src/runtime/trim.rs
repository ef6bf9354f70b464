//! Giving memory back to the system after sessions are dropped.
//!
//! One of the two places with `unsafe`: two calls into the C library, which take and return plain numbers.

/// Asks the allocator to return what is free.
///
/// ONNX Runtime frees a session's memory into the C library's heaps, which keep it: after a move
/// to another cut a process of `MobileNetV2` held 1.6 times what it needed, for good.
pub(super) fn give_back_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `malloc_trim` takes a number, may be called at any time from any thread, and
        // touches only memory that no one has allocated.
        #[allow(unsafe_code)]
        let _ = unsafe { libc::malloc_trim(0) };
    }
    #[cfg(target_os = "android")]
    {
        /// bionic's `M_PURGE`, which the `libc` crate does not name.
        const M_PURGE: libc::c_int = -101;
        // SAFETY: `mallopt` with `M_PURGE` ignores its second number, may be called at any time
        // from any thread, and touches only memory that no one has allocated.
        #[allow(unsafe_code)]
        let _ = unsafe { libc::mallopt(M_PURGE, 0) };
    }
}

//! Giving memory back to the system after sessions are dropped.
//!
//! One of the places with `unsafe`: a call into the C library, which takes and returns plain numbers, and on Android the
//! search for it.

/// Asks the allocator to return what is free.
///
/// ONNX Runtime frees a session's memory into the C library's heaps, which keep it: after a move
/// to another cut a process of `MobileNetV2` held 1.6 times what it needed, for good.
pub fn give_back_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `malloc_trim` takes a number, may be called at any time from any thread, and
        // touches only memory that no one has allocated.
        #[allow(unsafe_code)]
        let _ = unsafe { libc::malloc_trim(0) };
    }
    #[cfg(target_os = "android")]
    purge();
}

/// `mallopt` came with Android 8: it is looked up, so that the library loads on Android 7 too.
#[cfg(target_os = "android")]
#[allow(unsafe_code)]
fn purge() {
    /// bionic's `M_PURGE`, which the `libc` crate does not name. Where it is not known (before
    /// Android 9), nothing happens.
    const M_PURGE: libc::c_int = -101;
    type Mallopt = unsafe extern "C" fn(libc::c_int, libc::c_int) -> libc::c_int;

    // SAFETY: the name ends with a zero; the call reads nothing else.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallopt".as_ptr()) };
    if found.is_null() {
        return;
    }
    // SAFETY: bionic's `mallopt` takes two ints and returns one.
    let mallopt = unsafe { std::mem::transmute::<*mut libc::c_void, Mallopt>(found) };
    // SAFETY: with `M_PURGE` it ignores its second number, may be called at any time from any
    // thread, and touches only memory that no one has allocated.
    let _ = unsafe { mallopt(M_PURGE, 0) };
}

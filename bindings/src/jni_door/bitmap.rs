//! The pixels of an Android bitmap, borrowed while they are locked.
//!
//! `libjnigraphics` is looked up at run time: other JVMs have none, and the library of the SDK
//! loads there as well.
//! <https://developer.android.com/ndk/reference/group/bitmap>

use std::ffi::c_void;
use std::ptr;

use jni::objects::JObject;
use jni::sys::{JNIEnv, jobject};
use jni::{Env, jni_str};
use libloading::Library;
use once_cell::sync::OnceCell;

use crate::error::{DynoError, ErrorKind, Result};
use crate::frame::{Orientation, PixelFormat, PixelLayout, Region};

/// `ANDROID_BITMAP_RESULT_SUCCESS`.
const SUCCESS: i32 = 0;
/// `ANDROID_BITMAP_FORMAT_RGBA_8888`: what Java calls `ARGB_8888`.
const RGBA_8888: i32 = 1;
/// Longest buffer that is believed: no bitmap has more, and a slice may not either.
const MAX_BYTES: usize = isize::MAX as usize;

/// `AndroidBitmapInfo`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Info {
    width: u32,
    height: u32,
    stride: u32,
    format: i32,
    flags: u32,
}

type GetInfo = unsafe extern "C" fn(*mut JNIEnv, jobject, *mut Info) -> i32;
type LockPixels = unsafe extern "C" fn(*mut JNIEnv, jobject, *mut *mut c_void) -> i32;
type UnlockPixels = unsafe extern "C" fn(*mut JNIEnv, jobject) -> i32;

/// The three functions of `libjnigraphics`.
#[derive(Clone, Copy)]
struct Functions {
    get_info: GetInfo,
    lock_pixels: LockPixels,
    unlock_pixels: UnlockPixels,
}

impl Functions {
    /// Looked up once; fails where there is no such library.
    fn get() -> Result<Self> {
        static FUNCTIONS: OnceCell<Option<Functions>> = OnceCell::new();
        let functions = FUNCTIONS.get_or_init(|| Self::load().ok());
        functions.ok_or_else(|| DynoError::invalid("this system has no libjnigraphics"))
    }

    fn load() -> std::result::Result<Self, libloading::Error> {
        // SAFETY: a library of the system, whose initialisers are Android's.
        let library = unsafe { Library::new("libjnigraphics.so")? };
        // SAFETY: the names and types of <android/bitmap.h>.
        let functions = unsafe {
            Self {
                get_info: *library.get::<GetInfo>(b"AndroidBitmap_getInfo\0")?,
                lock_pixels: *library.get::<LockPixels>(b"AndroidBitmap_lockPixels\0")?,
                unlock_pixels: *library.get::<UnlockPixels>(b"AndroidBitmap_unlockPixels\0")?,
            }
        };
        // The functions are used for the process's life.
        std::mem::forget(library);
        Ok(functions)
    }
}

/// A bitmap whose pixels stay where they are for as long as this lives.
pub(super) struct Locked<'a> {
    functions: Functions,
    env: *mut JNIEnv,
    bitmap: &'a JObject<'a>,
    info: Info,
    pixels: *const u8,
}

impl<'a> Locked<'a> {
    /// Locks the pixels of `bitmap`, an `android.graphics.Bitmap` of `ARGB_8888`.
    ///
    /// Fails if it is none, has another format or lies in graphics memory. One that was recycled is for
    /// the caller to refuse: old versions of Android end the process.
    pub(super) fn lock(env: &mut Env<'_>, bitmap: &'a JObject<'a>) -> Result<Self> {
        let functions = Functions::get()?;
        let is_bitmap = env.is_instance_of(bitmap, jni_str!("android/graphics/Bitmap"));
        if !is_bitmap.unwrap_or(false) {
            return Err(DynoError::invalid(
                "the object is no android.graphics.Bitmap",
            ));
        }
        let env = env.get_raw();
        let mut info = Info::default();
        // SAFETY: `env` is this thread's; `bitmap` is a live reference to a bitmap, as was checked
        // above; `info` is a structure of the declared layout.
        let found = unsafe { (functions.get_info)(env, bitmap.as_raw(), &raw mut info) };
        if found != SUCCESS {
            return Err(refused("has no pixels that can be asked for", found));
        }
        if info.format != RGBA_8888 {
            return Err(refused("is not of ARGB_8888", info.format));
        }
        let mut pixels = ptr::null_mut();
        // SAFETY: as above; `pixels` takes the address.
        let locked = unsafe { (functions.lock_pixels)(env, bitmap.as_raw(), &raw mut pixels) };
        if locked != SUCCESS {
            return Err(refused("cannot be locked", locked));
        }
        let locked = Self {
            functions,
            env,
            bitmap,
            info,
            pixels: pixels.cast(),
        };
        if locked.pixels.is_null() {
            return Err(refused("was locked at address", 0));
        }
        Ok(locked)
    }

    /// The pixels, row by row, each row of the stride's length.
    pub(super) fn pixels(&self) -> &[u8] {
        let (stride, height) = (self.info.stride as usize, self.info.height as usize);
        let length = stride
            .checked_mul(height)
            .filter(|&length| length <= MAX_BYTES);
        // SAFETY: the system says that `height` rows of `stride` bytes lie at `pixels`, which is
        // not null, and keeps them there until they are unlocked, when `self` is dropped. An app
        // that draws into the bitmap meanwhile breaks the contract of the call (documented).
        unsafe { std::slice::from_raw_parts(self.pixels, length.unwrap_or(0)) }
    }

    /// How they lie.
    pub(super) fn layout(&self, orientation: Orientation, region: Option<Region>) -> PixelLayout {
        PixelLayout {
            width: self.info.width,
            height: self.info.height,
            row_stride_bytes: self.info.stride,
            format: PixelFormat::Rgba8,
            orientation,
            region,
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: locked by `lock`, on this thread: a raw environment keeps `Self` from others.
        let _ = unsafe { (self.functions.unlock_pixels)(self.env, self.bitmap.as_raw()) };
    }
}

fn refused(what: &str, code: i32) -> DynoError {
    DynoError::new(
        ErrorKind::InvalidImage,
        format!("the bitmap {what} ({code})"),
    )
}

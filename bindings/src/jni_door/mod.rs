//! The JNI door: the two calls that UniFFI cannot make, in the same library.
//!
//! `ai.dyno.DynoNative.install` gives the process a context: on Android TLS verifies certificates
//! through it, and the log goes to logcat. `stageBitmap` stages an Android bitmap where it lies,
//! without a copy. Both are optional: without a context a root certificate will do, and what cannot
//! be staged here is staged from a buffer.
//!
//! Exported on every platform, so that a JVM can test them.
#![allow(
    unsafe_code,
    reason = "exported names, and bitmap.rs, which borrows pixels that the system locked"
)]

mod bitmap;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jni::errors::LogErrorAndDefault;
use jni::objects::{JClass, JObject};
use jni::sys::{jint, jlong};
use jni::{Env, EnvUnowned};

use crate::client::Inner;
use crate::error::{DynoError, Result};
use crate::frame::{Orientation, Region};

/// The clients of this process, by the number that Kotlin holds.
static CLIENTS: Mutex<Option<HashMap<u64, Weak<Inner>>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Makes a client known to the door; returns its number.
pub(crate) fn register(client: &Arc<Inner>) -> u64 {
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let clients = clients.get_or_insert_default();
    clients.retain(|_, client| client.strong_count() > 0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    clients.insert(number, Arc::downgrade(client));
    number
}

fn find(number: u64) -> Result<Arc<Inner>> {
    let clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let client = clients.as_ref().and_then(|clients| clients.get(&number));
    client.and_then(Weak::upgrade).ok_or_else(|| {
        DynoError::invalid(format!("no client has the number {number}: it was closed"))
    })
}

/// Whether certificates can be verified by what the system trusts.
pub(crate) fn can_verify() -> bool {
    #[cfg(target_os = "android")]
    return android::HAS_CONTEXT.load(Ordering::Acquire);
    #[cfg(not(target_os = "android"))]
    true
}

/// Tells the JVM of a thread of the runtime, for the thread's life.
///
/// On Android alone: other JVMs wait for such threads before they exit, and these have no end.
pub(crate) fn attach_current_thread() {
    #[cfg(target_os = "android")]
    android::attach_current_thread();
}

/// `DynoNative.install(context: Any)`: once for a process; further calls change nothing.
#[unsafe(no_mangle)]
extern "system" fn Java_ai_dyno_DynoNative_install<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    context: JObject<'local>,
) {
    env.with_env(|env| install(env, context))
        .resolve::<LogErrorAndDefault>();
}

/// `DynoNative.stageBitmap(client, bitmap, exifOrientation, left, top, width, height): Long`.
///
/// Returns a ticket for [`crate::NativeClient::infer_ticket`], or 0 if the bitmap cannot be staged
/// here: whoever called stages it from a buffer then, and learns what is wrong with it, if
/// anything is. A width of 0 stands for the whole bitmap.
#[unsafe(no_mangle)]
extern "system" fn Java_ai_dyno_DynoNative_stageBitmap<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    client: jlong,
    bitmap: JObject<'local>,
    exif_orientation: jint,
    left: jint,
    top: jint,
    width: jint,
    height: jint,
) -> jlong {
    env.with_env(|env| -> jni::errors::Result<jlong> {
        let placed = Placement::parse(exif_orientation, [left, top, width, height]);
        let ticket = placed.and_then(|placed| stage(env, client, &bitmap, placed));
        Ok(ticket.unwrap_or_else(|error| {
            log::debug!("a bitmap is staged from a buffer: {error}");
            0
        }))
    })
    .resolve::<LogErrorAndDefault>()
}

/// How a bitmap is turned, and which part of it is looked at.
#[derive(Debug, Clone, Copy)]
struct Placement {
    orientation: Orientation,
    region: Option<Region>,
}

impl Placement {
    fn parse(exif_orientation: jint, region: [jint; 4]) -> Result<Self> {
        const BY_EXIF: [Orientation; 8] = [
            Orientation::Up,
            Orientation::UpMirrored,
            Orientation::Down,
            Orientation::DownMirrored,
            Orientation::LeftMirrored,
            Orientation::Right,
            Orientation::RightMirrored,
            Orientation::Left,
        ];
        let orientation = usize::try_from(exif_orientation)
            .ok()
            .and_then(|exif| BY_EXIF.get(exif.wrapping_sub(1)))
            .ok_or_else(|| {
                DynoError::invalid(format!(
                    "an EXIF orientation of {exif_orientation}: use 1 to 8"
                ))
            })?;
        let positive = |side: jint| {
            let error = || DynoError::invalid(format!("a region with a side of {side}"));
            u32::try_from(side).map_err(|_| error())
        };
        let [left, top, width, height] = region;
        let region = if width == 0 {
            None
        } else {
            Some(Region {
                left: positive(left)?,
                top: positive(top)?,
                width: positive(width)?,
                height: positive(height)?,
            })
        };
        Ok(Self {
            orientation: *orientation,
            region,
        })
    }
}

fn stage(
    env: &mut Env<'_>,
    client: jlong,
    bitmap: &JObject<'_>,
    placed: Placement,
) -> Result<jlong> {
    let inner = find(client.cast_unsigned())?;
    let client = inner.client()?;
    let locked = bitmap::Locked::lock(env, bitmap)?;
    let layout = locked.layout(placed.orientation, placed.region);
    let staged = client.stage(&layout.lay_out(locked.pixels())?)?;
    Ok(inner.tickets().issue(staged).cast_signed())
}

#[cfg(target_os = "android")]
fn install(env: &mut Env<'_>, context: JObject<'_>) -> jni::errors::Result<()> {
    android::install(env, context)
}

/// A JVM elsewhere has its own log and the system's certificates.
#[cfg(not(target_os = "android"))]
#[allow(clippy::unnecessary_wraps, reason = "fails on Android")]
fn install(_env: &mut Env<'_>, _context: JObject<'_>) -> jni::errors::Result<()> {
    Ok(())
}

#[cfg(target_os = "android")]
mod android {
    use std::sync::atomic::{AtomicBool, Ordering};

    use jni::objects::JObject;
    use jni::{Env, JavaVM};

    pub(super) static HAS_CONTEXT: AtomicBool = AtomicBool::new(false);

    pub(super) fn install(env: &mut Env<'_>, context: JObject<'_>) -> jni::errors::Result<()> {
        android_logger::init_once(
            android_logger::Config::default()
                .with_tag("dyno")
                .with_max_level(log::LevelFilter::Info),
        );
        rustls_platform_verifier::android::init_with_env(env, context)?;
        HAS_CONTEXT.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn attach_current_thread() {
        let Ok(vm) = JavaVM::singleton() else { return };
        if let Err(error) = vm.attach_current_thread(|_| Ok::<_, jni::errors::Error>(())) {
            log::warn!("a thread of the SDK could not be attached to the JVM: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_are_parsed() {
        let placed = Placement::parse(6, [1, 2, 3, 4]).unwrap();
        assert_eq!(placed.orientation, Orientation::Right);
        let region = Region {
            left: 1,
            top: 2,
            width: 3,
            height: 4,
        };
        assert_eq!(placed.region, Some(region));
        assert_eq!(Placement::parse(1, [9, 9, 0, 9]).unwrap().region, None);
        for (exif, region) in [(0, [0; 4]), (9, [0; 4]), (-1, [0; 4]), (1, [-1, 0, 1, 1])] {
            assert!(Placement::parse(exif, region).is_err());
        }
    }

    #[test]
    fn a_number_that_nobody_has_finds_nobody() {
        assert!(find(u64::MAX).is_err());
    }
}

//! Progress bars on the terminal, silent where there is none.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar without a count moves.
const TICK: Duration = Duration::from_millis(100);

/// A bar that counts to `total` (or spins, if that is 0), headed by `message`.
pub(crate) fn bar(total: u64, message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = if total == 0 {
        "{spinner} {msg}"
    } else {
        "{msg:24} {bar:30} {pos}/{len}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(message);
    if total == 0 {
        bar.enable_steady_tick(TICK);
    }
    bar
}

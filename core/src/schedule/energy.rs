//! What an inference costs the battery, by the powers of its stages.
//!
//! A model with constants, not a measurement: no phone tells an app what it draws. Radio powers are
//! those of Huang et al. 2012 ("A close examination of performance and power characteristics
//! of 4G LTE networks", table 4): LTE 1288 mW and 438 mW more for each Mbit/s up,
//! Wi-Fi 133 mW and 283 mW. The processor's is what a big core of a phone draws under load.

use super::network::{Network, NetworkKind};

/// One big core under load, in watts (joules a second, millijoules a millisecond).
const COMPUTE_W: f64 = 2.0;
/// The rest of the device while it waits for an answer.
const WAIT_W: f64 = 0.25;
/// A radio that sends: its base power, and watts for each Mbit/s.
const CELLULAR_W: (f64, f64) = (1.288, 0.438);
const WIFI_W: (f64, f64) = (0.133, 0.283);

/// Powers on one network, in watts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    send_w: f64,
    wait_w: f64,
}

impl Power {
    /// While `network` sends at `rate_bps`.
    pub fn new(network: Network, rate_bps: f64) -> Self {
        let (base_w, per_mbit_w) = match network.kind {
            NetworkKind::Wifi => WIFI_W,
            NetworkKind::Ethernet | NetworkKind::None => (0.0, 0.0),
            NetworkKind::Cellular | NetworkKind::Other => CELLULAR_W,
        };
        Self {
            send_w: base_w + per_mbit_w * rate_bps / 1e6,
            // The radio stays at its base power until the answer is there.
            wait_w: WAIT_W + base_w,
        }
    }

    /// Millijoules of a call that computes, sends and waits for so many milliseconds.
    pub fn energy_mj(&self, compute_ms: f64, send_ms: f64, wait_ms: f64) -> f64 {
        compute_ms * COMPUTE_W + send_ms * self.send_w + wait_ms * self.wait_w
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_over_lte_costs_more_than_over_wifi() {
        let on = |kind| {
            let network = Network {
                kind,
                metered: false,
            };
            Power::new(network, 5e6).energy_mj(10.0, 100.0, 40.0)
        };
        let (lte, wifi) = (on(NetworkKind::Cellular), on(NetworkKind::Wifi));
        assert!(lte > wifi, "{lte} {wifi}");
        // 10 ms at 2 W, 100 ms at 0.133 + 5 · 0.283 W, 40 ms at 0.25 + 0.133 W.
        assert!((wifi - 190.12).abs() < 0.01, "{wifi}");
    }
}

//! How much each client may use: token buckets of requests, bytes and compute.
//!
//! A bucket holds [`BURST_S`] seconds of its rate and is refilled all the time. Requests and bytes
//! are taken before a body is read; compute is known only behind the run, is taken then, and may
//! leave a debt that later requests wait for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::ClientId;
use crate::config::Config;
use crate::timing::{Timing, millis};

/// What a bucket holds, in seconds of its rate.
pub(crate) const BURST_S: f64 = 4.0;
/// Clients that are remembered; beyond, those that were not heard of for longest start anew.
const MAX_ACCOUNTS: usize = 16_384;
/// Most bytes that are taken for one request: every route refuses larger bodies.
const MAX_BYTES: u64 = 64 << 20;
/// Longest debt, in seconds of the rate: one long run must not shut a client out for hours.
const MAX_DEBT_S: f64 = 60.0;

/// What a client may use in a second; infinite: as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
    pub(crate) compute_ms: f64,
}

/// Rates that differ for one client.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct OwnRates {
    pub(crate) requests: Option<f64>,
    pub(crate) bytes: Option<f64>,
    pub(crate) compute_ms: Option<f64>,
}

impl OwnRates {
    pub(super) fn all(self) -> impl Iterator<Item = f64> {
        [self.requests, self.bytes, self.compute_ms]
            .into_iter()
            .flatten()
    }
}

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    Client(ClientId),
    /// Somebody that no name is known of; with IPv6 a network of 64 bits.
    Address(IpAddr),
}

/// The budgets of all clients.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<HashMap<Payer, Account>>);

#[derive(Debug)]
struct Account {
    requests: Bucket,
    bytes: Bucket,
    compute_ms: Bucket,
    used: Instant,
}

#[derive(Debug)]
struct Bucket {
    /// Below zero: a debt.
    level: f64,
    filled: Instant,
}

impl Rates {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            requests: config.client_requests_per_s.unwrap_or(f64::INFINITY),
            bytes: config.client_bytes_per_s.unwrap_or(f64::INFINITY),
            compute_ms: config.client_compute_ms_per_s.unwrap_or(f64::INFINITY),
        }
    }

    /// These, but for what a client has of its own.
    pub(crate) fn with(self, own: OwnRates) -> Self {
        Self {
            requests: own.requests.unwrap_or(self.requests),
            bytes: own.bytes.unwrap_or(self.bytes),
            compute_ms: own.compute_ms.unwrap_or(self.compute_ms),
        }
    }

    fn are_unlimited(self) -> bool {
        [self.requests, self.bytes, self.compute_ms]
            .iter()
            .all(|rate| rate.is_infinite())
    }
}

impl Budgets {
    /// Takes a request with a body of so many bytes from the payer's budget. Fails, and takes
    /// nothing, with the time after which there is enough.
    pub(crate) fn take(&self, payer: &Payer, rates: Rates, bytes: u64) -> Result<(), Duration> {
        if rates.are_unlimited() {
            return Ok(());
        }
        let now = Instant::now();
        let mut accounts = self.accounts();
        if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(payer) {
            forget(&mut accounts);
        }
        let account = accounts
            .entry(payer.clone())
            .or_insert_with(|| Account::new(rates, now));
        account.used = now;
        account.take(rates, bytes.min(MAX_BYTES), now)
    }

    /// Gives back bytes that were taken and then not read.
    pub(crate) fn give_back(&self, payer: &Payer, rates: Rates, bytes: u64) {
        if rates.are_unlimited() {
            return;
        }
        if let Some(account) = self.accounts().get_mut(payer) {
            account.bytes.add(rates.bytes, bytes.min(MAX_BYTES) as f64);
        }
    }

    /// Takes the compute of a request that has been run.
    pub(crate) fn charge(&self, payer: &Payer, rates: Rates, timing: &Timing) {
        if rates.are_unlimited() {
            return;
        }
        let now = Instant::now();
        if let Some(account) = self.accounts().get_mut(payer) {
            account.compute_ms.fill(rates.compute_ms, now);
            account
                .compute_ms
                .add(rates.compute_ms, -millis(timing.compute));
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Payer, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the half that was not used for longest.
fn forget(accounts: &mut HashMap<Payer, Account>) {
    let mut uses: Vec<_> = accounts.values().map(|account| account.used).collect();
    let middle = uses.len() / 2;
    let (_, &mut middle, _) = uses.select_nth_unstable(middle);
    accounts.retain(|_, account| account.used > middle);
}

impl Account {
    fn new(rates: Rates, now: Instant) -> Self {
        Self {
            requests: Bucket::new(rates.requests, now),
            bytes: Bucket::new(rates.bytes, now),
            compute_ms: Bucket::new(rates.compute_ms, now),
            used: now,
        }
    }

    fn take(&mut self, rates: Rates, bytes: u64, now: Instant) -> Result<(), Duration> {
        let waits = [
            self.requests.wait(rates.requests, 1.0, now),
            // Whoever sends nothing need not wait until there is room for something.
            match bytes {
                0 => Duration::ZERO,
                bytes => self.bytes.wait(rates.bytes, bytes as f64, now),
            },
            self.compute_ms.wait(rates.compute_ms, 0.0, now),
        ];
        let longest = waits.into_iter().max().unwrap_or_default();
        if longest > Duration::ZERO {
            return Err(longest);
        }
        self.requests.add(rates.requests, -1.0);
        self.bytes.add(rates.bytes, -(bytes as f64));
        Ok(())
    }
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        Self {
            level: size(rate),
            filled: now,
        }
    }

    fn fill(&mut self, rate: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.add(rate, rate * passed);
    }

    /// Time until there is enough for `amount`: at most a full bucket is asked for, so that what is
    /// larger goes through as well, and leaves a debt.
    fn wait(&mut self, rate: f64, amount: f64, now: Instant) -> Duration {
        self.fill(rate, now);
        let missing = amount.min(size(rate)) - self.level;
        if rate.is_infinite() || missing <= 0.0 {
            return Duration::ZERO;
        }
        // What is below a nanosecond is a wait nevertheless.
        Duration::try_from_secs_f64(missing / rate)
            .unwrap_or(Duration::MAX)
            .max(Duration::from_nanos(1))
    }

    fn add(&mut self, rate: f64, amount: f64) {
        if rate.is_finite() {
            let debt = -rate * MAX_DEBT_S;
            self.level = (self.level + amount).clamp(debt, size(rate));
        } else {
            // A limit that comes later starts with a full bucket.
            self.level = f64::MAX;
        }
    }
}

/// What a bucket holds: a request at least, however low the rate.
fn size(rate: f64) -> f64 {
    if rate.is_finite() {
        (rate * BURST_S).max(1.0)
    } else {
        f64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Rates = Rates {
        requests: f64::INFINITY,
        bytes: f64::INFINITY,
        compute_ms: f64::INFINITY,
    };

    fn phone() -> Payer {
        Payer::Client(ClientId::parse("phone").unwrap())
    }

    fn took(ms: u64) -> Timing {
        Timing {
            // None of these is what it cost.
            receive: Duration::from_secs(9),
            unpack: Duration::from_secs(9),
            queue: Duration::from_secs(9),
            infer: Duration::from_secs(9),
            compute: Duration::from_millis(ms),
            ..Timing::default()
        }
    }

    /// Takes until there is no more: how often it worked, and the wait it was told.
    fn exhaust(budgets: &Budgets, rates: Rates, bytes: u64) -> (u32, Duration) {
        for taken in 0..1000 {
            if let Err(wait) = budgets.take(&phone(), rates, bytes) {
                return (taken, wait);
            }
        }
        panic!("there is no end of it");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_come_in_bursts_and_then_at_the_rate() {
        let budgets = Budgets::default();
        let rates = Rates {
            requests: 2.0,
            ..FREE
        };
        assert_eq!(exhaust(&budgets, rates, 0), (8, Duration::from_millis(500)));
        tokio::time::advance(Duration::from_millis(200)).await;
        let (taken, wait) = exhaust(&budgets, rates, 0);
        assert_eq!((taken, wait.as_millis()), (0, 300), "asking costs nothing");
        tokio::time::advance(Duration::from_millis(301)).await;
        assert_eq!(exhaust(&budgets, rates, 0).0, 1);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(exhaust(&budgets, rates, 0).0, 8, "no more than a bucket");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_request_a_burst_lets_one_through() {
        let budgets = Budgets::default();
        let rates = Rates {
            requests: 0.1,
            ..FREE
        };
        assert_eq!(exhaust(&budgets, rates, 0), (1, Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_and_a_body_larger_than_the_bucket_leaves_a_debt() {
        let budgets = Budgets::default();
        let rates = Rates {
            bytes: 1000.0,
            ..FREE
        };
        assert_eq!(exhaust(&budgets, rates, 1500).0, 2);
        assert!(budgets.take(&phone(), rates, 1000).is_ok(), "the rest");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(budgets.take(&phone(), rates, 10_000).is_ok());
        let wait = budgets.take(&phone(), rates, 1).unwrap_err();
        assert_eq!(wait.as_millis(), 6001);
        budgets.give_back(&phone(), rates, 10_000);
        assert!(budgets.take(&phone(), rates, 4000).is_ok());
        // Whatever a header promises, the debt is bounded.
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(budgets.take(&phone(), rates, u64::MAX).is_ok());
        let wait = budgets.take(&phone(), rates, 1).unwrap_err();
        assert_eq!(wait.as_millis(), 60_001);
        assert!(budgets.take(&phone(), rates, 0).is_ok(), "nothing to send");
    }

    #[tokio::test(start_paused = true)]
    async fn compute_is_taken_behind_the_run_and_waited_for_by_later_requests() {
        let budgets = Budgets::default();
        let rates = Rates {
            compute_ms: 100.0,
            ..FREE
        };
        let timing = took(1000);
        assert!(budgets.take(&phone(), rates, 1 << 20).is_ok());
        assert!(budgets.take(&phone(), rates, 1 << 20).is_ok());
        budgets.charge(&phone(), rates, &timing);
        let wait = budgets.take(&phone(), rates, 0).unwrap_err();
        assert_eq!(
            wait,
            Duration::from_secs(6),
            "1000 ms of 400, at 100 a second"
        );
        budgets.charge(&phone(), rates, &timing);
        let wait = budgets.take(&phone(), rates, 0).unwrap_err();
        assert_eq!(wait, Duration::from_secs(16));
        tokio::time::advance(Duration::from_secs(16)).await;
        assert!(budgets.take(&phone(), rates, 0).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_pays_for_themselves_and_rates_may_change() {
        let budgets = Budgets::default();
        let rates = Rates {
            requests: 1.0,
            ..FREE
        };
        exhaust(&budgets, rates, 0);
        let other = Payer::Address([192, 0, 2, 1].into());
        assert!(budgets.take(&other, rates, 0).is_ok());
        assert!(budgets.take(&phone(), FREE, 0).is_ok());
        let own = OwnRates {
            requests: Some(4.0),
            ..OwnRates::default()
        };
        let wait = budgets.take(&phone(), rates.with(own), 0).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_clients_are_remembered_and_the_latest_of_them() {
        let budgets = Budgets::default();
        let rates = Rates {
            requests: 0.25,
            ..FREE
        };
        let payer = |number: usize| {
            let number = u32::try_from(number).unwrap();
            Payer::Address(std::net::Ipv4Addr::from_bits(number).into())
        };
        for number in 0..=MAX_ACCOUNTS {
            tokio::time::advance(Duration::from_nanos(1)).await;
            assert!(budgets.take(&payer(number), rates, 0).is_ok());
            assert!(budgets.accounts().len() <= MAX_ACCOUNTS);
        }
        assert!(budgets.take(&payer(MAX_ACCOUNTS), rates, 0).is_err());
        assert!(budgets.take(&payer(MAX_ACCOUNTS - 1), rates, 0).is_err());
        assert!(budgets.take(&payer(0), rates, 0).is_ok(), "forgotten");
    }

    #[test]
    fn nobody_is_remembered_where_nothing_is_limited() {
        let budgets = Budgets::default();
        assert!(budgets.take(&phone(), FREE, u64::MAX).is_ok());
        budgets.charge(&phone(), FREE, &took(1_000_000));
        assert!(budgets.accounts().is_empty());
    }
}

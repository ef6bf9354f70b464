//! What is sent: cuts and precisions by turns, and the share of requests that misbehave.

use serde::Serialize;

use super::schedule::Random;

/// A share of all requests, written `5%`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Share(f64);

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_suffix('%')
            .and_then(|percent| percent.trim().parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| format!("'{text}' is no share: write 5%, from 0% to 100%"))
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// How a request's client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Manner {
    /// Sends, waits, reads.
    Ordinary,
    /// Gives its request up after a while.
    Cancels,
    /// Sends what is no activation.
    Bad,
    /// Takes its answer in small pieces.
    SlowReader,
    /// Sends its body in small pieces.
    SlowDrip,
}

/// Shares of the manners that are not ordinary; together at most 100 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, clap::Args)]
pub(super) struct Shares {
    /// Requests given up by their client while they are under way, such as 5%.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub(super) cancel: Share,
    /// Requests whose body is no activation: damaged, cut short, or of a cut without a tail.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub(super) bad: Share,
    /// Requests whose client takes its answer in small pieces.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub(super) slow_readers: Share,
    /// Requests whose body comes in small pieces.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub(super) slow_drip: Share,
}

impl Shares {
    fn all(&self) -> [(Manner, f64); 4] {
        [
            (Manner::Cancels, self.cancel.0),
            (Manner::Bad, self.bad.0),
            (Manner::SlowReader, self.slow_readers.0),
            (Manner::SlowDrip, self.slow_drip.0),
        ]
    }

    /// Of all requests, those that behave.
    pub(super) fn ordinary(&self) -> f64 {
        1.0 - self.all().iter().map(|(_, share)| share).sum::<f64>()
    }
}

/// Chooses request after request; the same ones for the same seed.
///
/// Good bodies come from a shuffled deck, every one once before the next deck: drawn by chance, cuts would not
/// come equally often, and a few percent more of an early one are a few percent less of a capacity.
#[derive(Debug)]
pub(super) struct Mix {
    shares: Shares,
    /// Bodies that there are to choose from.
    bodies: usize,
    bad_bodies: usize,
    /// Those that are left of this deck.
    deck: Vec<usize>,
    random: Random,
}

/// A request to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Job {
    pub(super) manner: Manner,
    /// Which of the bodies, or of the bad bodies.
    pub(super) body: usize,
    /// Chance that is the request's own, from 0 to 1: when a cancel comes.
    pub(super) luck: f64,
}

impl Mix {
    /// Of so many bodies and bad bodies, each at least 1.
    pub(super) fn new(shares: Shares, bodies: usize, bad_bodies: usize, seed: u64) -> Self {
        Self {
            shares,
            bodies,
            bad_bodies,
            deck: Vec::with_capacity(bodies),
            random: Random::new(seed),
        }
    }

    pub(super) fn next(&mut self) -> Job {
        let mut left = self.random.share();
        let mut manner = Manner::Ordinary;
        for (misbehaves, share) in self.shares.all() {
            if left < share {
                manner = misbehaves;
                break;
            }
            left -= share;
        }
        let body = match manner {
            Manner::Bad => self.random.below(self.bad_bodies),
            _ => self.draw(),
        };
        Job {
            manner,
            body,
            luck: self.random.share(),
        }
    }

    /// A body that this deck has not had.
    fn draw(&mut self) -> usize {
        if self.deck.is_empty() {
            self.deck.extend(0..self.bodies);
            for left in (1..self.deck.len()).rev() {
                self.deck.swap(left, self.random.below(left + 1));
            }
        }
        self.deck.pop().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        assert_eq!("5%".parse(), Ok(Share(0.05)));
        assert_eq!("0.5 %".parse(), Ok(Share(0.005)));
        for text in ["5", "", "%", "-1%", "101%", "nan%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mix_has_its_shares_and_every_body() {
        let shares = Shares {
            cancel: Share(0.05),
            bad: Share(0.01),
            slow_readers: Share(0.02),
            slow_drip: Share(0.0),
        };
        assert!((shares.ordinary() - 0.92).abs() < 1e-9);
        let mut mix = Mix::new(shares, 7, 3, 11);
        let jobs: Vec<Job> = (0..100_000).map(|_| mix.next()).collect();
        let share = |manner| {
            let count = jobs.iter().filter(|job| job.manner == manner).count();
            count as f64 / jobs.len() as f64
        };
        assert!((share(Manner::Cancels) - 0.05).abs() < 0.003);
        assert!((share(Manner::Bad) - 0.01).abs() < 0.002);
        assert!((share(Manner::SlowReader) - 0.02).abs() < 0.002);
        assert_eq!(jobs.iter().find(|job| job.manner == Manner::SlowDrip), None);
        for body in 0..7 {
            assert!(
                jobs.iter()
                    .any(|job| job.body == body && job.manner == Manner::Ordinary)
            );
        }
        assert!(
            jobs.iter()
                .all(|job| job.manner != Manner::Bad || job.body < 3)
        );
    }

    #[test]
    fn every_good_body_comes_once_before_any_comes_again() {
        let shares = Shares {
            bad: Share(0.2),
            ..Shares::default()
        };
        let mut mix = Mix::new(shares, 7, 3, 5);
        let good = std::iter::repeat_with(|| mix.next()).filter(|job| job.manner != Manner::Bad);
        let bodies: Vec<usize> = good.take(70).map(|job| job.body).collect();
        for deck in bodies.chunks(7) {
            let mut sorted = deck.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(bodies[..7], bodies[7..14]);
    }
}

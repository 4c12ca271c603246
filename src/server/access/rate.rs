//! How often: a caller's requests, and an address's wrong keys.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::keys::Fingerprint;

/// Wrong keys that an address may try at once.
const WRONG_KEYS: f64 = 10.0;
/// How long it takes until one of them is forgotten.
const FORGET: Duration = Duration::from_secs(6);
/// The most addresses and keys that are remembered.
const REMEMBERED: usize = 50_000;

/// The largest burst.
const MOST_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999_999);

/// Who shares one allowance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The holder of a key, by its name.
    Key(Arc<str>),
    /// Where there are no keys, an address.
    Address(Network),
}

/// An address as far as it costs something to have another one: a home has 2^64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

/// The requests that each subject may make: so many a second, and so many at once.
#[derive(Debug)]
pub struct Requests {
    limiter: DefaultKeyedRateLimiter<Subject>,
}

impl Requests {
    /// `None` where the rate is no number or less than one an hour. Without a burst it is the rate of one second.
    pub fn new(per_second: f64, burst: Option<NonZeroU32>) -> Option<Self> {
        if !per_second.is_finite() || per_second * 3600.0 < 1.0 {
            return None;
        }
        let period = Duration::from_secs_f64(per_second.recip()).max(Duration::from_nanos(1));
        // A float that is too large for the type becomes its largest value.
        let burst = burst.or_else(|| NonZeroU32::new(per_second.ceil() as u32))?;
        // The limiter counts burst x period in nanoseconds of 64 bits.
        let quota = Quota::with_period(period)?.allow_burst(burst.min(MOST_AT_ONCE));
        Some(Self {
            limiter: RateLimiter::keyed(quota),
        })
    }

    /// Takes one request of the allowance, or tells how long it takes until there is one.
    pub fn take(&self, subject: &Subject) -> Result<(), Duration> {
        self.limiter
            .check_key(subject)
            .map_err(|not_yet| not_yet.wait_time_from(DefaultClock::default().now()))
    }

    /// Forgets those who have all of their allowance.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
    }
}

/// Wrong keys by address. An address that tried too many gets no look at the keys for a while; keys that were good there
/// before stay good there, so that a stranger behind the same proxy locks nobody out.
#[derive(Debug, Default)]
pub struct Guesses {
    wrong: Mutex<HashMap<Network, Level>>,
    good: Mutex<HashSet<(Network, Fingerprint)>>,
}

/// A bucket that fills with wrong keys and leaks with time.
#[derive(Debug, Clone, Copy)]
struct Level {
    filled: f64,
    at: Instant,
}

impl Level {
    fn now(self, now: Instant) -> f64 {
        let leaked = now.saturating_duration_since(self.at).as_secs_f64() / FORGET.as_secs_f64();
        (self.filled - leaked).max(0.0)
    }
}

impl Guesses {
    /// Whether this key, or what cannot be one, may be looked up for this address; else how long it takes until it may.
    pub fn may_try(&self, network: Network, key: Option<&Fingerprint>, now: Instant) -> Result<(), Duration> {
        let level = lock(&self.wrong).get(&network).map_or(0.0, |level| level.now(now));
        let excess = level - (WRONG_KEYS - 1.0);
        if excess <= 0.0 || key.is_some_and(|key| lock(&self.good).contains(&(network, *key))) {
            return Ok(());
        }
        Err(FORGET.mul_f64(excess))
    }

    /// Counts a wrong key.
    pub fn wrong(&self, network: Network, now: Instant) {
        let mut wrong = lock(&self.wrong);
        if wrong.len() >= REMEMBERED {
            wrong.retain(|_, level| level.now(now) > 0.0);
            if wrong.len() >= REMEMBERED {
                tracing::warn!("wrong keys come from more than {REMEMBERED} addresses; counting begins anew");
                wrong.clear();
            }
        }
        let filled = wrong.get(&network).map_or(0.0, |level| level.now(now)) + 1.0;
        wrong.insert(network, Level { filled, at: now });
    }

    /// Remembers a good key.
    pub fn good(&self, network: Network, key: Fingerprint) {
        let mut good = lock(&self.good);
        if good.len() >= REMEMBERED {
            good.clear();
        }
        good.insert((network, key));
    }

    /// Forgets what has leaked away.
    pub fn sweep(&self, now: Instant) {
        lock(&self.wrong).retain(|_, level| level.now(now) > 0.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::from(text.parse::<IpAddr>().unwrap())
    }

    fn key(letter: char) -> Fingerprint {
        let text = format!("fdx_{}", letter.to_string().repeat(43));
        Fingerprint::of(text.as_bytes()).unwrap()
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }

    #[test]
    fn guessing_costs_time_and_costs_others_nothing() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let (here, there) = (network("10.0.0.1"), network("10.0.0.2"));
        guesses.good(here, key('g'));
        let mut tried = 0;
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            for _ in 0..100 {
                if guesses.may_try(here, Some(&key('w')), now).is_ok() {
                    guesses.wrong(here, now);
                    tried += 1;
                }
            }
            assert_eq!(
                guesses.may_try(here, Some(&key('g')), now),
                Ok(()),
                "a key that was good here"
            );
            assert_eq!(guesses.may_try(there, Some(&key('w')), now), Ok(()), "another address");
        }
        assert_eq!(tried, 10 + 9, "ten at once, then one in six seconds");
        let wait = guesses
            .may_try(here, Some(&key('w')), start + Duration::from_secs(59))
            .unwrap_err();
        assert!(Duration::from_secs(0) < wait && wait <= FORGET, "{wait:?}");
        let later = start + Duration::from_secs(200);
        assert_eq!(guesses.may_try(here, Some(&key('w')), later), Ok(()));
        guesses.sweep(later);
        assert!(lock(&guesses.wrong).is_empty());
    }

    #[test]
    fn requests_beyond_the_rate_wait() {
        let requests = Requests::new(0.5, NonZeroU32::new(3)).unwrap();
        let (web, other) = (Subject::Key("web".into()), Subject::Address(network("10.0.0.1")));
        assert_eq!([(); 3].map(|()| requests.take(&web)), [Ok(()); 3]);
        let wait = requests.take(&web).unwrap_err();
        assert!(
            wait > Duration::from_millis(1500) && wait <= Duration::from_secs(2),
            "{wait:?}"
        );
        assert_eq!(requests.take(&other), Ok(()), "each has his own");
        requests.sweep();
        assert!(requests.take(&web).is_err(), "sweeping gives nothing away");
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300] {
            assert!(Requests::new(wrong, None).is_none(), "{wrong}");
        }
        let (slowest, most) = (1.0 / 3600.0, NonZeroU32::new(u32::MAX));
        for rate in [slowest, 1e12, f64::MAX] {
            let requests = Requests::new(rate, most).unwrap();
            assert_eq!([(); 100].map(|()| requests.take(&web)), [Ok(()); 100], "{rate}");
        }
    }
}

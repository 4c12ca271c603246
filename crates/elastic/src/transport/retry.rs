//! How long to wait before trying again, and when to stop.

use std::time::{Duration, Instant};

/// Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The ceiling of the first pause; it doubles with every further one.
    pub base: Duration,
    /// The longest pause, unless the server asks for a longer one.
    pub cap: Duration,
    /// From then on without any progress, the run counts as paused and says so.
    pub patience: Duration,
    /// For how long it is tried without any progress before giving up; `None` tries for ever.
    pub give_up_after: Option<Duration>,
}

impl RetryPolicy {
    /// For work that may take its time.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(200),
        cap: Duration::from_secs(20),
        patience: Duration::from_secs(60),
        give_up_after: None,
    };
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A server's wish for a longer pause than this is not followed: it would look like a run that hangs.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The retries of one piece of work.
#[derive(Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    attempt: u32,
    stuck_since: Option<Instant>,
}

impl Backoff {
    /// No failure yet.
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            attempt: 0,
            stuck_since: None,
        }
    }

    /// Something was accepted: the next failure starts from the shortest pause.
    pub fn progress(&mut self) {
        self.attempt = 0;
        self.stuck_since = None;
    }

    /// The pause before the next attempt, or `None` when the limit has passed. A pause that the server asked for is a
    /// lower bound, and the time that is left an upper one.
    pub fn pause(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        let left = match self.policy.give_up_after {
            Some(limit) => limit.checked_sub(since.elapsed()).filter(|left| !left.is_zero())?,
            None => Duration::MAX,
        };
        let ceiling = self
            .policy
            .base
            .saturating_mul(2u32.saturating_pow(self.attempt))
            .min(self.policy.cap);
        self.attempt += 1;
        let jittered = ceiling.mul_f64(rand::random::<f64>());
        let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
        Some(jittered.max(asked).min(left))
    }

    /// For how long nothing has been accepted.
    pub fn stuck_for(&self) -> Duration {
        self.stuck_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_honour_the_server() {
        let policy = RetryPolicy {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(2),
            ..RetryPolicy::default()
        };
        let mut backoff = Backoff::new(policy);
        for attempt in 0..40 {
            let ceiling = Duration::from_millis(100 << attempt.min(10)).min(policy.cap);
            assert!(backoff.pause(None).unwrap() <= ceiling);
        }
        assert_eq!(
            backoff.pause(Some(Duration::from_secs(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(backoff.pause(Some(Duration::from_secs(86_400))), Some(LONGEST_ASKED));
        backoff.progress();
        assert!(backoff.pause(None).unwrap() <= policy.base);
    }

    #[test]
    fn gives_up_after_the_limit() {
        let mut backoff = Backoff::new(RetryPolicy {
            give_up_after: Some(Duration::ZERO),
            ..RetryPolicy::default()
        });
        assert_eq!(backoff.pause(None), None);
        let limit = Duration::from_secs(60);
        let mut backoff = Backoff::new(RetryPolicy {
            give_up_after: Some(limit),
            ..RetryPolicy::default()
        });
        assert!(backoff.pause(Some(Duration::from_secs(200))).unwrap() <= limit);
    }
}

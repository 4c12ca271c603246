//! Memory that is asked for before it is taken, so that what a run or a server holds has a bound.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many bytes, shared by all who hold a copy.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>, u32);

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct Reservation(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let kilobytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self(Arc::new(Semaphore::new(kilobytes as usize)), kilobytes)
    }

    /// Waits until `bytes` are free. What is larger than the whole budget waits for the whole budget.
    pub async fn reserve(&self, bytes: u64) -> Reservation {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.0).acquire_many_owned(kilobytes(bytes).min(self.1));
        Reservation(permit.await.ok())
    }

    /// `bytes`, if they are free now.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let permit = Arc::clone(&self.0).try_acquire_many_owned(kilobytes(bytes));
        permit.ok().map(|permit| Reservation(Some(permit)))
    }

    /// All of it, in bytes.
    pub fn whole(&self) -> u64 {
        u64::from(self.1) * 1024
    }
}

fn kilobytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

impl Reservation {
    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let Some(permit) = &mut self.0 else { return };
        let rest = permit.num_permits().saturating_sub(kilobytes(bytes) as usize);
        drop(permit.split(rest));
    }

    /// Takes up another reservation of the same budget.
    pub fn join(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(permit), Some(other)) => permit.merge(other),
            (empty, other) => *empty = empty.take().or(other),
        }
    }
}

/// A budget for threads of their own, which may wait.
#[derive(Debug, Clone)]
pub struct ThreadBudget {
    budget: Budget,
    tasks: Handle,
}

impl ThreadBudget {
    /// A budget of so many bytes; to be made inside the runtime.
    pub fn new(bytes: u64) -> Self {
        Self {
            budget: Budget::new(bytes),
            tasks: Handle::current(),
        }
    }

    /// Blocks this thread until `bytes` are free.
    pub fn reserve(&self, bytes: u64) -> Reservation {
        self.tasks.block_on(self.budget.reserve(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn threads_never_hold_more_than_there_is_and_a_large_one_is_alone() {
        let budget = ThreadBudget::new(100 << 10);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for turn in 0..50 {
                        // One in five wants more than all of it.
                        let kilobytes = if (thread + turn) % 5 == 0 { 100 } else { 30 };
                        let asked = if kilobytes == 100 { 1 << 30 } else { kilobytes << 10 };
                        let room = budget.reserve(asked);
                        let now = held.fetch_add(kilobytes, Ordering::SeqCst) + kilobytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(kilobytes, Ordering::SeqCst);
                        drop(room);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 100);
    }
}

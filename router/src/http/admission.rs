//! Room for requests. Refusing is the first thing that happens to one too many, before its text is
//! looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Spending;
use crate::http::error::ApiError;

/// The longest wait a client is told, as nobody believes an estimate beyond it.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Counts the sequences that run and wait.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: u32,
    /// Mean duration of the last requests, in microseconds.
    mean_us: AtomicU64,
}

/// Room for the sequences of one request, held as long as its stream lives.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    /// What the request's key pays.
    spending: Option<Spending>,
}

impl Place {
    /// Ties a payment to the place: it is settled when the place is given back.
    pub fn pay(&mut self, spending: Option<Spending>) {
        self.spending = spending;
    }

    /// Notes the tokens that were used in all.
    pub fn used(&mut self, tokens: u64) {
        if let Some(spending) = &mut self.spending {
            spending.used(tokens);
        }
    }
}

impl Admission {
    /// Room for `limit` sequences.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit as usize)),
            limit,
            mean_us: AtomicU64::new(0),
        }
    }

    /// Refuses when there is no room at all, for a request whose size is not known yet.
    ///
    /// # Errors
    /// `Overloaded`.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.places.available_permits() == 0 {
            Err(self.overloaded(1))
        } else {
            Ok(())
        }
    }

    /// Room for `sequences`, or none for any.
    ///
    /// # Errors
    /// `Overloaded`.
    pub fn enter(&self, sequences: u32) -> Result<Place, ApiError> {
        match self.places.clone().try_acquire_many_owned(sequences) {
            Ok(permit) => Ok(Place {
                _permit: permit,
                spending: None,
            }),
            Err(_) => Err(self.overloaded(sequences)),
        }
    }

    /// A request's duration, for the next estimate.
    pub fn note(&self, duration: Duration) {
        let last = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Two requests that end together may lose one of their durations; an estimate stands that.
        let mean = self.mean_us.load(Ordering::Relaxed);
        let next = if mean == 0 {
            last
        } else {
            mean - mean / 8 + last / 8
        };
        self.mean_us.store(next, Ordering::Relaxed);
    }

    /// With `limit` requests of a mean duration at work, one ends each `mean / limit`.
    fn overloaded(&self, sequences: u32) -> ApiError {
        let between = self.mean_us.load(Ordering::Relaxed) / u64::from(self.limit.max(1));
        let retry_after = Duration::from_micros(between.saturating_mul(sequences.into()));
        ApiError::Overloaded {
            limit: self.limit,
            retry_after: retry_after.min(MOST_RETRY_AFTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused_and_a_dropped_place_is_free() {
        let admission = Admission::new(3);
        let two = admission.enter(2).unwrap();
        assert!(admission.enter(2).is_err(), "all sequences of a request or none");
        let one = admission.enter(1).unwrap();
        assert!(admission.check().is_err());
        drop(two);
        assert!(admission.check().is_ok());
        assert!(admission.enter(2).is_ok());
        drop(one);
    }

    #[test]
    fn the_estimate_follows_the_durations() {
        let admission = Admission::new(2);
        let retry_after = || match admission.overloaded(1) {
            ApiError::Overloaded { retry_after, .. } => retry_after,
            error => panic!("{error:?}"),
        };
        assert_eq!(retry_after(), Duration::ZERO);
        admission.note(Duration::from_secs(8));
        assert_eq!(retry_after(), Duration::from_secs(4));
        for _ in 0..100 {
            admission.note(Duration::from_secs(2));
        }
        assert!(retry_after() < Duration::from_millis(1100), "{:?}", retry_after());
        admission.note(Duration::from_secs(1_000_000));
        assert_eq!(retry_after(), MOST_RETRY_AFTER);
    }
}

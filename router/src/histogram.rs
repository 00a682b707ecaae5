//! Counts of values by size: a local one that a request fills alone, and a shared one that takes
//! whole requests, so that nothing shared is touched for each token.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper ends of the buckets, ascending; what is larger falls into one more bucket.
pub type Bounds = &'static [f64];

/// Shared by all requests.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    /// One a bound, and one for what is larger. Not cumulative.
    buckets: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

/// Of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalHistogram {
    bounds: Bounds,
    buckets: Box<[u32]>,
    sum: f64,
}

impl LocalHistogram {
    /// Empty.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            buckets: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: f64) {
        self.record_many(value, 1);
    }

    /// Counts a value several times.
    pub fn record_many(&mut self, value: f64, times: u32) {
        let bucket = bucket_of(self.bounds, value);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.saturating_add(times);
        }
        self.sum += value * f64::from(times);
    }
}

impl Histogram {
    /// Empty.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            buckets,
            sum: AtomicU64::new(0.0_f64.to_bits()),
        }
    }

    /// Counts a value.
    pub fn record(&self, value: f64) {
        if let Some(count) = self.buckets.get(bucket_of(self.bounds, value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.add(value);
    }

    /// Counts all values of a request.
    pub fn merge(&self, local: &LocalHistogram) {
        debug_assert_eq!(
            self.bounds, local.bounds,
            "one kind of value has one set of bounds"
        );
        for (shared, count) in self.buckets.iter().zip(&local.buckets) {
            if *count > 0 {
                shared.fetch_add(u64::from(*count), Ordering::Relaxed);
            }
        }
        self.add(local.sum);
    }

    fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure always gives a value, so the update cannot be refused.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Upper end and count of values up to it, then the count of all, then their sum.
    #[must_use]
    pub fn snapshot(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut total = 0;
        let mut cumulative = Vec::with_capacity(self.bounds.len());
        for (index, count) in self.buckets.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds.get(index) {
                cumulative.push((*bound, total));
            }
        }
        (
            cumulative,
            total,
            f64::from_bits(self.sum.load(Ordering::Relaxed)),
        )
    }
}

fn bucket_of(bounds: Bounds, value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = &[1.0, 2.0, 5.0];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(BOUNDS);
        for value in [0.5, 1.0, 1.5, 5.0, 6.0] {
            histogram.record(value);
        }
        assert_eq!(
            histogram.snapshot(),
            (vec![(1.0, 2), (2.0, 3), (5.0, 4)], 5, 14.0)
        );
    }

    #[test]
    fn merged_requests_count_like_single_values() {
        let shared = Histogram::new(BOUNDS);
        let single = Histogram::new(BOUNDS);
        for request in [[0.5, 3.0], [7.0, 2.0]] {
            let mut local = LocalHistogram::new(BOUNDS);
            for value in request {
                local.record(value);
                single.record(value);
            }
            shared.merge(&local);
        }
        assert_eq!(shared.snapshot(), single.snapshot());
    }
}

//! One key's tenant and limits, and what it has spent of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::access::bucket::{Bucket, Level};
use crate::access::hash::KeyHash;

/// Who shares fairly with whom; several keys may belong to one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// As the operator calls it.
    pub name: Arc<str>,
    /// For the scheduler: the same for the same name in every process, never 0.
    pub id: u64,
}

impl Tenant {
    /// A tenant by its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            id: KeyHash::of(name.as_bytes()).number(),
        }
    }
}

/// What one key may use; `None`: as much as the server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Prompt and generated tokens a minute.
    pub tokens_per_minute: Option<u64>,
    /// Generations that run or wait at once.
    pub concurrent_requests: Option<u32>,
}

/// Which limit a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `requests_per_minute`
    Requests,
    /// `tokens_per_minute`
    Tokens,
    /// `concurrent_requests`
    Concurrent,
}

/// A request that its key does not pay for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit's kind.
    pub kind: Kind,
    /// The limit.
    pub limit: u64,
    /// What the request wanted.
    pub wanted: u64,
    /// When it would pass; `None`: never, however long one waits.
    pub retry_after: Option<Duration>,
}

/// What is left, for a client's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests, where they are limited.
    pub requests: Option<Level>,
    /// Tokens, where they are limited.
    pub tokens: Option<Level>,
}

/// How long a client waits that has as many requests at work as it may: nobody knows when they end.
const CONCURRENT_WAIT: Duration = Duration::from_secs(1);

/// A key's account.
#[derive(Debug)]
pub struct Account {
    tenant: Tenant,
    limits: Limits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    running: u32,
}

impl Account {
    /// A new account, its buckets full.
    #[must_use]
    pub fn new(tenant: Tenant, limits: Limits, now: Instant) -> Self {
        let state = State {
            requests: limits.requests_per_minute.map(|limit| Bucket::new(limit, now)),
            tokens: limits.tokens_per_minute.map(|limit| Bucket::new(limit, now)),
            running: 0,
        };
        Self {
            tenant,
            limits,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The account of the same key after its limits were edited. Both share what was spent, so that
    /// requests which began under the old one give back to the new one.
    #[must_use]
    pub fn renewed(&self, tenant: Tenant, limits: Limits, now: Instant) -> Self {
        let renew = |bucket: &mut Option<Bucket>, limit: Option<u64>| {
            *bucket = limit.map(|limit| {
                bucket.map_or_else(|| Bucket::new(limit, now), |old| old.with_limit(limit, now))
            });
        };
        let mut state = self.lock();
        renew(&mut state.requests, limits.requests_per_minute);
        renew(&mut state.tokens, limits.tokens_per_minute);
        drop(state);
        Self {
            tenant,
            limits,
            state: self.state.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Arithmetic leaves nothing half done, so a poisoned lock still guards a good value.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose key it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a request before anything is known of it. One whose tokens are in debt is refused too.
    ///
    /// # Errors
    /// When a limit is met; nothing is counted then.
    pub fn enter(&self, now: Instant) -> Result<(), Refusal> {
        let state = &mut *self.lock();
        check(&mut state.requests, Kind::Requests, 1, now)?;
        check(&mut state.tokens, Kind::Tokens, 1, now)?;
        if let Some(requests) = &mut state.requests {
            requests.take(1, now);
        }
        Ok(())
    }

    /// Takes the tokens that a generation will need at most, and a place.
    ///
    /// # Errors
    /// When a limit is met; nothing is taken then.
    pub fn spend(self: &Arc<Self>, tokens: u64, now: Instant) -> Result<Spending, Refusal> {
        let state = &mut *self.lock();
        if let Some(limit) = self.limits.concurrent_requests
            && state.running >= limit
        {
            return Err(Refusal {
                kind: Kind::Concurrent,
                limit: limit.into(),
                wanted: 1,
                retry_after: Some(CONCURRENT_WAIT),
            });
        }
        check(&mut state.tokens, Kind::Tokens, tokens, now)?;
        if let Some(bucket) = &mut state.tokens {
            bucket.take(tokens, now);
        }
        state.running = state.running.saturating_add(1);
        Ok(Spending {
            account: self.clone(),
            taken: tokens,
            used: 0,
        })
    }

    /// What is left.
    #[must_use]
    pub fn quota(&self, now: Instant) -> Quota {
        let state = &mut *self.lock();
        Quota {
            requests: state.requests.as_mut().map(|bucket| bucket.level(now)),
            tokens: state.tokens.as_mut().map(|bucket| bucket.level(now)),
        }
    }
}

fn check(bucket: &mut Option<Bucket>, kind: Kind, units: u64, now: Instant) -> Result<(), Refusal> {
    let Some(bucket) = bucket else { return Ok(()) };
    match bucket.wait(units, now) {
        Some(Duration::ZERO) => Ok(()),
        retry_after => Err(Refusal {
            kind,
            limit: bucket.level(now).limit,
            wanted: units,
            retry_after,
        }),
    }
}

/// The tokens and the place of a generation. When it is dropped the place is free, what was taken
/// and not used is given back, and what was used beyond it is owed.
#[derive(Debug)]
pub struct Spending {
    account: Arc<Account>,
    taken: u64,
    used: u64,
}

impl Spending {
    /// What the generation has used in all.
    pub fn used(&mut self, tokens: u64) {
        self.used = tokens;
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let now = Instant::now();
        let state = &mut *self.account.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(bucket) = &mut state.tokens {
            match self.taken.checked_sub(self.used) {
                Some(unused) => bucket.give_back(unused, now),
                None => bucket.take(self.used - self.taken, now),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limits: Limits) -> (Arc<Account>, Instant) {
        let now = Instant::now();
        (Arc::new(Account::new(Tenant::new("team"), limits, now)), now)
    }

    #[test]
    fn a_tenants_number_is_its_names() {
        assert_eq!(Tenant::new("a"), Tenant::new("a"));
        assert_ne!(Tenant::new("a").id, Tenant::new("b").id);
    }

    #[test]
    fn requests_are_counted_and_the_wait_is_told() {
        let (account, now) = account(Limits {
            requests_per_minute: Some(2),
            ..Limits::default()
        });
        assert!(account.enter(now).is_ok());
        assert!(account.enter(now).is_ok());
        let refusal = account.enter(now).unwrap_err();
        assert_eq!((refusal.kind, refusal.limit), (Kind::Requests, 2));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
        assert!(account.enter(now + Duration::from_secs(31)).is_ok());
    }

    #[test]
    fn unused_tokens_come_back_and_used_ones_do_not() {
        let (account, now) = account(Limits {
            tokens_per_minute: Some(100),
            ..Limits::default()
        });
        let mut spending = account.spend(80, now).unwrap();
        assert_eq!(account.quota(now).tokens.unwrap().remaining, 20);
        assert_eq!(account.spend(30, now).unwrap_err().kind, Kind::Tokens);
        spending.used(30);
        drop(spending);
        assert!(account.quota(now).tokens.unwrap().remaining >= 70);
        assert_eq!(account.spend(101, now).unwrap_err().retry_after, None);
        let mut spending = account.spend(10, now).unwrap();
        spending.used(200);
        drop(spending);
        let refusal = account.enter(now).unwrap_err();
        assert_eq!(refusal.kind, Kind::Tokens, "a debt keeps the next request out");
        assert!(refusal.retry_after.unwrap() > Duration::from_secs(60));
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let (account, now) = account(Limits {
            concurrent_requests: Some(1),
            ..Limits::default()
        });
        let first = account.spend(1_000_000, now).unwrap();
        assert_eq!(account.spend(1, now).unwrap_err().kind, Kind::Concurrent);
        drop(first);
        assert!(account.spend(1, now).is_ok());
    }

    #[test]
    fn edited_limits_keep_what_was_spent() {
        let limits = Limits {
            requests_per_minute: Some(2),
            ..Limits::default()
        };
        let (account, now) = account(limits);
        account.enter(now).unwrap();
        account.enter(now).unwrap();
        assert!(
            account
                .renewed(Tenant::new("team"), limits, now)
                .enter(now)
                .is_err()
        );
        let unlimited = account.renewed(Tenant::new("team"), Limits::default(), now);
        assert!(unlimited.enter(now).is_ok());
        assert_eq!(unlimited.quota(now), Quota::default());
    }
}

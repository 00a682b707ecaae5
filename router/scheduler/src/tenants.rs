//! Token-fair shares: a counter of served tokens for every tenant.
//!
//! Whoever was served least goes first. A virtual time grows by the mean service of the tenants
//! that have work; a tenant that comes back starts there, so that idling saves up no credit, and
//! whoever is ahead is reached by it, so that newcomers without end starve nobody.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::ids::TenantId;

/// Idle tenants whose lead is remembered.
const MOST_IDLE: usize = 1024;

/// A tenant with living sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TenantIndex(u32);

impl TenantIndex {
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Tenant {
    id: TenantId,
    served_tokens: u64,
    /// Sequences without a terminal event; 0: the entry is vacant.
    living: u32,
}

/// All tenants with living sequences, and the idle ones that are ahead.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    entries: Vec<Tenant>,
    vacant: Vec<u32>,
    by_id: HashMap<TenantId, u32, BuildHasherDefault<DefaultHasher>>,
    /// Tenants without living sequences that were served more than the virtual time.
    idle: HashMap<TenantId, u64, BuildHasherDefault<DefaultHasher>>,
    virtual_time: u64,
    /// Tokens that were served and do not make up one unit of virtual time yet.
    remainder: u64,
}

impl Tenants {
    /// One more living sequence of `id`.
    pub(crate) fn join(&mut self, id: TenantId) -> TenantIndex {
        if let Some(index) = self.by_id.get(&id) {
            self.entries[*index as usize].living += 1;
            return TenantIndex(*index);
        }
        let lead = self.idle.remove(&id).unwrap_or(0);
        let tenant = Tenant {
            id,
            served_tokens: lead.max(self.virtual_time),
            living: 1,
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.entries[index as usize] = tenant;
                index
            }
            None => {
                self.entries.push(tenant);
                self.entries.len() as u32 - 1
            }
        };
        self.by_id.insert(id, index);
        TenantIndex(index)
    }

    /// One living sequence less.
    pub(crate) fn leave(&mut self, index: TenantIndex) {
        let tenant = &mut self.entries[index.0 as usize];
        tenant.living -= 1;
        if tenant.living > 0 {
            return;
        }
        let Tenant {
            id, served_tokens, ..
        } = *tenant;
        self.by_id.remove(&id);
        self.vacant.push(index.0);
        if served_tokens > self.virtual_time {
            self.idle.insert(id, served_tokens);
            self.prune();
        }
    }

    pub(crate) fn charge(&mut self, index: TenantIndex, tokens: u32) {
        self.entries[index.0 as usize].served_tokens += u64::from(tokens);
        self.remainder += u64::from(tokens);
    }

    /// Lets the virtual time follow what was charged since the last call.
    pub(crate) fn advance(&mut self) {
        let active = self.by_id.len().max(1) as u64;
        self.virtual_time += self.remainder / active;
        self.remainder %= active;
    }

    pub(crate) fn served_tokens(&self, index: TenantIndex) -> u64 {
        self.entries[index.0 as usize].served_tokens
    }

    pub(crate) fn living(&self) -> u64 {
        self.by_id
            .values()
            .map(|index| u64::from(self.entries[*index as usize].living))
            .sum()
    }

    /// Forgets who is no longer ahead, and the least ahead when there are too many.
    fn prune(&mut self) {
        if self.idle.len() <= MOST_IDLE {
            return;
        }
        let now = self.virtual_time;
        self.idle.retain(|_, served| *served > now);
        if self.idle.len() > MOST_IDLE {
            let mut leads: Vec<u64> = self.idle.values().copied().collect();
            let middle = leads.len() / 2;
            let (_, median, _) = leads.select_nth_unstable(middle);
            let median = *median;
            self.idle.retain(|_, served| *served > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_starts_at_the_mean_of_the_active() {
        let mut tenants = Tenants::default();
        let first = tenants.join(TenantId(1));
        tenants.charge(first, 100);
        tenants.advance();
        let second = tenants.join(TenantId(2));
        assert_eq!(tenants.served_tokens(second), 100);
        tenants.charge(first, 50);
        tenants.advance();
        let third = tenants.join(TenantId(3));
        assert_eq!(tenants.served_tokens(third), 125);
    }

    #[test]
    fn leaving_and_coming_back_wins_nothing() {
        let mut tenants = Tenants::default();
        let greedy = tenants.join(TenantId(1));
        tenants.join(TenantId(2));
        tenants.charge(greedy, 1000);
        tenants.advance();
        tenants.leave(greedy);
        let again = tenants.join(TenantId(1));
        assert_eq!(tenants.served_tokens(again), 1000);
    }

    #[test]
    fn idle_tenants_are_bounded() {
        let mut tenants = Tenants::default();
        tenants.join(TenantId(0));
        for id in 1..10_000 {
            let index = tenants.join(TenantId(id));
            tenants.charge(index, 1_000_000);
            tenants.leave(index);
        }
        assert!(tenants.idle.len() <= MOST_IDLE + 1);
        assert_eq!(tenants.living(), 1);
    }
}

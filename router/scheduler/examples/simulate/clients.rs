//! What clients see.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardline_scheduler::{Event, RequestId, Submission, TenantId, TokenId};

/// Numbers that look random and are the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Exponentially distributed with the given mean.
    pub fn exponential(&mut self, mean: f64) -> u64 {
        let uniform = (self.below(1 << 30) as f64 + 1.0) / (1_u64 << 30) as f64;
        (-uniform.ln() * mean) as u64
    }
}

/// A request of `own` tokens that no other has, after `shared` that all of them have.
pub fn submission(id: u64, tenant: u64, shared: u64, own: u64, answer: u64) -> Submission {
    let beginning = (0..shared).map(|index| TokenId(index as u32));
    let rest = (0..own).map(|index| TokenId((id * 4_000 + index) as u32));
    let tokens: Arc<[TokenId]> = beginning.chain(rest).collect();
    Submission {
        request: RequestId(id),
        num_prompt_tokens: tokens.len() as u32,
        tokens,
        max_new_tokens: answer as u32,
        min_new_tokens: 0,
        stop_token_ids: Arc::from([]),
        cache_salt: 0,
        use_prefix_cache: true,
        tenant: TenantId(tenant),
        priority: 0,
        deadline: None,
    }
}

pub struct Client {
    pub tenant: u64,
    pub arrival: u64,
    pub first_token: Option<u64>,
    pub last_token: u64,
    gaps: Vec<u64>,
    pub tokens: u64,
}

impl Client {
    pub fn new(tenant: u64, arrival: u64) -> Self {
        Self {
            tenant,
            arrival,
            first_token: None,
            last_token: 0,
            gaps: Vec::new(),
            tokens: 0,
        }
    }
}

/// Takes down what came at `now`.
pub fn note(clients: &mut BTreeMap<RequestId, Client>, events: &[Event], now: u64) {
    for event in events {
        let Event::Token { request, .. } = event else {
            continue;
        };
        let Some(client) = clients.get_mut(request) else {
            continue;
        };
        match client.first_token {
            None => client.first_token = Some(now),
            Some(_) => client.gaps.push(now - client.last_token),
        }
        client.last_token = now;
        client.tokens += 1;
    }
}

/// Milliseconds: mean, 50th and 99th percentile.
pub struct Times {
    pub mean: f64,
    pub median: f64,
    pub late: f64,
}

impl Times {
    pub fn to_first_token<'a>(clients: impl Iterator<Item = &'a Client>) -> Self {
        Self::of(
            clients
                .filter_map(|c| c.first_token.map(|at| at - c.arrival))
                .collect(),
        )
    }

    pub fn between_tokens<'a>(clients: impl Iterator<Item = &'a Client>) -> Self {
        Self::of(clients.flat_map(|c| c.gaps.iter().copied()).collect())
    }

    fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at = |percent| {
            let index = micros.len().saturating_sub(1) * percent / 100;
            micros.get(index).copied().unwrap_or(0) as f64 / 1e3
        };
        Self {
            mean: micros.iter().sum::<u64>() as f64 / micros.len().max(1) as f64 / 1e3,
            median: at(50),
            late: at(99),
        }
    }
}

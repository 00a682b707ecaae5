//! Drives a scheduler against the fake shard and holds every request to its promise.

use std::collections::{BTreeMap, VecDeque};

use shardline_scheduler::{
    Config, Event, FinishReason, Micros, Outcome, Plan, ProtocolError, Rejection, RequestId, Scheduler,
    Submission, TokenId,
};

use super::shard::{FakeShard, next_token};

/// What a client has seen of its request.
#[derive(Debug)]
pub struct Client {
    pub submission: Submission,
    /// Generated tokens, those of the submission included.
    pub generated: Vec<TokenId>,
    pub starts: u32,
    pub preemptions: u32,
    pub cached_tokens: u32,
    pub finished: Option<FinishReason>,
}

/// Scheduler, shard and clients. Every call checks the invariants.
pub struct World {
    pub scheduler: Scheduler,
    pub shard: FakeShard,
    pub clients: BTreeMap<RequestId, Client>,
    pub outcomes: VecDeque<Outcome>,
    pub now: Micros,
    /// Requests in the order of their first start.
    pub order: Vec<RequestId>,
    config: Config,
}

impl World {
    pub fn new(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config.clone()),
            shard: FakeShard::new(&config),
            clients: BTreeMap::new(),
            outcomes: VecDeque::new(),
            now: Micros(0),
            order: Vec::new(),
            config,
        }
    }

    pub fn check(&self) {
        if let Err(violation) = self.scheduler.check_invariants() {
            panic!("{violation}\n{:#?}", self.scheduler);
        }
    }

    pub fn submit(&mut self, submission: Submission) -> Result<(), Rejection> {
        let before = self.scheduler.stats();
        let answer = self.scheduler.submit(submission.clone(), self.now);
        self.check();
        match answer {
            Ok(()) => {
                let generated = submission.tokens[submission.num_prompt_tokens as usize..].to_vec();
                let client = Client {
                    generated,
                    starts: 0,
                    preemptions: 0,
                    cached_tokens: 0,
                    finished: None,
                    submission,
                };
                self.clients.insert(client.submission.request, client);
            }
            Err(_) => assert_eq!(
                self.scheduler.stats(),
                before,
                "a rejection leaves nothing behind"
            ),
        }
        answer
    }

    /// One plan, run by the shard; its outcome waits. `fails` as in [`FakeShard::run`].
    pub fn step_failing(&mut self, fails: impl Fn(usize) -> bool) -> Option<Plan> {
        let idle = self.outcomes.is_empty();
        let plan = self.scheduler.step(self.now);
        self.check();
        let mut events = Vec::new();
        self.scheduler.take_events(&mut events);
        self.take(&events, None);
        if idle && self.clients.values().any(|client| client.finished.is_none()) {
            assert!(
                plan.is_some(),
                "stuck: nothing in flight and no plan\n{:#?}",
                self.scheduler
            );
        }
        let plan = plan?;
        let salt_of = |request: RequestId| self.clients[&request].submission.cache_salt;
        let outcome = self.shard.run(&plan, salt_of, fails);
        self.outcomes.push_back(outcome);
        assert!(self.outcomes.len() <= self.config.overlap_depth as usize);
        self.check_lengths();
        Some(plan)
    }

    pub fn step(&mut self) -> Option<Plan> {
        self.step_failing(|_| false)
    }

    /// No row was planned past the length of its request.
    fn check_lengths(&self) {
        for client in self.clients.values() {
            let most = client.submission.num_prompt_tokens + client.submission.max_new_tokens;
            let most = most.min(self.config.max_sequence_tokens) as usize;
            if let Some(known) = self.shard.known_tokens(client.submission.request) {
                assert!(known <= most, "{known} tokens of {most} were sampled");
            }
        }
    }

    /// The oldest outcome comes back; what it told.
    pub fn apply(&mut self) -> Vec<Event> {
        self.now.0 += 100;
        let Some(outcome) = self.outcomes.pop_front() else {
            return Vec::new();
        };
        let mut events = Vec::new();
        let answer = self.scheduler.apply(&outcome, self.now, &mut events);
        self.check();
        assert_eq!(answer, Ok(()));
        self.take(&events, Some(&outcome));
        events
    }

    /// An outcome that must be refused; nothing changes.
    pub fn apply_wrong(&mut self, outcome: &Outcome) -> ProtocolError {
        let before = self.scheduler.stats();
        let mut events = Vec::new();
        let error = self
            .scheduler
            .apply(outcome, self.now, &mut events)
            .expect_err("a refusal");
        self.check();
        assert_eq!(events, []);
        assert_eq!(self.scheduler.stats(), before);
        error
    }

    pub fn cancel(&mut self, request: RequestId) -> Vec<Event> {
        let mut events = Vec::new();
        self.scheduler.cancel(request, &mut events);
        self.check();
        self.take(&events, None);
        events
    }

    /// The shard is lost and comes back with `num_blocks`.
    pub fn reset(&mut self, num_blocks: u32) -> Vec<Event> {
        self.config.num_blocks = num_blocks;
        self.shard = FakeShard::new(&self.config);
        self.outcomes.clear();
        let mut events = Vec::new();
        self.scheduler.reset(num_blocks, self.now, &mut events);
        self.check();
        self.take(&events, None);
        events
    }

    /// Steps and applies at full depth until every request has ended.
    pub fn drain(&mut self) {
        for _ in 0..20_000 {
            while self.step().is_some() {}
            if self.outcomes.is_empty() {
                break;
            }
            self.apply();
        }
        let unfinished: Vec<_> = self
            .clients
            .values()
            .filter(|client| client.finished.is_none())
            .collect();
        assert!(unfinished.is_empty(), "{unfinished:#?}");
        assert!(!self.scheduler.has_work());
        assert_eq!(self.scheduler.stats().blocks_in_use, 0);
    }

    pub fn client(&self, id: u64) -> &Client {
        &self.clients[&RequestId(id)]
    }

    fn take(&mut self, events: &[Event], outcome: Option<&Outcome>) {
        for event in events {
            match *event {
                Event::Started {
                    request,
                    cached_tokens,
                } => self.started(request, cached_tokens),
                Event::Preempted { request } => {
                    let client = self.living(request);
                    client.preemptions += 1;
                }
                Event::Token {
                    request,
                    token,
                    row,
                    position_in_row,
                } => {
                    let outcome = outcome.expect("tokens come with outcomes");
                    let entry = &outcome.rows[row as usize];
                    assert_eq!(entry.tokens[position_in_row as usize], token);
                    self.token(request, token);
                }
                Event::Finished { request, reason } => self.finished(request, reason),
            }
        }
    }

    fn living(&mut self, request: RequestId) -> &mut Client {
        let client = self.clients.get_mut(&request).expect("an event of a request");
        assert_eq!(client.finished, None, "an event after the end");
        client
    }

    fn started(&mut self, request: RequestId, cached_tokens: u32) {
        let client = self.living(request);
        client.starts += 1;
        client.cached_tokens = cached_tokens;
        assert!(cached_tokens == 0 || client.submission.use_prefix_cache);
        if client.starts == 1 {
            self.order.push(request);
        }
    }

    fn token(&mut self, request: RequestId, token: TokenId) {
        let client = self.living(request);
        assert!(client.starts > 0, "a token before the start");
        let prompt = &client.submission.tokens[..client.submission.num_prompt_tokens as usize];
        let so_far = prompt.iter().chain(&client.generated).copied();
        assert_eq!(
            token,
            next_token(client.submission.cache_salt, so_far),
            "a disturbed stream"
        );
        client.generated.push(token);
    }

    fn finished(&mut self, request: RequestId, reason: FinishReason) {
        let now = self.now;
        let (block_size, blocks) = (self.config.block_size, self.config.num_blocks);
        let max_total = self.config.max_total_tokens.unwrap_or(u32::MAX);
        let max_sequence = self.config.max_sequence_tokens;
        let client = self.living(request);
        client.finished = Some(reason);
        let submission = &client.submission;
        let generated = client.generated.len() as u32;
        let length = submission.num_prompt_tokens + generated;
        let stops = |index: usize| {
            index as u32 >= submission.min_new_tokens
                && submission.stop_token_ids.contains(&client.generated[index])
        };
        let replayed = submission.tokens.len() - submission.num_prompt_tokens as usize;
        let first_stop = (replayed..client.generated.len()).find(|index| stops(*index));
        match reason {
            FinishReason::Stop(token) => {
                assert_eq!(client.generated.last(), Some(&token));
                assert_eq!(first_stop, Some(client.generated.len() - 1));
            }
            FinishReason::Length => {
                let capacity = (blocks.min((max_total / block_size).max(1)) * block_size).min(max_total);
                let most = max_sequence
                    .min(capacity + 1)
                    .min(submission.num_prompt_tokens + submission.max_new_tokens);
                assert!(length >= most, "{length} of {most} tokens: too early");
                assert_eq!(first_stop, None);
            }
            FinishReason::DeadlineExceeded => {
                assert!(submission.deadline.is_some_and(|deadline| deadline <= now));
                assert_eq!(client.starts, 0);
            }
            FinishReason::Cancelled | FinishReason::Failed(_) => assert_eq!(first_stop, None),
        }
    }
}

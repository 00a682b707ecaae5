//! The engine without its I/O: the scheduler, the living sequences, and what passes between them
//! and the shards. Every verb returns at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use shardline_scheduler::{
    Admission, Event, FinishReason, InvariantViolation, Micros, Outcome, Plan, PlanningTime, ProtocolError,
    Rejection, RequestId, RowFailure, RowOutcome, Scheduler, SequenceId, StepId, TokenId,
};

use crate::engine::api::{EngineInfo, EngineStats, Finish, Generate, SubmitError};
use crate::engine::cancel::Cancellations;
use crate::engine::generation::Generation;
use crate::engine::living::Living;
use crate::engine::outbox::event_channel;
use crate::shard::{NewSequence, RowStatus, StepBuilder, StepOutcome};

/// How often the scheduler's state is looked through while there is nothing else to do.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// A step that is out.
#[derive(Clone, Copy, Debug)]
struct Sent {
    step: StepId,
    at: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    scheduler: Scheduler,
    info: Arc<EngineInfo>,
    max_concurrent_requests: u32,
    cancellations: Arc<Cancellations>,
    living: HashMap<RequestId, Living>,
    /// Admissions whose prompt's log-probabilities are awaited.
    prompts: HashMap<SequenceId, RequestId>,
    begun: Instant,
    last_request: u64,
    sent: VecDeque<Sent>,
    planning: PlanningTime,
    stats: EngineStats,
    /// Of the step whose events wait for `deliver`.
    outcome: StepOutcome,
    events: Vec<Event>,
    wakers: Vec<Waker>,
    to_cancel: Vec<RequestId>,
    next_check: Instant,
}

impl Core {
    pub(super) fn new(
        scheduler: Scheduler,
        info: Arc<EngineInfo>,
        max_concurrent_requests: u32,
        cancellations: Arc<Cancellations>,
    ) -> Self {
        Self {
            scheduler,
            info,
            max_concurrent_requests,
            cancellations,
            living: HashMap::new(),
            prompts: HashMap::new(),
            begun: Instant::now(),
            last_request: 0,
            sent: VecDeque::new(),
            planning: PlanningTime::default(),
            stats: EngineStats::default(),
            outcome: StepOutcome::default(),
            events: Vec::new(),
            wakers: Vec::new(),
            to_cancel: Vec::new(),
            next_check: Instant::now(),
        }
    }

    fn now(&self) -> Micros {
        Micros(self.begun.elapsed().as_micros() as u64)
    }

    /// Whether no sequence lives.
    pub(super) fn is_idle(&self) -> bool {
        self.living.is_empty()
    }

    /// Looks for contradictions in the scheduler's state when there is nothing else to do.
    pub(super) fn check_when_idle(&mut self) -> Result<(), InvariantViolation> {
        if !self.is_idle() || !self.sent.is_empty() || Instant::now() < self.next_check {
            return Ok(());
        }
        self.next_check = Instant::now() + CHECK_INTERVAL;
        self.scheduler.check_invariants()
    }

    /// When the oldest step that is out was sent.
    pub(super) fn oldest_step(&self) -> Option<(u64, Instant)> {
        self.sent.front().map(|sent| (sent.step.0, sent.at))
    }

    /// Counters and gauges as of now.
    pub(super) fn stats(&mut self) -> &EngineStats {
        let scheduler = self.scheduler.stats();
        self.stats.waiting = scheduler.waiting;
        self.stats.running = scheduler.running;
        self.stats.blocks_total = scheduler.blocks_total;
        self.stats.blocks_in_use = scheduler.blocks_in_use;
        self.stats.blocks_cached = scheduler.blocks_cached;
        self.stats.preemptions = scheduler.preemptions;
        self.stats.prefix_queries_tokens = scheduler.prefix_queries_tokens;
        self.stats.prefix_hits_tokens = scheduler.prefix_hits_tokens;
        &self.stats
    }

    /// Takes a sequence in.
    pub(super) fn submit(&mut self, mut generate: Generate) -> Result<Generation, SubmitError> {
        self.check(&generate)?;
        // More than fits ends at the limit all the same, and cannot overflow a sum.
        generate.max_new_tokens = generate.max_new_tokens.min(self.info.max_total_tokens);
        generate.min_new_tokens = generate.min_new_tokens.min(self.info.max_total_tokens);
        let now = self.now();
        if self.living.len() >= self.max_concurrent_requests as usize {
            return Err(self.overloaded(self.scheduler.retry_after(now)));
        }
        self.last_request += 1;
        let request = RequestId(self.last_request);
        let (sender, receiver) = event_channel();
        let living = Living::new(generate, sender, now);
        self.scheduler
            .submit(living.submission(request), now)
            .map_err(|rejection| match rejection {
                Rejection::QueueFull { retry_after, .. } => self.overloaded(retry_after),
                Rejection::TooLong { tokens, limit } => SubmitError::TooLong { tokens, limit },
                Rejection::Malformed | Rejection::Duplicate => SubmitError::Malformed {
                    field: "generate",
                    reason: format!("{rejection:?}"),
                },
            })?;
        self.living.insert(request, living);
        Ok(Generation::new(receiver, request, self.cancellations.clone()))
    }

    fn overloaded(&self, retry_after: Micros) -> SubmitError {
        let retry_after = Duration::from_micros(retry_after.0);
        SubmitError::Overloaded {
            limit: self.max_concurrent_requests,
            retry_after,
        }
    }

    fn check(&self, generate: &Generate) -> Result<(), SubmitError> {
        let malformed = |field, reason| Err(SubmitError::Malformed { field, reason });
        let tokens = u32::try_from(generate.prompt.len()).unwrap_or(u32::MAX);
        let limit = self.info.max_input_tokens;
        if tokens > limit {
            return Err(SubmitError::TooLong { tokens, limit });
        }
        if tokens == 0 {
            return malformed("prompt", "it has no token; at least one is needed".to_owned());
        }
        if generate.max_new_tokens == 0 {
            return malformed("max_new_tokens", "it is 0; at least 1 is needed".to_owned());
        }
        let vocab_size = self.info.vocab_size;
        let sampling = &generate.sampling;
        let check_ids = |field, mut ids: std::slice::Iter<'_, u32>| match ids.find(|id| **id >= vocab_size) {
            Some(id) => Err(outside(field, *id, vocab_size)),
            None => Ok(()),
        };
        check_ids("prompt", generate.prompt.iter())?;
        check_ids("stop_token_ids", generate.stop_token_ids.iter())?;
        check_ids("allowed_token_ids", sampling.allowed_token_ids.iter())?;
        match sampling.logit_bias.iter().find(|(id, _)| *id >= vocab_size) {
            Some((id, _)) => Err(outside("logit_bias", *id, vocab_size)),
            None => Ok(()),
        }
    }

    /// Cancels what consumers went away from.
    pub(super) fn cancel_requested(&mut self) {
        let mut requests = std::mem::take(&mut self.to_cancel);
        self.cancellations.take(&mut requests);
        for request in requests.drain(..) {
            self.scheduler.cancel(request, &mut self.events);
        }
        self.to_cancel = requests;
    }

    /// Cancels every sequence.
    pub(super) fn cancel_all(&mut self) {
        for request in self.living.keys().copied() {
            self.scheduler.cancel(request, &mut self.events);
        }
    }

    /// Ends every sequence because the shards are gone for good.
    pub(super) fn lose_all(&mut self, cause: &str) {
        for (_, living) in self.living.drain() {
            self.wakers.extend(living.finish(Finish::ShardLost {
                cause: cause.to_owned(),
            }));
        }
        self.wake();
    }

    /// The group is lost: what was out is forgotten, every sequence waits again with its tokens.
    pub(super) fn reset(&mut self, num_blocks: u32) {
        self.sent.clear();
        self.planning = PlanningTime::default();
        self.prompts.clear();
        let now = self.now();
        self.scheduler.reset(num_blocks, now, &mut self.events);
    }

    /// Until when the next step is not to be planned yet; `None`: it may be.
    pub(super) fn planning_waits(&self) -> Option<Instant> {
        let until = self.planning.waits(self.now())?;
        Some(self.begun + Duration::from_micros(until.0))
    }

    /// The next step to send, when there is one to send now.
    pub(super) fn next_step(&mut self) -> Option<StepBuilder> {
        let plan = self.scheduler.step(self.now())?;
        let mut builder = StepBuilder::new(plan.step.0, plan.rows.len());
        for sequence in &plan.drop {
            builder.drop_sequence(sequence.0);
        }
        for admission in &plan.admitted {
            self.admit(admission, &mut builder);
        }
        push_rows(&plan, &mut builder);
        self.stats.steps += 1;
        self.stats.overlapped_steps += u64::from(!self.sent.is_empty());
        self.stats.step_tokens += u64::from(plan.num_tokens);
        self.sent.push_back(Sent {
            step: plan.step,
            at: Instant::now(),
        });
        Some(builder)
    }

    fn admit(&mut self, admission: &Admission, builder: &mut StepBuilder) {
        // The scheduler admits living requests only, and both lists live and die together.
        let Some(living) = self.living.get(&admission.request) else {
            return;
        };
        let (seed, choice) = living.seed_and_choice();
        if living.awaits_prompt() {
            self.prompts.insert(admission.sequence, admission.request);
        }
        builder.new_sequence(NewSequence {
            sequence: admission.sequence.0,
            tokens: admission.tokens.iter().map(|token| token.0),
            num_prompt_tokens: admission.num_prompt_tokens,
            num_cached_tokens: admission.num_cached_tokens,
            blocks: admission.blocks.iter().map(|block| block.0),
            seed,
            choice,
            sampling: living.sampling(),
            grammar: living.grammar(),
        });
    }

    /// Takes a step's outcome. Its events wait for `deliver`, so that the next step is sent first.
    pub(super) fn apply(&mut self, outcome: StepOutcome) -> Result<(), ProtocolError> {
        let now = self.now();
        let before = self.events.len();
        self.scheduler
            .apply(&to_scheduler(&outcome), now, &mut self.events)?;
        let new = self.events.iter().skip(before);
        self.stats.generated_tokens +=
            new.filter(|event| matches!(event, Event::Token { .. })).count() as u64;
        if let Some(sent) = self.sent.pop_front() {
            self.stats.step_us += sent.at.elapsed().as_micros() as u64;
        }
        self.planning.outcome(now, !self.sent.is_empty());
        self.outcome = outcome;
        Ok(())
    }

    /// Hands all events since the last call to their consumers, then wakes those in one pass.
    pub(super) fn deliver(&mut self) {
        self.scheduler.take_events(&mut self.events);
        let now = self.now();
        for piece in self.outcome.prompt_logprobs.drain(..) {
            let request = self.prompts.get(&SequenceId(piece.sequence));
            if let Some(living) = request.and_then(|request| self.living.get_mut(request)) {
                living.prompt_piece(piece);
            }
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.deliver_one(event, now);
        }
        self.events = events;
        self.wake();
    }

    fn deliver_one(&mut self, event: Event, now: Micros) {
        match event {
            Event::Started {
                request,
                cached_tokens,
            } => {
                if let Some(living) = self.living.get_mut(&request) {
                    self.wakers.extend(living.start(cached_tokens, now));
                }
            }
            Event::Token {
                request,
                token,
                row,
                position_in_row,
            } => {
                let Some(living) = self.living.get_mut(&request) else {
                    return;
                };
                if !self.prompts.is_empty()
                    && let Some(row) = self.outcome.rows.get(row as usize)
                {
                    self.prompts.remove(&SequenceId(row.sequence));
                }
                let (logprob, top) = self.outcome.beside(row as usize, position_in_row as usize);
                living.token(token.0, logprob, top, &mut self.wakers);
            }
            Event::Preempted { .. } => {}
            Event::Finished { request, reason } => {
                if let Some(living) = self.living.remove(&request) {
                    self.wakers.extend(living.finish(to_finish(reason)));
                }
                self.prompts.retain(|_, asking| *asking != request);
            }
        }
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

fn outside(field: &'static str, id: u32, vocab_size: u32) -> SubmitError {
    SubmitError::Malformed {
        field,
        reason: format!("token id {id} is not in [0, {vocab_size})"),
    }
}

fn push_rows(plan: &Plan, builder: &mut StepBuilder) {
    let mut next = 0;
    for row in &plan.rows {
        let end = next + row.new_blocks as usize;
        let blocks = plan.new_blocks.get(next..end).unwrap_or_default();
        builder.row(row.sequence.0, row.num_tokens, blocks.iter().map(|block| block.0));
        next = end;
    }
}

fn to_scheduler(outcome: &StepOutcome) -> Outcome {
    let rows = outcome.rows.iter().map(|row| RowOutcome {
        sequence: SequenceId(row.sequence),
        tokens: outcome.tokens[row.tokens.clone()]
            .iter()
            .copied()
            .map(TokenId)
            .collect(),
        failed: match row.status {
            RowStatus::Ok => None,
            RowStatus::InvalidLogits => Some(RowFailure::InvalidLogits),
            RowStatus::Grammar => Some(RowFailure::Grammar),
        },
    });
    Outcome {
        step: StepId(outcome.step),
        rows: rows.collect(),
    }
}

fn to_finish(reason: FinishReason) -> Finish {
    match reason {
        FinishReason::Stop(token) => Finish::Stop(token.0),
        FinishReason::Length => Finish::Length,
        FinishReason::Cancelled => Finish::Cancelled,
        FinishReason::DeadlineExceeded => Finish::DeadlineExceeded,
        FinishReason::Failed(RowFailure::InvalidLogits) => Finish::InvalidLogits,
        FinishReason::Failed(RowFailure::Grammar) => Finish::Grammar,
    }
}

//! One sequence as the engine keeps it, from its submission to its last event.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use shardline_scheduler::{Micros, RequestId, Submission, TenantId, TokenId};

use crate::engine::api::{Finish, Generate, GeneratedToken, GenerationEvent};
use crate::engine::grammars::to_wire;
use crate::engine::outbox::EventSender;
use crate::engine::prompt::PromptCollector;
use crate::shard::{Grammar, PromptLogprobs, Sampling};

/// A living sequence.
#[derive(Debug)]
pub(super) struct Living {
    generate: Generate,
    events: EventSender,
    submitted: Micros,
    started: bool,
    prompt: Option<PromptCollector>,
}

impl Living {
    pub(super) fn new(generate: Generate, events: EventSender, now: Micros) -> Self {
        let prompt = generate
            .sampling
            .prompt_logprobs
            .map(|_| PromptCollector::new(generate.prompt.clone()));
        Self {
            generate,
            events,
            submitted: now,
            started: false,
            prompt,
        }
    }

    /// What the scheduler needs to know of it.
    pub(super) fn submission(&self, request: RequestId) -> Submission {
        let generate = &self.generate;
        let tokens = |ids: &Arc<[u32]>| ids.iter().copied().map(TokenId).collect();
        Submission {
            request,
            tokens: tokens(&generate.prompt),
            num_prompt_tokens: generate.prompt.len() as u32,
            max_new_tokens: generate.max_new_tokens,
            // A text that its grammar completes ends there: the shard draws no end before it must.
            min_new_tokens: if generate.grammar.is_some() {
                0
            } else {
                generate.min_new_tokens
            },
            stop_token_ids: tokens(&generate.stop_token_ids),
            cache_salt: generate.cache_salt,
            use_prefix_cache: generate.sampling.prompt_logprobs.is_none(),
            tenant: TenantId(generate.tenant),
            priority: generate.priority,
            deadline: None,
        }
    }

    /// Whether its prompt's log-probabilities are still to come.
    pub(super) fn awaits_prompt(&self) -> bool {
        self.prompt.is_some()
    }

    /// See `Generate`.
    pub(super) fn seed_and_choice(&self) -> (u64, u32) {
        (self.generate.seed, self.generate.choice)
    }

    /// How its tokens are drawn in this admission.
    pub(super) fn sampling(&self) -> Sampling<'_> {
        let sampling = &self.generate.sampling;
        let min_tokens = self.generate.min_new_tokens;
        Sampling {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            typical_p: sampling.typical_p,
            repetition_penalty: sampling.repetition_penalty,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            logprobs: sampling.logprobs,
            top_logprobs: sampling.top_logprobs,
            // Once they are delivered, a later admission does not compute them again.
            prompt_logprobs: sampling.prompt_logprobs.filter(|_| self.awaits_prompt()),
            min_tokens,
            // The shard needs them only to keep them from being drawn too early.
            stop_token_ids: if min_tokens > 0 {
                &self.generate.stop_token_ids
            } else {
                &[]
            },
            allowed_token_ids: &sampling.allowed_token_ids,
            logit_bias: &sampling.logit_bias,
        }
    }

    /// What its tokens must match.
    pub(super) fn grammar(&self) -> Option<Grammar<'_>> {
        self.generate.grammar.as_ref().map(to_wire)
    }

    /// A piece of its prompt's log-probabilities came.
    pub(super) fn prompt_piece(&mut self, piece: PromptLogprobs) {
        if let Some(prompt) = &mut self.prompt {
            prompt.add(piece);
        }
    }

    /// It entered the batch; only the first time is told.
    pub(super) fn start(&mut self, cached_tokens: u32, now: Micros) -> Option<Waker> {
        if std::mem::replace(&mut self.started, true) {
            return None;
        }
        let queued = Duration::from_micros(now.since(self.submitted).0);
        self.events.push(GenerationEvent::Started {
            cached_tokens,
            queued,
        })
    }

    /// A token came. The prompt's log-probabilities go first.
    pub(super) fn token(
        &mut self,
        id: u32,
        logprob: Option<f32>,
        top: &[(u32, f32)],
        wakers: &mut Vec<Waker>,
    ) {
        if let Some(tokens) = self.prompt.take().and_then(PromptCollector::finish) {
            wakers.extend(self.events.push(GenerationEvent::Prompt(tokens)));
        }
        let sampling = &self.generate.sampling;
        let token = GeneratedToken {
            id,
            logprob: logprob.filter(|_| sampling.logprobs),
            // An empty list allocates nothing.
            top: top.to_vec(),
        };
        wakers.extend(self.events.push(GenerationEvent::Token(token)));
    }

    /// It ended.
    pub(super) fn finish(mut self, finish: Finish) -> Option<Waker> {
        self.events.push(GenerationEvent::Finished(finish))
    }
}

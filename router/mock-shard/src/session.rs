//! One `Execute` session: steps in, responses out, every rule of the wire checked.

use shardline_proto::arrays::{View, pack, pack_u32, total};
use shardline_proto::v1::{
    Outcomes, PromptLogprobs, RowStatus, Rows, StepRequest, StepResponse, StepTimings,
};

use crate::batch::{Batch, RowResult, Sequence, ids};
use crate::blocks::{Violation, refuse};
use crate::options::MockOptions;

/// What a step cost and did, for the journal and the latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSummary {
    /// Tokens run.
    pub tokens: u32,
    /// Tokens sampled.
    pub sampled: u32,
    /// Cached tokens of the new sequences.
    pub cached_tokens: u32,
}

/// A session's state.
#[derive(Debug)]
pub struct Session {
    options: MockOptions,
    batch: Batch,
    last_step: u64,
    epoch: Option<u64>,
}

impl Session {
    /// Before its first step.
    #[must_use]
    pub fn new(options: MockOptions) -> Self {
        let batch = Batch::new(&options);
        Self {
            options,
            batch,
            last_step: 0,
            epoch: None,
        }
    }

    /// The living sequences.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Runs one whole step.
    ///
    /// # Errors
    /// When it breaks a rule. The session is over then.
    pub fn step(&mut self, request: &StepRequest) -> Result<(StepResponse, StepSummary), Violation> {
        self.check_order(request)?;
        self.batch.begin_step();
        let mut summary = StepSummary::default();
        for id in view::<u64>("drop", &request.drop)?.iter() {
            self.batch.drop_sequence(id)?;
        }
        if let Some(command) = request.commands.first() {
            refuse!("command {}: this shard takes none", command.command_id);
        }
        for new in &request.new_sequences {
            summary.cached_tokens += self.batch.admit(new, &self.options)?;
        }
        let mut response = StepResponse {
            step_id: request.step_id,
            timings: Some(StepTimings::default()),
            ..StepResponse::default()
        };
        if let Some(rows) = &request.rows {
            self.run_rows(rows, &mut response, &mut summary)?;
        }
        if self.options.rank > 0 {
            response = StepResponse {
                step_id: request.step_id,
                ..StepResponse::default()
            };
        }
        Ok((response, summary))
    }

    fn check_order(&mut self, request: &StepRequest) -> Result<(), Violation> {
        if request.step_id != self.last_step + 1 {
            refuse!("step {} came after step {}", request.step_id, self.last_step);
        }
        self.last_step = request.step_id;
        let epoch = *self.epoch.get_or_insert(request.session_epoch);
        if request.session_epoch != epoch {
            refuse!(
                "epoch {} came in the session of epoch {epoch}",
                request.session_epoch
            );
        }
        Ok(())
    }

    fn run_rows(
        &mut self,
        rows: &Rows,
        response: &mut StepResponse,
        summary: &mut StepSummary,
    ) -> Result<(), Violation> {
        let rows = ReadRows::new(rows, &self.options)?;
        let mut written = Written::default();
        let mut prefill_seen = false;
        let mut next_block = 0;
        for (index, id) in rows.sequences.iter().enumerate() {
            let num_tokens = rows.num_tokens[index];
            let blocks = next_block..next_block + rows.new_block_counts[index] as usize;
            next_block = blocks.end;
            let decodes = self.batch.get(*id)?.decodes();
            if decodes && prefill_seen {
                refuse!("rows: sequence {id} decodes after a row of prefill");
            }
            prefill_seen |= num_tokens > 1;
            let before = self.batch.get(*id)?.computed;
            let result = self
                .batch
                .advance(*id, num_tokens, &rows.new_blocks[blocks], &self.options)?;
            let sequence = self.batch.get(*id)?;
            summary.tokens += num_tokens;
            summary.sampled += u32::from(matches!(result, RowResult::Sampled(_)));
            written.row(sequence, result, self.options.vocab_size);
            if let Some(prompt) = prompt_logprobs(sequence, before, self.options.vocab_size) {
                response.prompt_logprobs.push(prompt);
            }
        }
        if summary.tokens > self.options.max_step_tokens {
            refuse!(
                "a step of {} tokens; {} fit",
                summary.tokens,
                self.options.max_step_tokens
            );
        }
        response.outcomes = Some(written.into_outcomes());
        Ok(())
    }
}

fn view<'a, T: shardline_proto::arrays::Element>(
    field: &'static str,
    bytes: &'a [u8],
) -> Result<View<'a, T>, Violation> {
    View::new(field, bytes).map_err(|error| Violation(error.to_string()))
}

struct ReadRows {
    sequences: Vec<u64>,
    num_tokens: Vec<u32>,
    new_block_counts: Vec<u32>,
    new_blocks: Vec<u32>,
}

impl ReadRows {
    fn new(rows: &Rows, options: &MockOptions) -> Result<Self, Violation> {
        let sequences: Vec<u64> = view("rows.sequence_ids", &rows.sequence_ids)?.iter().collect();
        let counts = |field, bytes| {
            View::<i32>::with_entries(field, bytes, sequences.len())
                .and_then(|view| view.counts())
                .map_err(|error| Violation(error.to_string()))
        };
        let num_tokens = counts("rows.num_tokens", &rows.num_tokens)?;
        let new_block_counts = counts("rows.new_block_counts", &rows.new_block_counts)?;
        let new_blocks = ids("rows.new_blocks", &rows.new_blocks, options.num_blocks)?;
        if new_blocks.len() != total(&new_block_counts) {
            refuse!(
                "rows: {} new blocks where {} are due",
                new_blocks.len(),
                total(&new_block_counts)
            );
        }
        if !rows.num_draft_tokens.is_empty() {
            refuse!("rows: this shard drafts no tokens");
        }
        Ok(Self {
            sequences,
            num_tokens,
            new_block_counts,
            new_blocks,
        })
    }
}

/// The outcomes while they are gathered.
#[derive(Default)]
struct Written {
    sequences: Vec<u64>,
    status: Vec<u8>,
    token_counts: Vec<u32>,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    top_counts: Vec<u32>,
    top_ids: Vec<u32>,
    top_logprobs: Vec<f32>,
    asked_logprobs: bool,
    asked_top: bool,
}

impl Written {
    fn row(&mut self, sequence: &Sequence, result: RowResult, vocab_size: u32) {
        let token = match result {
            RowResult::Computed => return,
            RowResult::Sampled(token) => Some(token),
            RowResult::InvalidLogits => None,
        };
        let status = if token.is_some() {
            RowStatus::Ok
        } else {
            RowStatus::InvalidLogits
        };
        self.sequences.push(sequence.id);
        self.status.push(status as u8);
        self.token_counts.push(u32::from(token.is_some()));
        let Some(token) = token else { return };
        self.tokens.push(token);
        let sampling = &sequence.sampling;
        self.asked_logprobs |= sampling.logprobs;
        self.asked_top |= sampling.top_logprobs > 0;
        self.logprobs.push(if sampling.logprobs {
            logprob(token, 0)
        } else {
            f32::NAN
        });
        self.top_counts.push(sampling.top_logprobs);
        for place in 0..sampling.top_logprobs {
            self.top_ids.push((token + place) % vocab_size);
            self.top_logprobs.push(logprob(token, place));
        }
    }

    fn into_outcomes(mut self) -> Outcomes {
        if !self.asked_logprobs {
            self.logprobs.clear();
        }
        if !self.asked_top {
            self.top_counts.clear();
        }
        Outcomes {
            sequence_ids: pack(self.sequences.into_iter()),
            status: pack(self.status.into_iter()),
            token_counts: pack_u32(self.token_counts.into_iter()),
            token_ids: pack_u32(self.tokens.into_iter()),
            logprobs: pack(self.logprobs.into_iter()),
            top_counts: pack_u32(self.top_counts.into_iter()),
            top_token_ids: pack_u32(self.top_ids.into_iter()),
            top_logprobs: pack(self.top_logprobs.into_iter()),
        }
    }
}

/// The log-probability that the `place`-th most likely token has where `token` is the first.
#[must_use]
pub fn logprob(token: u32, place: u32) -> f32 {
    -0.125 * (1 + token % 7 + place) as f32
}

fn prompt_logprobs(sequence: &Sequence, before: u32, vocab_size: u32) -> Option<PromptLogprobs> {
    let end = sequence.computed.min(sequence.num_prompt_tokens);
    if !sequence.sampling.prompt_logprobs || before >= end {
        return None;
    }
    let top = sequence.sampling.prompt_top_logprobs;
    let tokens = &sequence.tokens[before as usize..end as usize];
    let first = |index: usize| before == 0 && index == 0;
    let entries = tokens.iter().enumerate();
    let tops = || {
        entries
            .clone()
            .filter(|(index, _)| !first(*index))
            .flat_map(|(_, token)| (0..top).map(move |place| (*token, place)))
    };
    Some(PromptLogprobs {
        sequence_id: sequence.id,
        first_position: before,
        logprobs: pack(entries.clone().map(|(index, token)| {
            if first(index) {
                f32::NAN
            } else {
                logprob(*token, 0)
            }
        })),
        top_counts: pack_u32(
            entries
                .clone()
                .map(|(index, _)| if first(index) { 0 } else { top }),
        ),
        top_token_ids: pack_u32(tops().map(|(token, place)| (token + place) % vocab_size)),
        top_logprobs: pack(tops().map(|(token, place)| logprob(token, place))),
    })
}

//! From a `StepRequest` to a [`Frame`]: everything that can be checked without the model is checked
//! here, once, outside the interpreter's lock.

use std::collections::HashSet;

use shardline_proto::v1;

use crate::arrays;
use crate::frame::{Command, CommandKind, Frame, NewSequence, Rows};
use crate::grammar::grammar;
use crate::invalid::{Field, InvalidStep};
use crate::sampling;

/// What the shard takes, as `Info` tells the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) vocab_size: u32,
    pub(crate) block_size: u32,
    pub(crate) num_blocks: u32,
    pub(crate) max_step_tokens: u32,
    pub(crate) max_sequences: u32,
    pub(crate) max_top_logprobs: u32,
}

impl Limits {
    /// `None` unless there is exactly one KV group.
    pub(crate) fn of(info: &v1::InfoResponse) -> Option<Self> {
        let [group] = info.kv_groups.as_slice() else {
            return None;
        };
        Some(Self {
            vocab_size: info.vocab_size,
            block_size: group.block_size,
            num_blocks: group.num_blocks,
            max_step_tokens: info.max_step_tokens,
            max_sequences: info.max_sequences,
            max_top_logprobs: info.max_top_logprobs,
        })
    }
}

/// The state of one session's input: which step comes next and which sequences live.
#[derive(Debug)]
pub(crate) struct Decoder {
    session: u64,
    limits: Limits,
    next_step_id: u64,
    epoch: Option<u64>,
    living: HashSet<u64>,
}

impl Decoder {
    pub(crate) fn new(session: u64, limits: Limits) -> Self {
        Self {
            session,
            limits,
            next_step_id: 1,
            epoch: None,
            living: HashSet::new(),
        }
    }

    /// Checks the next step. After an error the decoder is of no more use.
    pub(crate) fn decode(&mut self, request: v1::StepRequest) -> Result<Frame, InvalidStep> {
        self.check_step_id(request.step_id)?;
        let new_session = self.check_epoch(request.session_epoch)?;
        self.drop_sequences(&request.drop)?;
        let commands = request
            .commands
            .into_iter()
            .enumerate()
            .map(command)
            .collect::<Result<_, _>>()?;
        let new_sequences = request
            .new_sequences
            .into_iter()
            .enumerate()
            .map(|(index, sequence)| self.new_sequence(index, sequence))
            .collect::<Result<_, _>>()?;
        let rows = self.rows(request.rows.unwrap_or_default())?;
        Ok(Frame {
            session: self.session,
            session_epoch: request.session_epoch,
            new_session,
            step_id: request.step_id,
            drop: request.drop,
            commands,
            new_sequences,
            rows,
        })
    }

    fn check_step_id(&mut self, given: u64) -> Result<(), InvalidStep> {
        if given != self.next_step_id {
            let rule = format!("the next step of this session is {}", self.next_step_id);
            return Err(InvalidStep::Integer {
                field: Field::step("step_id"),
                given,
                rule,
            });
        }
        self.next_step_id += 1;
        Ok(())
    }

    /// Whether this is the session's first step.
    fn check_epoch(&mut self, given: u64) -> Result<bool, InvalidStep> {
        match self.epoch {
            None => {
                self.epoch = Some(given);
                Ok(true)
            }
            Some(epoch) if epoch == given => Ok(false),
            Some(epoch) => {
                let rule = format!("this session began with {epoch}; open a new stream for a new session");
                Err(InvalidStep::Integer {
                    field: Field::step("session_epoch"),
                    given,
                    rule,
                })
            }
        }
    }

    fn drop_sequences(&mut self, ids: &bytes::Bytes) -> Result<(), InvalidStep> {
        let field = Field::step("drop");
        arrays::len::<u64>(field, ids)?;
        match arrays::iter::<u64>(ids).find(|id| !self.living.remove(id)) {
            None => Ok(()),
            Some(given) => {
                let rule = "no sequence of this id lives".to_owned();
                Err(InvalidStep::Integer { field, given, rule })
            }
        }
    }

    fn new_sequence(&mut self, index: usize, given: v1::NewSequence) -> Result<NewSequence, InvalidStep> {
        let limits = self.limits;
        let field = |name| Field::new_sequence(index, name);
        let num_tokens = arrays::len::<i32>(field("token_ids"), &given.token_ids)?;
        if num_tokens == 0 {
            return Err(InvalidStep::Missing {
                field: field("token_ids"),
            });
        }
        arrays::in_range(
            field("token_ids"),
            &given.token_ids,
            0,
            i64::from(limits.vocab_size),
        )?;
        let mut tables = given.block_tables;
        if tables.len() > 1 {
            let (field, given) = (field("block_tables"), tables.len());
            return Err(InvalidStep::TooMany {
                field,
                given,
                what: "KV groups",
                limit: 1,
            });
        }
        let block_ids = tables.pop().unwrap_or_default().block_ids;
        let num_blocks = arrays::len::<i32>(field("block_tables[0].block_ids"), &block_ids)?;
        let high = i64::from(limits.num_blocks);
        arrays::in_range(field("block_tables[0].block_ids"), &block_ids, 0, high)?;
        let sampling = sampling::decode(given.sampling, index, &limits)?;
        check_prompt_length(given.num_prompt_tokens, num_tokens, index)?;
        let cached = given.num_cached_tokens;
        check_cached(cached, num_tokens, num_blocks, limits.block_size, index)?;
        if sampling.prompt_logprobs && cached > 0 {
            let rule = "with prompt_logprobs no token may be cached".to_owned();
            return Err(InvalidStep::Integer {
                field: field("num_cached_tokens"),
                given: cached.into(),
                rule,
            });
        }
        self.admit(index, given.sequence_id)?;
        Ok(NewSequence {
            sequence_id: given.sequence_id,
            token_ids: given.token_ids,
            num_prompt_tokens: given.num_prompt_tokens,
            num_cached_tokens: cached,
            seed: given.seed,
            choice: given.choice,
            sampling,
            block_ids,
            grammar: given.grammar.and_then(|grammar| grammar.kind).map(grammar),
            adapter: given.adapter,
        })
    }

    fn admit(&mut self, index: usize, id: u64) -> Result<(), InvalidStep> {
        if !self.living.insert(id) {
            let (field, rule) = (
                Field::new_sequence(index, "sequence_id"),
                "it lives already".to_owned(),
            );
            return Err(InvalidStep::Integer {
                field,
                given: id,
                rule,
            });
        }
        let (given, limit) = (self.living.len(), self.limits.max_sequences as usize);
        if given > limit {
            let field = Field::step("new_sequences");
            return Err(InvalidStep::TooMany {
                field,
                given,
                what: "living sequences",
                limit,
            });
        }
        Ok(())
    }

    fn rows(&self, given: v1::Rows) -> Result<Rows, InvalidStep> {
        let field = Field::rows;
        let rows = arrays::len::<u64>(field("sequence_ids"), &given.sequence_ids)?;
        self.check_row_ids(&given.sequence_ids, rows)?;
        arrays::exact_len::<i32>(field("num_tokens"), &given.num_tokens, rows, "a row")?;
        arrays::in_range(field("num_tokens"), &given.num_tokens, 1, i64::from(i32::MAX))?;
        let tokens = sum(&given.num_tokens);
        let limit = self.limits.max_step_tokens as usize;
        if tokens > limit {
            return Err(InvalidStep::TooMany {
                field: field("num_tokens"),
                given: tokens,
                what: "tokens",
                limit,
            });
        }
        arrays::exact_len::<i32>(field("new_block_counts"), &given.new_block_counts, rows, "a row")?;
        arrays::in_range(
            field("new_block_counts"),
            &given.new_block_counts,
            0,
            i64::from(i32::MAX),
        )?;
        let blocks = sum(&given.new_block_counts);
        let per = "a block counted by new_block_counts";
        arrays::exact_len::<i32>(field("new_blocks"), &given.new_blocks, blocks, per)?;
        arrays::in_range(
            field("new_blocks"),
            &given.new_blocks,
            0,
            i64::from(self.limits.num_blocks),
        )?;
        if !given.num_draft_tokens.is_empty() {
            arrays::exact_len::<i32>(field("num_draft_tokens"), &given.num_draft_tokens, rows, "a row")?;
            arrays::in_range(
                field("num_draft_tokens"),
                &given.num_draft_tokens,
                0,
                i64::from(i32::MAX),
            )?;
        }
        Ok(Rows {
            sequence_ids: given.sequence_ids,
            num_tokens: given.num_tokens,
            new_block_counts: given.new_block_counts,
            new_blocks: given.new_blocks,
            num_draft_tokens: given.num_draft_tokens,
        })
    }

    fn check_row_ids(&self, ids: &[u8], rows: usize) -> Result<(), InvalidStep> {
        let mut seen = HashSet::with_capacity(rows);
        for given in arrays::iter::<u64>(ids) {
            let rule = if !self.living.contains(&given) {
                "no sequence of this id lives"
            } else if !seen.insert(given) {
                "a sequence has at most one row a step"
            } else {
                continue;
            };
            let field = Field::rows("sequence_ids");
            return Err(InvalidStep::Integer {
                field,
                given,
                rule: rule.to_owned(),
            });
        }
        Ok(())
    }
}

/// The sum of a checked array of numbers that are not negative.
fn sum(bytes: &[u8]) -> usize {
    arrays::iter::<i32>(bytes)
        .map(|value| value.unsigned_abs() as usize)
        .sum()
}

fn check_prompt_length(given: u32, num_tokens: usize, index: usize) -> Result<(), InvalidStep> {
    if given as usize <= num_tokens {
        return Ok(());
    }
    let rule = format!("the sequence has {num_tokens} tokens");
    let field = Field::new_sequence(index, "num_prompt_tokens");
    Err(InvalidStep::Integer {
        field,
        given: given.into(),
        rule,
    })
}

fn check_cached(
    given: u32,
    num_tokens: usize,
    num_blocks: usize,
    block_size: u32,
    index: usize,
) -> Result<(), InvalidStep> {
    let rule = if given as usize >= num_tokens {
        format!("at least one of the {num_tokens} tokens must be left to compute")
    } else if block_size > 0 && !given.is_multiple_of(block_size) {
        format!("it must be a multiple of the block size {block_size}")
    } else if given as usize > num_blocks.saturating_mul(block_size as usize) {
        format!("the {num_blocks} blocks given hold fewer tokens")
    } else {
        return Ok(());
    };
    let field = Field::new_sequence(index, "num_cached_tokens");
    Err(InvalidStep::Integer {
        field,
        given: given.into(),
        rule,
    })
}

fn command((index, given): (usize, v1::Command)) -> Result<Command, InvalidStep> {
    use v1::command::Kind;
    let kind = match given.kind {
        Some(Kind::LoadAdapter(load)) => CommandKind::LoadAdapter {
            name: load.name,
            path: load.path,
        },
        Some(Kind::UnloadAdapter(unload)) => CommandKind::UnloadAdapter { name: unload.name },
        None => {
            return Err(InvalidStep::Missing {
                field: Field::command(index, "kind"),
            });
        }
    };
    Ok(Command {
        command_id: given.command_id,
        kind,
    })
}

#[cfg(test)]
mod tests;

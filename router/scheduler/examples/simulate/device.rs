//! A device that takes as long for each step as one did that was measured.

use std::collections::{HashMap, VecDeque};

use shardline_scheduler::{Outcome, Plan, RowOutcome, SequenceId, TokenId};

/// Between a plan and its arrival at the device, and back.
const WIRE_US: u64 = 50;

/// How long the steps of a model take, in bf16 on H200s.
#[derive(Clone, Copy)]
pub struct Speed {
    /// Everything but attention of a step of so many tokens, in microseconds, ascending; steps are padded to
    /// these sizes.
    sizes: &'static [(u32, u64)],
    /// Tokens whose keys and values are read in a microsecond.
    context_tokens_per_us: u64,
    /// What attention of prompts adds to a step of few decode rows; from `FEW_ROWS` on theirs hides it, and of up to
    /// `FEW_TOKENS` it is a third.
    few_rows_us: u64,
}

const FEW_ROWS: u64 = 64;
const FEW_TOKENS: u32 = 64;

/// A model of 8 billion parameters on one: measured without prompts up to 104 tokens, beside 99 rows at 160 to 384 and
/// beside 100 at 512; 128 is guessed, and larger steps were measured before small ones became cheaper by half a
/// millisecond, which is taken off.
pub const ON_ONE: Speed = Speed {
    sizes: &[
        (1, 3_850),
        (8, 4_030),
        (16, 4_050),
        (32, 4_100),
        (64, 4_420),
        (88, 4_480),
        (104, 4_630),
        (128, 4_720),
        (160, 5_090),
        (192, 5_400),
        (256, 6_480),
        (320, 8_080),
        (384, 9_190),
        (512, 12_060),
        (640, 14_910),
        (768, 17_810),
        (1_024, 23_270),
    ],
    context_tokens_per_us: 28,
    few_rows_us: 450,
};

/// One of 70 billion parameters on two: beside 31 rows at 64 tokens and 99 at 160, 192, 256, 384 and 512, without
/// prompts at 1 and 104; the others are guessed from these, and what prompts add to few rows is that of the
/// smaller model.
pub const ON_TWO: Speed = Speed {
    sizes: &[
        (1, 17_800),
        (64, 19_900),
        (104, 20_900),
        (128, 21_700),
        (160, 22_600),
        (192, 26_000),
        (256, 31_700),
        (320, 38_800),
        (384, 45_700),
        (512, 60_700),
        (640, 76_200),
        (768, 91_700),
        (1_024, 120_700),
    ],
    context_tokens_per_us: 21,
    few_rows_us: 450,
};

impl Speed {
    fn step_us(&self, plan: &Plan, context_tokens: u64) -> u64 {
        let tokens = plan.num_tokens;
        let decodes = plan.rows.iter().filter(|row| row.num_tokens == 1).count() as u64;
        let shown = if decodes == 0 || decodes == plan.rows.len() as u64 {
            0
        } else {
            self.few_rows_us * FEW_ROWS.saturating_sub(decodes) / FEW_ROWS
        };
        let at = self.sizes.partition_point(|(size, _)| *size < tokens);
        let (_, most) = self.sizes[self.sizes.len() - 1];
        self.sizes.get(at).map_or(most, |(_, us)| *us)
            + context_tokens / self.context_tokens_per_us
            + if tokens <= FEW_TOKENS { shown / 3 } else { shown }
    }
}

/// Runs plans in order, one after the other.
pub struct Device {
    speed: Speed,
    /// Computed and known tokens of a sequence.
    progress: HashMap<SequenceId, (u64, u64)>,
    free_at: u64,
    pub busy_us: u64,
    /// With the time at which each comes back.
    pub outcomes: VecDeque<(u64, Outcome)>,
}

impl Device {
    pub fn new(speed: Speed) -> Self {
        Self {
            speed,
            progress: HashMap::new(),
            free_at: 0,
            busy_us: 0,
            outcomes: VecDeque::new(),
        }
    }

    pub fn run(&mut self, plan: &Plan, now: u64) {
        for dropped in &plan.drop {
            self.progress.remove(dropped);
        }
        for admission in &plan.admitted {
            let progress = (
                u64::from(admission.num_cached_tokens),
                admission.tokens.len() as u64,
            );
            self.progress.insert(admission.sequence, progress);
        }
        let mut context_tokens = 0;
        let mut rows = Vec::new();
        for row in &plan.rows {
            let Some((computed, known)) = self.progress.get_mut(&row.sequence) else {
                continue;
            };
            *computed += u64::from(row.num_tokens);
            context_tokens += *computed;
            if computed == known {
                let token = TokenId((row.sequence.0 * 31 + *known) as u32);
                *known += 1;
                rows.push(RowOutcome {
                    sequence: row.sequence,
                    tokens: vec![token],
                    failed: None,
                });
            }
        }
        let took = self.speed.step_us(plan, context_tokens);
        self.free_at = self.free_at.max(now + WIRE_US) + took;
        self.busy_us += took;
        self.outcomes.push_back((
            self.free_at + WIRE_US,
            Outcome {
                step: plan.step,
                rows,
            },
        ));
    }
}

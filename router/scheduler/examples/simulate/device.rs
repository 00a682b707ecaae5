//! A device that takes as long for each step as one did that was measured.

use std::collections::{HashMap, VecDeque};

use shardline_scheduler::{Outcome, Plan, RowOutcome, SequenceId, TokenId};

/// Between a plan and its arrival at the device, and back.
const WIRE_US: u64 = 50;

/// How long the steps of a model take, in bf16 on H200s.
#[derive(Clone, Copy)]
pub struct Speed {
    /// Of single tokens.
    decode: Steps,
    /// With prompts.
    mixed: Steps,
}

#[derive(Clone, Copy)]
struct Steps {
    /// Everything but attention of a step of so many tokens, in microseconds, ascending; steps are padded to
    /// these sizes.
    sizes: &'static [(u32, u64)],
    /// What a thousand tokens whose keys and values are read add.
    thousand_context_tokens_us: u64,
}

/// A model of 8 billion parameters on one: fitted to the 17,000 steps of loads of 8 to 256 clients over HTTP, from outcome
/// to outcome. In a load mixed steps of up to 384 tokens take 4 to 8 % longer than by themselves. Mixed steps of up to
/// 64, 96, 128 and 768 tokens were seldom there, of 320 and 640 once or twice; those of 160 tokens and decode steps of
/// more than 256 rows are guessed.
pub const ON_ONE: Speed = Speed {
    decode: Steps {
        sizes: &[
            (1, 3_820),
            (4, 4_040),
            (8, 4_070),
            (16, 4_110),
            (24, 4_250),
            (32, 4_310),
            (56, 4_640),
            (64, 4_730),
            (88, 5_020),
            (104, 5_220),
            (128, 5_480),
            (144, 5_860),
            (160, 6_150),
            (192, 6_950),
            (208, 7_360),
            (232, 7_650),
            (256, 7_890),
            (320, 9_200),
            (512, 12_500),
            (1_024, 23_000),
        ],
        thousand_context_tokens_us: 25,
    },
    mixed: Steps {
        sizes: &[
            (64, 4_860),
            (96, 5_390),
            (128, 5_430),
            (160, 6_000),
            (192, 6_170),
            (256, 7_010),
            (320, 8_770),
            (384, 9_840),
            (512, 12_380),
            (640, 15_280),
            (768, 17_260),
            (1_024, 23_090),
        ],
        thousand_context_tokens_us: 33,
    },
};

/// One of 70 billion parameters on two, by steps that were measured by themselves: beside 31 rows at 64 tokens and 99 at
/// 160, 192, 256, 384 and 512, without prompts at 1 and 104; the others are guessed from these.
pub const ON_TWO: Speed = Speed {
    decode: ON_TWO_STEPS,
    mixed: ON_TWO_STEPS,
};

const ON_TWO_STEPS: Steps = Steps {
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
    thousand_context_tokens_us: 48,
};

impl Speed {
    fn step_us(&self, plan: &Plan, context_tokens: u64) -> u64 {
        let is_decode = plan.rows.iter().all(|row| row.num_tokens == 1);
        let steps = if is_decode { self.decode } else { self.mixed };
        let at = steps.sizes.partition_point(|(size, _)| *size < plan.num_tokens);
        let (_, most) = steps.sizes[steps.sizes.len() - 1];
        steps.sizes.get(at).map_or(most, |(_, us)| *us)
            + context_tokens * steps.thousand_context_tokens_us / 1_000
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

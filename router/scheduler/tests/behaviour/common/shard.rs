//! A shard that keeps what a real one keeps and checks that every plan is legal.
//!
//! Its next token is a function of what the blocks of the sequence hold, so a wrong cache hit or a
//! block used by two shows as a wrong token.

use std::collections::{BTreeMap, BTreeSet};

use shardline_scheduler::{
    BlockId, Config, Outcome, Plan, RequestId, RowFailure, RowOutcome, SequenceId, TokenId,
};

/// Sampled tokens are below this number.
pub const VOCABULARY: u32 = 4;

/// What one slot of a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    position: u32,
    token: TokenId,
    salt: u64,
    /// Written by a row that was not a number.
    poisoned: bool,
}

#[derive(Debug)]
struct Known {
    request: RequestId,
    table: Vec<BlockId>,
    tokens: Vec<TokenId>,
    computed: u32,
    salt: u64,
    failed: bool,
}

/// The token after `tokens`, in an undisturbed run under `salt`.
pub fn next_token(salt: u64, tokens: impl Iterator<Item = TokenId>) -> TokenId {
    let state = tokens.fold(salt ^ 0x51ed_270b, |state, token| {
        (state ^ u64::from(token.0))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    });
    TokenId((state >> 33) as u32 % VOCABULARY)
}

/// The shard's whole state.
#[derive(Debug)]
pub struct FakeShard {
    config: Config,
    last_step: u64,
    cells: Vec<Vec<Option<Cell>>>,
    known: BTreeMap<SequenceId, Known>,
    seen: BTreeSet<SequenceId>,
}

impl FakeShard {
    pub fn new(config: &Config) -> Self {
        let cells = vec![vec![None; config.block_size as usize]; config.num_blocks as usize];
        let (known, seen) = (BTreeMap::new(), BTreeSet::new());
        Self {
            config: config.clone(),
            last_step: 0,
            cells,
            known,
            seen,
        }
    }

    /// Runs a plan. `salt_of` gives a request's salt; a row for which `fails` says so writes what is
    /// not a number.
    pub fn run(
        &mut self,
        plan: &Plan,
        salt_of: impl Fn(RequestId) -> u64,
        fails: impl Fn(usize) -> bool,
    ) -> Outcome {
        self.last_step += 1;
        assert_eq!(plan.step.0, self.last_step, "steps are counted from 1");
        for dropped in &plan.drop {
            assert!(
                self.known.remove(dropped).is_some(),
                "{dropped} is dropped but not known"
            );
        }
        for admission in &plan.admitted {
            self.admit(admission, salt_of(admission.request));
        }
        assert!(
            self.known.len() <= self.config.max_running as usize,
            "more sequences than slots"
        );
        let total: u32 = plan.rows.iter().map(|row| row.num_tokens).sum();
        assert_eq!(total, plan.num_tokens);
        assert!(total <= self.config.max_step_tokens, "{total} tokens in a step");
        assert!(!plan.rows.is_empty(), "an empty step");
        let first_long = plan
            .rows
            .iter()
            .position(|row| row.num_tokens > 1)
            .unwrap_or(plan.rows.len());
        assert!(
            plan.rows[first_long..].iter().all(|row| row.num_tokens > 1),
            "decode rows come first"
        );

        let mut new_blocks = plan.new_blocks.iter().copied();
        let mut in_step = BTreeSet::new();
        for row in &plan.rows {
            assert!(in_step.insert(row.sequence), "two rows for {}", row.sequence);
            let known = self
                .known
                .get_mut(&row.sequence)
                .expect("a row of a known sequence");
            known
                .table
                .extend(new_blocks.by_ref().take(row.new_blocks as usize));
        }
        assert_eq!(new_blocks.next(), None, "blocks without a row");
        self.check_tables();
        let mut outcome = Outcome {
            step: plan.step,
            rows: Vec::new(),
        };
        for (index, row) in plan.rows.iter().enumerate() {
            outcome
                .rows
                .extend(self.run_row(row.sequence, row.num_tokens, fails(index)));
        }
        outcome
    }

    fn admit(&mut self, admission: &shardline_scheduler::Admission, salt: u64) {
        assert!(
            self.seen.insert(admission.sequence),
            "{} was used before",
            admission.sequence
        );
        assert!(admission.num_prompt_tokens >= 1);
        assert!(admission.num_prompt_tokens as usize <= admission.tokens.len());
        let cached = admission.num_cached_tokens;
        assert!(
            (cached as usize) < admission.tokens.len(),
            "nothing is left to run"
        );
        assert_eq!(cached, admission.blocks.len() as u32 * self.config.block_size);
        for position in 0..cached {
            let block = admission.blocks[(position / self.config.block_size) as usize];
            let cell = self.cells[block.0 as usize][(position % self.config.block_size) as usize];
            let cell = cell.expect("a cached block is written");
            let expected = (position, admission.tokens[position as usize], salt);
            assert_eq!(
                (cell.position, cell.token, cell.salt),
                expected,
                "wrong hit in {block}"
            );
        }
        let known = Known {
            request: admission.request,
            table: admission.blocks.clone(),
            tokens: admission.tokens.clone(),
            computed: cached,
            salt,
            failed: false,
        };
        self.known.insert(admission.sequence, known);
    }

    /// A block in two tables stands at one place and was written before by both.
    fn check_tables(&self) {
        let mut holders: BTreeMap<BlockId, Vec<(usize, &Known)>> = BTreeMap::new();
        for known in self.known.values() {
            for (index, block) in known.table.iter().enumerate() {
                assert!(block.0 < self.config.num_blocks, "{block} does not exist");
                holders.entry(*block).or_default().push((index, known));
            }
        }
        let limit = self
            .config
            .max_total_tokens
            .unwrap_or(u32::MAX)
            .max(self.config.block_size);
        assert!(
            holders.len() as u32 * self.config.block_size <= limit,
            "too many tokens of KV"
        );
        for (block, holders) in holders.iter().filter(|(_, holders)| holders.len() > 1) {
            for (index, known) in holders {
                assert_eq!(*index, holders[0].0, "{block} at two places");
                let end = (index + 1) as u32 * self.config.block_size;
                assert!(known.computed >= end, "{block} is shared and not full");
            }
        }
    }

    fn run_row(&mut self, sequence: SequenceId, num_tokens: u32, fails: bool) -> Option<RowOutcome> {
        let known = self.known.get_mut(&sequence).expect("known");
        if known.failed {
            return None;
        }
        let block_size = self.config.block_size;
        assert!(num_tokens >= 1);
        let end = known.computed + num_tokens;
        assert!(
            end as usize <= known.tokens.len(),
            "{sequence} runs tokens that are not there"
        );
        assert!(
            end <= known.table.len() as u32 * block_size,
            "{sequence} has no block for its tokens"
        );
        for position in known.computed..end {
            let block = known.table[(position / block_size) as usize];
            let cell = Cell {
                position,
                token: known.tokens[position as usize],
                salt: known.salt,
                poisoned: fails,
            };
            self.cells[block.0 as usize][(position % block_size) as usize] = Some(cell);
        }
        known.computed = end;
        if (end as usize) < known.tokens.len() {
            return None;
        }
        let read = |position: u32| {
            let block = known.table[(position / block_size) as usize];
            self.cells[block.0 as usize][(position % block_size) as usize].expect("written")
        };
        if (0..end).any(|position| read(position).poisoned) {
            known.failed = true;
            let failed = Some(RowFailure::InvalidLogits);
            return Some(RowOutcome {
                sequence,
                tokens: Vec::new(),
                failed,
            });
        }
        let salt = read(0).salt;
        let token = next_token(salt, (0..end).map(|position| read(position).token));
        known.tokens.push(token);
        Some(RowOutcome {
            sequence,
            tokens: vec![token],
            failed: None,
        })
    }

    /// Known tokens of a request's admission, sampled ones that were discarded included.
    pub fn known_tokens(&self, request: RequestId) -> Option<usize> {
        self.known
            .values()
            .rfind(|known| known.request == request)
            .map(|known| known.tokens.len())
    }
}

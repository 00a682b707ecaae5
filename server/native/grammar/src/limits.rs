//! What grammars may cost. Each number is a bound on one request's share, never a wish.

use llguidance::api::ParserLimits;

/// Bounds of compilation, of masks and of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a grammar's text.
    pub source_bytes: usize,
    /// Symbols in all productions of a grammar.
    pub grammar_size: usize,
    /// Work to build a grammar's lexer; 50,000 take about a millisecond.
    pub compile_work: u64,
    /// Work of a lexer for one mask; 14,000 take about a millisecond.
    pub mask_work: u64,
    /// Parser items for one mask; 20,000 take about a millisecond.
    pub mask_items: usize,
    /// States of a grammar's lexer, each one or two kilobytes.
    pub lexer_states: usize,
    /// Grammars that are kept.
    pub cached_grammars: usize,
    /// Bytes of memory, by estimate, of grammars that are kept.
    pub cached_bytes: usize,
    /// Compilations that may wait.
    pub waiting_compilations: usize,
    /// Stack of a compiling thread: nested grammars are compiled by recursion.
    pub compile_stack_bytes: usize,
    /// Threads that compile.
    pub compile_threads: usize,
    /// Threads that compute masks.
    pub mask_threads: usize,
    /// Lexers that the sequences of one grammar share.
    pub lanes: usize,
}

impl Limits {
    /// For `mask_threads` threads beside the one that asks.
    #[must_use]
    pub fn with_threads(mask_threads: usize) -> Self {
        Self {
            source_bytes: 512 << 10,
            grammar_size: 250_000,
            compile_work: 1_000_000,
            mask_work: 100_000,
            mask_items: 25_000,
            lexer_states: 10_000,
            cached_grammars: 256,
            cached_bytes: 256 << 20,
            waiting_compilations: 64,
            compile_stack_bytes: 64 << 20,
            compile_threads: mask_threads.div_ceil(4).max(1),
            mask_threads: mask_threads.max(1),
            // The thread that waits for masks works too.
            lanes: mask_threads.max(1) + 1,
        }
    }

    pub(crate) fn parser(&self) -> ParserLimits {
        ParserLimits {
            max_items_in_row: 2_000,
            initial_lexer_fuel: self.compile_work,
            step_lexer_fuel: self.mask_work,
            step_max_items: self.mask_items,
            max_lexer_states: self.lexer_states,
            max_grammar_size: self.grammar_size,
            precompute_large_lexemes: false,
            verbose_errors: false,
        }
    }
}

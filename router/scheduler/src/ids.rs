//! Newtypes for every id and count, so that a block is never taken for a token.

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype!(
    /// One submitted sequence (a request with `n` choices is `n` submissions). Chosen by the
    /// caller, unique among the living.
    RequestId(u64)
);
newtype!(
    /// A sequence as the shard knows it: one admission of a request. Never reused, so an outcome
    /// that comes after a preemption cannot be taken for the new admission's.
    SequenceId(u64)
);
newtype!(
    /// A step of the session, counted from 1.
    StepId(u64)
);
newtype!(
    /// A KV block, in `[0, num_blocks)`.
    BlockId(u32)
);
newtype!(
    /// A token of the vocabulary.
    TokenId(u32)
);
newtype!(
    /// Whoever shares a fair part of the server.
    TenantId(u64)
);
newtype!(
    /// Microseconds on a clock of the caller's that never goes back.
    Micros(u64)
);

impl Micros {
    /// Time passed since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Micros) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

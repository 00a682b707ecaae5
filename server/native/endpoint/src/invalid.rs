//! Why a step was refused: the field, the limit, the given value.

use std::fmt;

/// A field of `StepRequest`, by its path in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The message's name, with the index where it is repeated.
    parent: Parent,
    name: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Step,
    Rows,
    NewSequence(usize),
    Sampling(usize),
    Command(usize),
}

impl Field {
    pub(crate) const fn step(name: &'static str) -> Self {
        Self {
            parent: Parent::Step,
            name,
        }
    }

    pub(crate) const fn rows(name: &'static str) -> Self {
        Self {
            parent: Parent::Rows,
            name,
        }
    }

    pub(crate) const fn new_sequence(index: usize, name: &'static str) -> Self {
        Self {
            parent: Parent::NewSequence(index),
            name,
        }
    }

    pub(crate) const fn sampling(index: usize, name: &'static str) -> Self {
        Self {
            parent: Parent::Sampling(index),
            name,
        }
    }

    pub(crate) const fn command(index: usize, name: &'static str) -> Self {
        Self {
            parent: Parent::Command(index),
            name,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            Parent::Step => formatter.write_str(self.name),
            Parent::Rows => write!(formatter, "rows.{}", self.name),
            Parent::NewSequence(index) => write!(formatter, "new_sequences[{index}].{}", self.name),
            Parent::Sampling(index) => write!(formatter, "new_sequences[{index}].sampling.{}", self.name),
            Parent::Command(index) => write!(formatter, "commands[{index}].{}", self.name),
        }
    }
}

/// Why a step was refused. It ends the session, because the sequences' state is then unknown.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidStep {
    /// Not a whole number of elements.
    #[error("{field} has {bytes} bytes, which is not a multiple of the {width} bytes of an element")]
    Ragged {
        /// Which.
        field: Field,
        /// Given.
        bytes: usize,
        /// Of one element.
        width: usize,
    },
    /// Not as long as the array it runs parallel to.
    #[error("{field} has {given} entries where {expected} are needed: one {per}")]
    Length {
        /// Which.
        field: Field,
        /// Given.
        given: usize,
        /// Needed.
        expected: usize,
        /// What one entry stands for.
        per: &'static str,
    },
    /// More than the shard said it takes.
    #[error("{field} has {given} {what}; the limit of this shard is {limit} (see Info)")]
    TooMany {
        /// Which.
        field: Field,
        /// Given.
        given: usize,
        /// What is counted.
        what: &'static str,
        /// Of the shard.
        limit: usize,
    },
    /// An element outside its range.
    #[error("{field}[{index}] is {given}; it must lie in [{low}, {high})")]
    OutOfRange {
        /// Which array.
        field: Field,
        /// Which element.
        index: usize,
        /// Given.
        given: i64,
        /// Smallest allowed.
        low: i64,
        /// One more than the largest allowed.
        high: i64,
    },
    /// A whole number that breaks its rule.
    #[error("{field} is {given}; {rule}")]
    Integer {
        /// Which.
        field: Field,
        /// Given.
        given: u64,
        /// What is allowed.
        rule: String,
    },
    /// A number that breaks its rule.
    #[error("{field} is {given}; {rule}")]
    Number {
        /// Which.
        field: Field,
        /// Given.
        given: f32,
        /// What is allowed.
        rule: &'static str,
    },
    /// A message that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Which.
        field: Field,
    },
}

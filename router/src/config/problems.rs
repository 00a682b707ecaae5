//! What is wrong with the settings, all of it at once.

use std::fmt;

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {given}: {rule}")]
pub struct Problem {
    /// Name of the flag.
    pub flag: &'static str,
    /// The value given.
    pub given: String,
    /// What it has to be.
    pub rule: String,
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}error: {problem}")?;
        }
        Ok(())
    }
}

/// Gathers problems while the settings are looked at.
#[derive(Default)]
pub(super) struct Check(Vec<Problem>);

impl Check {
    /// Notes a problem unless the rule holds.
    pub(super) fn require(
        &mut self,
        holds: bool,
        flag: &'static str,
        given: impl ToString,
        rule: impl Into<String>,
    ) {
        if !holds {
            self.0.push(Problem {
                flag,
                given: given.to_string(),
                rule: rule.into(),
            });
        }
    }

    /// Nothing, when every rule holds.
    pub(super) fn finish(self) -> Result<(), Problems> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problems(self.0))
        }
    }
}

//! Who uses which KV block, and which tokens it holds.

use crate::tokens::Chain;

/// A rule of the wire that a request broke, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// Returns from the function with a `Violation`.
macro_rules! refuse {
    ($($text:tt)*) => {
        return Err($crate::blocks::Violation(format!($($text)*)))
    };
}
pub(crate) use refuse;

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Living sequences whose table holds it.
    users: u32,
    /// Of all tokens up to and with its last slot, once that is written.
    content: Option<Chain>,
}

/// The pretended KV cache.
#[derive(Clone, Debug)]
pub struct Blocks {
    block_size: u32,
    blocks: Vec<Block>,
}

impl Blocks {
    /// An empty cache.
    #[must_use]
    pub fn new(block_size: u32, num_blocks: u32) -> Self {
        Self {
            block_size,
            blocks: vec![Block::default(); num_blocks as usize],
        }
    }

    /// Tokens a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Blocks that a living sequence uses.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.blocks.iter().filter(|block| block.users > 0).count() as u32
    }

    fn block(&mut self, id: u32) -> Result<&mut Block, Violation> {
        let limit = self.blocks.len();
        match self.blocks.get_mut(id as usize) {
            Some(block) => Ok(block),
            None => refuse!("block {id} does not exist; ids are in [0, {limit})"),
        }
    }

    /// Gives a block that nobody uses to `sequence`.
    ///
    /// # Errors
    /// When it does not exist or is in use.
    pub fn take(&mut self, id: u32, sequence: u64) -> Result<(), Violation> {
        let block = self.block(id)?;
        if block.users > 0 {
            refuse!(
                "block {id} for sequence {sequence} is in use by {} other(s)",
                block.users
            );
        }
        *block = Block {
            users: 1,
            content: None,
        };
        Ok(())
    }

    /// Lets `sequence` use a full block that must hold the tokens of `content`.
    ///
    /// # Errors
    /// When it does not exist or holds something else.
    pub fn share(&mut self, id: u32, sequence: u64, content: Chain) -> Result<(), Violation> {
        let block = self.block(id)?;
        match block.content {
            Some(holds) if holds == content => block.users += 1,
            Some(_) => {
                refuse!("block {id} holds other tokens than those sequence {sequence} says are cached")
            }
            None => refuse!("block {id} is not full, sequence {sequence} cannot use it as cached"),
        }
        Ok(())
    }

    /// Notes that the only user wrote the last slot of `id`.
    ///
    /// # Errors
    /// When others use it too.
    pub fn fill(&mut self, id: u32, sequence: u64, content: Chain) -> Result<(), Violation> {
        let block = self.block(id)?;
        if block.users != 1 {
            refuse!(
                "sequence {sequence} writes block {id}, which {} sequences use",
                block.users
            );
        }
        block.content = Some(content);
        Ok(())
    }

    /// Takes the blocks of a dropped sequence back. They keep what they hold.
    pub fn release(&mut self, ids: &[u32]) {
        for id in ids {
            if let Some(block) = self.blocks.get_mut(*id as usize) {
                block.users = block.users.saturating_sub(1);
            }
        }
    }
}

//! Which KV blocks are referenced by how many sequences, and which are free.

use crate::ids::BlockId;

/// Reference counts of all blocks and a stack of the free ones. Knows nothing of contents.
#[derive(Debug)]
pub(crate) struct BlockPool {
    /// `u32[num_blocks]`: sequences whose table holds the block.
    references: Vec<u32>,
    /// Neither referenced nor kept for later; the last one is taken first.
    free: Vec<BlockId>,
    /// Blocks with at least one reference.
    in_use: u32,
}

impl BlockPool {
    pub(crate) fn new(num_blocks: u32) -> Self {
        Self {
            references: vec![0; num_blocks as usize],
            free: (0..num_blocks).rev().map(BlockId).collect(),
            in_use: 0,
        }
    }

    pub(crate) fn num_blocks(&self) -> u32 {
        self.references.len() as u32
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(crate) fn free_blocks(&self) -> &[BlockId] {
        &self.free
    }

    pub(crate) fn references(&self, block: BlockId) -> u32 {
        self.references[block.0 as usize]
    }

    /// A free block, still without a reference.
    pub(crate) fn pop_free(&mut self) -> Option<BlockId> {
        self.free.pop()
    }

    /// Makes an unreferenced block free.
    pub(crate) fn push_free(&mut self, block: BlockId) {
        self.free.push(block);
    }

    /// One more sequence holds `block`; whether it is the first.
    pub(crate) fn acquire(&mut self, block: BlockId) -> bool {
        let count = &mut self.references[block.0 as usize];
        *count += 1;
        let first = *count == 1;
        self.in_use += u32::from(first);
        first
    }

    /// One sequence less holds `block`; whether it was the last.
    pub(crate) fn release(&mut self, block: BlockId) -> bool {
        let count = &mut self.references[block.0 as usize];
        *count -= 1;
        let last = *count == 0;
        self.in_use -= u32::from(last);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_in_use_from_its_first_reference_to_its_last() {
        let mut pool = BlockPool::new(2);
        let block = pool.pop_free().unwrap();
        assert_eq!(block, BlockId(0));
        assert!(pool.acquire(block));
        assert!(!pool.acquire(block));
        assert_eq!((pool.in_use(), pool.references(block)), (1, 2));
        assert!(!pool.release(block));
        assert!(pool.release(block));
        assert_eq!((pool.in_use(), pool.references(block)), (0, 0));
    }

    #[test]
    fn no_block_is_handed_out_twice() {
        let mut pool = BlockPool::new(3);
        let mut taken: Vec<BlockId> = std::iter::from_fn(|| pool.pop_free()).collect();
        taken.sort();
        assert_eq!(taken, [BlockId(0), BlockId(1), BlockId(2)]);
    }
}

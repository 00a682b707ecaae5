//! The KV cache as the scheduler sees it: blocks that are free, kept for later or in use.
//!
//! free + cached (registered and unreferenced) + in use = all blocks.

use crate::blocks::BlockPool;
use crate::ids::{BlockId, TokenId};
use crate::prefix::{Chain, PrefixIndex};

/// Allocator and prefix cache together.
#[derive(Debug)]
pub(crate) struct KvCache {
    block_size: u32,
    /// Most blocks that may be in use.
    limit_blocks: u32,
    pub(crate) pool: BlockPool,
    pub(crate) prefix: PrefixIndex,
}

/// What `lookup` found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Where the found beginning ends.
    pub(crate) chain: Chain,
    /// How many of the found blocks nobody holds now.
    pub(crate) unreferenced_blocks: u32,
}

impl KvCache {
    pub(crate) fn new(num_blocks: u32, block_size: u32, limit_blocks: u32) -> Self {
        Self {
            block_size,
            limit_blocks: limit_blocks.min(num_blocks),
            pool: BlockPool::new(num_blocks),
            prefix: PrefixIndex::new(num_blocks, block_size),
        }
    }

    pub(crate) fn limit_blocks(&self) -> u32 {
        self.limit_blocks
    }

    /// Blocks that hold `tokens` tokens.
    pub(crate) fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size)
    }

    /// Blocks that can still be taken, cached ones included.
    pub(crate) fn available(&self) -> u32 {
        self.limit_blocks - self.pool.in_use()
    }

    /// Appends `count` blocks to `table`; nothing and false when there are fewer.
    pub(crate) fn extend(&mut self, table: &mut Vec<BlockId>, count: u32) -> bool {
        if count > self.available() {
            return false;
        }
        for _ in 0..count {
            let Some(block) = self.pool.pop_free().or_else(|| self.prefix.evict()) else {
                return false;
            };
            self.pool.acquire(block);
            table.push(block);
        }
        true
    }

    /// Collects in `blocks` the cached blocks of the longest known beginning of `tokens`, at most
    /// `most_blocks`. They are not acquired yet.
    pub(crate) fn lookup(
        &self,
        salt: u64,
        tokens: &[TokenId],
        most_blocks: u32,
        blocks: &mut Vec<BlockId>,
    ) -> Found {
        blocks.clear();
        let mut found = Found {
            chain: Chain::root(salt),
            unreferenced_blocks: 0,
        };
        for content in tokens
            .chunks_exact(self.block_size as usize)
            .take(most_blocks as usize)
        {
            let Some((block, chain)) = self.prefix.find(found.chain, content) else {
                break;
            };
            found.chain = chain;
            found.unreferenced_blocks += u32::from(self.pool.references(block) == 0);
            blocks.push(block);
        }
        found
    }

    /// Takes a reference to a block that `lookup` found.
    pub(crate) fn acquire_cached(&mut self, block: BlockId) {
        if self.pool.acquire(block) {
            self.prefix.unlist(block);
        }
    }

    /// Gives back the references of a whole table. The last blocks become the oldest, so that a
    /// beginning outlives what follows it.
    pub(crate) fn release(&mut self, table: &mut Vec<BlockId>) {
        while let Some(block) = table.pop() {
            if self.pool.release(block) {
                if self.prefix.is_registered(block) {
                    self.prefix.list(block);
                } else {
                    self.pool.push_free(block);
                }
            }
        }
    }

    /// Forgets the contents of blocks whose values cannot be trusted. They stay with their holders.
    pub(crate) fn forget(&mut self, table: &[BlockId]) {
        for block in table {
            if self.prefix.remove(*block) {
                self.pool.push_free(*block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(values: &[u32]) -> Vec<TokenId> {
        values.iter().copied().map(TokenId).collect()
    }

    /// A cache in which blocks 0 and 1 hold the tokens 1 2 3 4 and nobody holds them.
    fn with_cached_prompt() -> KvCache {
        let mut kv = KvCache::new(4, 2, 4);
        let mut table = Vec::new();
        assert!(kv.extend(&mut table, 2));
        let chain = kv.prefix.insert(Chain::root(0), &tokens(&[1, 2]), table[0]);
        kv.prefix.insert(chain, &tokens(&[3, 4]), table[1]);
        kv.release(&mut table);
        kv
    }

    #[test]
    fn cached_blocks_are_found_and_shared() {
        let mut kv = with_cached_prompt();
        let mut found = Vec::new();
        let first = kv.lookup(0, &tokens(&[1, 2, 3, 4, 5]), 2, &mut found);
        assert_eq!(found, [BlockId(0), BlockId(1)]);
        assert_eq!(first.unreferenced_blocks, 2);
        found.iter().for_each(|block| kv.acquire_cached(*block));
        assert_eq!(kv.available(), 2);
        let second = kv.lookup(0, &tokens(&[1, 2, 9, 9]), 1, &mut found);
        assert_eq!((found.len(), second.unreferenced_blocks), (1, 0));
    }

    #[test]
    fn allocation_evicts_the_end_of_a_beginning_first() {
        let mut kv = with_cached_prompt();
        let mut table = Vec::new();
        assert!(kv.extend(&mut table, 3));
        assert_eq!(table, [BlockId(2), BlockId(3), BlockId(1)]);
        let mut found = Vec::new();
        kv.lookup(0, &tokens(&[1, 2, 3, 4]), 2, &mut found);
        assert_eq!(found, [BlockId(0)]);
    }

    #[test]
    fn no_more_blocks_are_in_use_than_the_limit() {
        let mut kv = KvCache::new(4, 2, 3);
        let mut table = Vec::new();
        assert!(!kv.extend(&mut table, 4));
        assert!(table.is_empty());
        assert!(kv.extend(&mut table, 3));
        assert!(!kv.extend(&mut table, 1));
    }

    #[test]
    fn forgotten_blocks_are_free_once_released() {
        let mut kv = with_cached_prompt();
        let mut table = Vec::new();
        kv.lookup(0, &tokens(&[1, 2, 3, 4]), 2, &mut table);
        kv.acquire_cached(table[0]);
        kv.forget(&table);
        assert_eq!(
            (kv.prefix.num_unreferenced(), kv.pool.free_blocks().len()),
            (0, 3)
        );
        table.truncate(1);
        kv.release(&mut table);
        assert_eq!(kv.pool.free_blocks().len(), 4);
    }
}

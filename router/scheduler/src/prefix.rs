//! The prefix cache: which full blocks hold which tokens after which beginning.
//!
//! Every registered block is a node of a trie: its key is (salt, parent node, the block's tokens).
//! A hash of the key finds it and the key itself is compared, so a hash collision costs a miss and
//! never a wrong hit. Node numbers are never reused: a child of an evicted node can no more be
//! reached, whatever the parent's block holds by then.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::ids::{BlockId, TokenId};

const NONE: u32 = u32::MAX;

/// A place in the trie: the beginning that ends with a node. Equal chains mean equal tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    salt: u64,
    /// 0: the empty beginning.
    node: u64,
}

impl Chain {
    pub(crate) fn root(salt: u64) -> Self {
        Self { salt, node: 0 }
    }
}

/// What is known of one block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 0: not registered.
    node: u64,
    parent: Chain,
    hash: u64,
    /// Neighbours in the list of unreferenced blocks; `NONE` at its ends.
    older: u32,
    newer: u32,
    listed: bool,
}

const VACANT: Entry = Entry {
    node: 0,
    parent: Chain { salt: 0, node: 0 },
    hash: 0,
    older: NONE,
    newer: NONE,
    listed: false,
};

/// The index over blocks, and the unreferenced ones among them from the oldest to the newest.
#[derive(Debug)]
pub(crate) struct PrefixIndex {
    block_size: usize,
    /// `[num_blocks]`
    entries: Vec<Entry>,
    /// `TokenId[num_blocks, block_size]`: the tokens of registered blocks.
    tokens: Vec<TokenId>,
    by_hash: HashMap<u64, BlockId, BuildHasherDefault<AlreadyHashed>>,
    next_node: u64,
    oldest: u32,
    newest: u32,
    num_unreferenced: u32,
}

impl PrefixIndex {
    pub(crate) fn new(num_blocks: u32, block_size: u32) -> Self {
        Self {
            block_size: block_size as usize,
            entries: vec![VACANT; num_blocks as usize],
            tokens: vec![TokenId(0); num_blocks as usize * block_size as usize],
            by_hash: HashMap::default(),
            next_node: 1,
            oldest: NONE,
            newest: NONE,
            num_unreferenced: 0,
        }
    }

    /// Registered blocks that no sequence holds.
    pub(crate) fn num_unreferenced(&self) -> u32 {
        self.num_unreferenced
    }

    pub(crate) fn is_registered(&self, block: BlockId) -> bool {
        self.entries[block.0 as usize].node != 0
    }

    /// The block that holds `tokens` (exactly one block of them) after `chain`, and the chain with it.
    pub(crate) fn find(&self, chain: Chain, tokens: &[TokenId]) -> Option<(BlockId, Chain)> {
        let block = *self.by_hash.get(&hash(chain, tokens))?;
        let entry = &self.entries[block.0 as usize];
        let same = entry.parent == chain && self.tokens_of(block) == tokens;
        same.then_some((
            block,
            Chain {
                salt: chain.salt,
                node: entry.node,
            },
        ))
    }

    /// Registers that `block` holds `tokens` after `chain` unless another block is known to;
    /// the chain with it either way. On a hash collision the newer content is not registered and
    /// what follows it cannot be found.
    pub(crate) fn insert(&mut self, chain: Chain, tokens: &[TokenId], block: BlockId) -> Chain {
        if let Some((_, known)) = self.find(chain, tokens) {
            return known;
        }
        let next = Chain {
            salt: chain.salt,
            node: self.next_node,
        };
        self.next_node += 1;
        let hash = hash(chain, tokens);
        if !self.is_registered(block) && !self.by_hash.contains_key(&hash) {
            self.by_hash.insert(hash, block);
            let start = block.0 as usize * self.block_size;
            self.tokens[start..start + self.block_size].copy_from_slice(tokens);
            self.entries[block.0 as usize] = Entry {
                node: next.node,
                parent: chain,
                hash,
                ..VACANT
            };
        }
        next
    }

    /// Forgets the content of `block`; whether it was in the list of unreferenced blocks.
    pub(crate) fn remove(&mut self, block: BlockId) -> bool {
        let entry = self.entries[block.0 as usize];
        if entry.node == 0 {
            return false;
        }
        if entry.listed {
            self.unlist(block);
        }
        self.by_hash.remove(&entry.hash);
        self.entries[block.0 as usize] = VACANT;
        entry.listed
    }

    /// A registered block lost its last reference: it is the newest of the unreferenced.
    pub(crate) fn list(&mut self, block: BlockId) {
        let entry = &mut self.entries[block.0 as usize];
        (entry.older, entry.newer, entry.listed) = (self.newest, NONE, true);
        match self.newest {
            NONE => self.oldest = block.0,
            newest => self.entries[newest as usize].newer = block.0,
        }
        self.newest = block.0;
        self.num_unreferenced += 1;
    }

    /// An unreferenced block is wanted again.
    pub(crate) fn unlist(&mut self, block: BlockId) {
        let entry = &mut self.entries[block.0 as usize];
        let (older, newer) = (entry.older, entry.newer);
        (entry.older, entry.newer, entry.listed) = (NONE, NONE, false);
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        self.num_unreferenced -= 1;
    }

    /// Forgets the block that was unreferenced for longest and hands it over.
    pub(crate) fn evict(&mut self) -> Option<BlockId> {
        if self.oldest == NONE {
            return None;
        }
        let block = BlockId(self.oldest);
        self.remove(block);
        Some(block)
    }

    /// The unreferenced blocks, oldest first.
    pub(crate) fn unreferenced(&self) -> impl Iterator<Item = BlockId> + '_ {
        let start = (self.oldest != NONE).then_some(BlockId(self.oldest));
        std::iter::successors(start, |block| {
            let newer = self.entries[block.0 as usize].newer;
            (newer != NONE).then_some(BlockId(newer))
        })
    }

    /// The tokens a registered block holds.
    pub(crate) fn tokens_of(&self, block: BlockId) -> &[TokenId] {
        let start = block.0 as usize * self.block_size;
        &self.tokens[start..start + self.block_size]
    }

    /// Whether hashes and entries tell the same story.
    pub(crate) fn is_consistent(&self) -> bool {
        let registered = self.entries.iter().filter(|entry| entry.node != 0).count();
        let listed = self.entries.iter().filter(|entry| entry.listed).count();
        registered == self.by_hash.len()
            && listed == self.num_unreferenced as usize
            && self
                .by_hash
                .iter()
                .all(|(hash, block)| self.entries[block.0 as usize].hash == *hash)
    }
}

/// Folded 64×64 → 128 bit products over the chain and the tokens, two tokens at a time.
fn hash(chain: Chain, tokens: &[TokenId]) -> u64 {
    let mut state = fold(
        chain.salt ^ 0x9e37_79b9_7f4a_7c15,
        chain.node ^ 0xd1b5_4a32_d192_ed03,
    );
    for pair in tokens.chunks(2) {
        let high = pair
            .get(1)
            .map_or(u64::from(u32::MAX), |token| u64::from(token.0));
        state = fold(state ^ (high << 32 | u64::from(pair[0].0)), 0xa076_1d64_78bd_642f);
    }
    fold(state ^ 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3)
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The keys of the map are hashes: they need no second one.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(values: &[u32]) -> Vec<TokenId> {
        values.iter().copied().map(TokenId).collect()
    }

    #[test]
    fn a_block_is_found_only_after_the_same_beginning_and_salt() {
        let mut index = PrefixIndex::new(4, 2);
        let root = Chain::root(7);
        let first = index.insert(root, &tokens(&[1, 2]), BlockId(0));
        let second = index.insert(first, &tokens(&[3, 4]), BlockId(1));
        assert_eq!(index.find(root, &tokens(&[1, 2])), Some((BlockId(0), first)));
        assert_eq!(index.find(first, &tokens(&[3, 4])), Some((BlockId(1), second)));
        assert_eq!(index.find(root, &tokens(&[3, 4])), None);
        assert_eq!(index.find(Chain::root(8), &tokens(&[1, 2])), None);
        assert_eq!(index.find(first, &tokens(&[3, 5])), None);
    }

    #[test]
    fn the_first_block_with_a_content_keeps_it() {
        let mut index = PrefixIndex::new(4, 2);
        let root = Chain::root(0);
        let first = index.insert(root, &tokens(&[1, 2]), BlockId(0));
        assert_eq!(index.insert(root, &tokens(&[1, 2]), BlockId(1)), first);
        assert!(!index.is_registered(BlockId(1)));
    }

    #[test]
    fn a_hash_collision_is_a_miss() {
        let mut index = PrefixIndex::new(4, 2);
        let (root, other) = (Chain::root(0), Chain::root(1));
        index.insert(root, &tokens(&[1, 2]), BlockId(0));
        index.by_hash.insert(hash(other, &tokens(&[1, 2])), BlockId(0));
        index.by_hash.insert(hash(root, &tokens(&[8, 9])), BlockId(0));
        assert_eq!(index.find(other, &tokens(&[1, 2])), None);
        assert_eq!(index.find(root, &tokens(&[8, 9])), None);
        index.insert(other, &tokens(&[1, 2]), BlockId(1));
        assert!(
            !index.is_registered(BlockId(1)),
            "the older content keeps its hash"
        );
    }

    #[test]
    fn what_followed_an_evicted_block_is_out_of_reach_for_good() {
        let mut index = PrefixIndex::new(4, 1);
        let root = Chain::root(0);
        let first = index.insert(root, &tokens(&[1]), BlockId(0));
        index.insert(first, &tokens(&[2]), BlockId(1));
        index.remove(BlockId(0));
        let again = index.insert(root, &tokens(&[1]), BlockId(2));
        assert_eq!(index.find(again, &tokens(&[2])), None);
        assert!(index.is_consistent());
    }

    #[test]
    fn eviction_goes_from_the_block_longest_unreferenced() {
        let mut index = PrefixIndex::new(3, 1);
        let root = Chain::root(0);
        for block in 0..3 {
            index.insert(root, &tokens(&[block]), BlockId(block));
            index.list(BlockId(block));
        }
        index.unlist(BlockId(0));
        index.list(BlockId(0));
        assert_eq!(
            index.unreferenced().collect::<Vec<_>>(),
            [BlockId(1), BlockId(2), BlockId(0)]
        );
        assert_eq!(index.evict(), Some(BlockId(1)));
        assert_eq!(index.find(root, &tokens(&[1])), None);
        assert!(index.remove(BlockId(2)));
        assert_eq!(index.evict(), Some(BlockId(0)));
        assert_eq!(index.evict(), None);
        assert!(index.is_consistent());
    }
}

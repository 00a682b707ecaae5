//! Masks: a bit a token, 32 to a word, the lowest bit first.

use llguidance::toktrie::SimpleVob;

/// Which tokens may come next.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    pub(crate) words: Box<[u32]>,
    /// Whether nothing but the end may come.
    pub(crate) complete: bool,
}

impl Mask {
    /// `ends`: tokens that end a text.
    pub(crate) fn new(allowed: &SimpleVob, vocab_size: u32, ends: &[u32]) -> Self {
        let width = vocab_size.div_ceil(32) as usize;
        let mut words: Box<[u32]> = allowed.as_slice().iter().copied().take(width).collect();
        if let Some(last) = words.last_mut()
            && !vocab_size.is_multiple_of(32)
        {
            *last &= (1 << (vocab_size % 32)) - 1;
        }
        let has = |id: &&u32| {
            words
                .get(**id as usize / 32)
                .is_some_and(|word| word >> (**id % 32) & 1 == 1)
        };
        let ending = ends.iter().filter(has).count() as u32;
        let allowed: u32 = words.iter().map(|word| word.count_ones()).sum();
        Self {
            complete: ending > 0 && allowed == ending,
            words,
        }
    }
}

/// What is known of a row's next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RowState {
    /// The text can go on.
    Open = 0,
    /// Nothing but the end may come.
    Complete = 1,
    /// Its grammar could not be compiled or followed: the sequence is to be ended.
    Failed = 2,
}

/// Where masks go: u32[rows, width].
#[derive(Debug)]
pub struct MaskRows<'a> {
    words: &'a mut [u32],
    width: usize,
}

impl<'a> MaskRows<'a> {
    /// `width`: words of a row, at least those of the vocabulary.
    #[must_use]
    pub fn new(words: &'a mut [u32], width: usize) -> Self {
        Self { words, width }
    }

    /// Writes a row; without a mask everything is allowed, since the row is ended anyway.
    pub(crate) fn put(&mut self, row: usize, mask: Option<&Mask>) {
        let start = row * self.width;
        let Some(target) = self.words.get_mut(start..start + self.width) else {
            return;
        };
        match mask {
            None => target.fill(u32::MAX),
            Some(mask) => {
                let known = mask.words.len().min(target.len());
                target[..known].copy_from_slice(&mask.words[..known]);
                target[known..].fill(0);
            }
        }
    }
}

/// Makes the logits of tokens that may not come minus infinity.
pub fn apply_mask(words: &[u32], logits: &mut [f32]) {
    for (word, values) in words.iter().zip(logits.chunks_mut(32)) {
        match *word {
            u32::MAX => {}
            0 => values.fill(f32::NEG_INFINITY),
            word => {
                for (bit, value) in values.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *value = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
    let covered = words.len() * 32;
    if let Some(rest) = logits.get_mut(covered..) {
        rest.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed(vocab_size: usize, tokens: &[u32]) -> SimpleVob {
        let mut set = SimpleVob::alloc_with_capacity(vocab_size, vocab_size + 1);
        tokens.iter().for_each(|token| set.allow_token(*token));
        set
    }

    #[test]
    fn a_mask_is_complete_when_only_ends_are_left() {
        let ends = [40, 41];
        let mask = |tokens: &[u32]| Mask::new(&allowed(42, tokens), 42, &ends);
        assert!(mask(&[40]).complete);
        assert!(mask(&[40, 41]).complete);
        assert!(!mask(&[7, 40]).complete);
        assert!(!mask(&[7]).complete);
        assert!(!mask(&[]).complete);
        assert_eq!(mask(&[0, 33]).words[..], [1, 2]);
    }

    proptest! {
        #[test]
        fn exactly_the_allowed_logits_stay(
            tokens in proptest::collection::btree_set(0_u32..150, 0..150), size in 150_usize..170
        ) {
            let tokens: Vec<u32> = tokens.into_iter().collect();
            let mask = Mask::new(&allowed(150, &tokens), 150, &[]);
            let mut logits = vec![1.0; size];
            apply_mask(&mask.words, &mut logits);
            for (id, logit) in logits.iter().enumerate() {
                prop_assert_eq!(logit.is_finite(), tokens.contains(&(id as u32)));
            }
        }

        #[test]
        fn wider_rows_allow_nothing_more(width in 5_usize..9) {
            let mut words = vec![7; 2 * width];
            let mask = Mask::new(&allowed(150, &[149]), 150, &[]);
            let mut rows = MaskRows::new(&mut words, width);
            rows.put(0, None);
            rows.put(1, Some(&mask));
            prop_assert!(words[..width].iter().all(|word| *word == u32::MAX));
            prop_assert_eq!(words[width..].iter().map(|word| word.count_ones()).sum::<u32>(), 1);
        }
    }
}

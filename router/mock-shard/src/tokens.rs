//! Where tokens come from: a pure function of what a sequence holds.

/// A running hash over tokens: equal for equal beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(u64);

impl Chain {
    /// Of no token.
    pub const EMPTY: Chain = Chain(0x9e37_79b9_7f4a_7c15);

    /// With one more token.
    #[must_use]
    pub fn with(self, token: u32) -> Chain {
        Chain(mix(self.0 ^ u64::from(token).wrapping_add(0x51_7c_c1_b7)))
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// What determines one token.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// The sequence's prompt.
    pub prompt: &'a [u32],
    /// All tokens before it.
    pub before: Chain,
    /// The sequence's seed.
    pub seed: u64,
    /// The sequence's choice.
    pub choice: u32,
    /// Tokens before it.
    pub position: u32,
    /// How many of these were generated.
    pub generated: u32,
}

impl Draw<'_> {
    /// A number that is different for every purpose.
    #[must_use]
    pub fn random(&self, purpose: u64) -> u64 {
        let who = mix(self.seed ^ mix(u64::from(self.choice).wrapping_add(purpose << 32)));
        mix(self.before.0 ^ who ^ mix(u64::from(self.position)))
    }
}

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Any token but that of `EndOfText`, from a hash of everything before it.
    Hash,
    /// These, again and again, from the first generated token on.
    Cycle(Vec<u32>),
    /// The prompt, and behind its last token the one of `EndOfText`; without one, again and again.
    Prompt,
}

/// When a sequence ends by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndOfText {
    /// The token that says so.
    pub token: u32,
    /// It is the n-th generated token.
    pub after: Option<u32>,
    /// Or any generated token with this probability (decided by the hash).
    pub probability: f32,
}

/// The token that `draw` determines, in `[0, vocab_size)`.
#[must_use]
pub fn token(source: &TokenSource, end: Option<EndOfText>, vocab_size: u32, draw: &Draw) -> u32 {
    if let Some(end) = end {
        let due = end.after.is_some_and(|after| draw.generated + 1 >= after);
        let chance = (draw.random(1) >> 40) as f32 / (1_u64 << 24) as f32;
        if due || chance < end.probability {
            return end.token;
        }
    }
    match source {
        TokenSource::Prompt => {
            let at = draw.generated as usize;
            match (draw.prompt.get(at), end) {
                (Some(token), _) => *token,
                (None, Some(end)) => end.token,
                (None, None) => draw.prompt[at % draw.prompt.len()],
            }
        }
        TokenSource::Cycle(tokens) if !tokens.is_empty() => tokens[draw.generated as usize % tokens.len()],
        TokenSource::Cycle(_) | TokenSource::Hash => {
            let token = (draw.random(0) % u64::from(vocab_size.max(1))) as u32;
            if end.is_some_and(|end| end.token == token) {
                (token + 1) % vocab_size
            } else {
                token
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(tokens: &[u32], seed: u64, choice: u32) -> Draw<'_> {
        let before = tokens
            .iter()
            .fold(Chain::EMPTY, |chain, token| chain.with(*token));
        Draw {
            prompt: tokens,
            before,
            seed,
            choice,
            position: tokens.len() as u32,
            generated: 2,
        }
    }

    #[test]
    fn a_token_depends_on_everything_before_it_and_on_nothing_else() {
        let base = token(&TokenSource::Hash, None, 50_000, &draw(&[1, 2, 3], 7, 0));
        assert_eq!(
            base,
            token(&TokenSource::Hash, None, 50_000, &draw(&[1, 2, 3], 7, 0))
        );
        for other in [
            draw(&[1, 3, 2], 7, 0),
            draw(&[1, 2, 3], 8, 0),
            draw(&[1, 2, 3], 7, 1),
        ] {
            assert_ne!(base, token(&TokenSource::Hash, None, 50_000, &other));
        }
    }

    #[test]
    fn a_cycle_starts_with_the_first_generated_token() {
        let source = TokenSource::Cycle(vec![10, 11, 12]);
        assert_eq!(token(&source, None, 50, &draw(&[1], 0, 0)), 12);
    }

    #[test]
    fn a_prompt_is_said_again_and_ends() {
        let end = EndOfText {
            token: 9,
            after: None,
            probability: 0.0,
        };
        let third = |prompt, end| token(&TokenSource::Prompt, end, 50, &draw(prompt, 0, 0));
        assert_eq!(third(&[4, 5, 6], Some(end)), 6);
        assert_eq!(third(&[4, 5], Some(end)), 9);
        assert_eq!(third(&[4, 5], None), 4);
    }

    #[test]
    fn the_end_comes_when_it_is_due_and_not_by_accident() {
        let end = EndOfText {
            token: 0,
            after: Some(3),
            probability: 0.0,
        };
        assert_eq!(token(&TokenSource::Hash, Some(end), 2, &draw(&[5], 0, 0)), 0);
        let later = EndOfText {
            after: Some(4),
            ..end
        };
        for seed in 0..20 {
            assert_eq!(token(&TokenSource::Hash, Some(later), 2, &draw(&[5], seed, 0)), 1);
        }
    }
}

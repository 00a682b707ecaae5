//! Random prompts, equal for equal seeds.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// The pause before request number `index`: evenly spread up to twice the mean.
pub fn pause_ms(seed: u64, index: usize, mean_ms: u64) -> u64 {
    SplitMix(!seed.wrapping_mul(0x1_0000_0001).wrapping_add(index as u64)).next() % (2 * mean_ms + 1)
}

/// The body of request number `index`.
pub fn body(seed: u64, index: usize, prompt_tokens: usize, output_tokens: usize, vocabulary: u32) -> String {
    let mut random = SplitMix(seed.wrapping_mul(0x1_0000_0001).wrapping_add(index as u64));
    let ids: Vec<String> = (0..prompt_tokens)
        .map(|_| (3 + random.next() % u64::from(vocabulary.saturating_sub(3).max(1))).to_string())
        .collect();
    format!(
        "{{\"prompt\":[{}],\"max_tokens\":{output_tokens},\"temperature\":0,\"ignore_eos\":true,\
         \"stream\":true,\"stream_options\":{{\"include_usage\":true}}}}",
        ids.join(",")
    )
}

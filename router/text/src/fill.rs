//! Filling in the middle: prompts for models that learnt to write what stands between two texts.
//!
//! Such a model has tokens that mark what stands before the gap, what stands behind it, and, in most
//! families, where the answer begins.

use crate::tokenizer::{TokenizeError, Tokenizer};

/// The marks of a family of models.
struct Family {
    before: &'static str,
    behind: &'static str,
    /// Where the answer begins; `None`: the text behind the gap comes first, and the answer goes on with
    /// the text before it.
    middle: Option<&'static str>,
    /// Tokens that end the answer beside the marks themselves, where the vocabulary has them.
    ends: &'static [&'static str],
}

const FAMILIES: &[Family] = &[
    // Qwen2.5-Coder, CodeGemma
    Family {
        before: "<|fim_prefix|>",
        behind: "<|fim_suffix|>",
        middle: Some("<|fim_middle|>"),
        ends: &[
            "<|endoftext|>",
            "<|fim_pad|>",
            "<|repo_name|>",
            "<|file_sep|>",
            "<|file_separator|>",
        ],
    },
    // StarCoder, StarCoder2, Granite, Stable Code
    Family {
        before: "<fim_prefix>",
        behind: "<fim_suffix>",
        middle: Some("<fim_middle>"),
        ends: &["<|endoftext|>", "<fim_pad>", "<repo_name>", "<file_sep>"],
    },
    // SantaCoder
    Family {
        before: "<fim-prefix>",
        behind: "<fim-suffix>",
        middle: Some("<fim-middle>"),
        ends: &["<|endoftext|>", "<fim-pad>"],
    },
    // CodeLlama
    Family {
        before: "▁<PRE>",
        behind: "▁<SUF>",
        middle: Some("▁<MID>"),
        ends: &["▁<EOT>"],
    },
    // DeepSeek-Coder
    Family {
        before: "<｜fim▁begin｜>",
        behind: "<｜fim▁hole｜>",
        middle: Some("<｜fim▁end｜>"),
        ends: &[],
    },
    // Codestral
    Family {
        before: "[PREFIX]",
        behind: "[SUFFIX]",
        middle: None,
        ends: &[],
    },
];

/// The marks of the model at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillMarks {
    before: u32,
    behind: u32,
    middle: Option<u32>,
    ends: Vec<u32>,
}

impl FillMarks {
    /// The marks that the vocabulary has; `None` for a model that never learnt this.
    #[must_use]
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        FAMILIES.iter().find_map(|family| {
            let id = |token: &str| tokenizer.token_id(token);
            let (before, behind) = (id(family.before)?, id(family.behind)?);
            let middle = match family.middle {
                Some(middle) => Some(id(middle)?),
                None => None,
            };
            let more = family.ends.iter().filter_map(|end| id(end));
            Some(Self {
                before,
                behind,
                middle,
                ends: [before, behind].into_iter().chain(middle).chain(more).collect(),
            })
        })
    }

    /// Tokens that end the answer, beside EOS.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The prompt for what stands between `before` and `behind`, without what the tokenizer puts
    /// around a text.
    #[must_use]
    pub fn prompt(&self, before: &[u32], behind: &[u32]) -> Vec<u32> {
        match self.middle {
            Some(middle) => [&[self.before], before, &[self.behind], behind, &[middle]].concat(),
            None => [&[self.behind], behind, &[self.before], before].concat(),
        }
    }
}

impl Tokenizer {
    /// The text before a gap, or the one behind it, in which control tokens stay text.
    ///
    /// # Errors
    /// When the text cannot be expressed so.
    pub fn encode_around_gap(&self, text: &str, behind: bool) -> Result<Vec<u32>, TokenizeError> {
        let mut ids = Vec::new();
        let stretches = self.control_tokens().stretches(text);
        let stretches = stretches.iter().map(|stretch| (stretch.text, stretch.control));
        self.encode_stretches(stretches, behind, &mut ids)?;
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Bytes `a` to `z`, and these control tokens behind them.
    fn tokenizer(control: &[&str]) -> Tokenizer {
        let vocab: serde_json::Map<_, _> = ('a'..='z')
            .enumerate()
            .map(|(id, letter)| (letter.to_string(), json!(id)))
            .collect();
        let added: Vec<_> = control
            .iter()
            .enumerate()
            .map(|(index, content)| {
                json!({"id": 26 + index, "content": content, "special": true, "single_word": false,
                       "lstrip": false, "rstrip": false, "normalized": false})
            })
            .collect();
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null, "added_tokens": added,
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        Tokenizer::from_json(json.to_string().as_bytes(), &[]).unwrap()
    }

    /// The prompt between `ab` and `yz`, spelled out, and the tokens that end the answer.
    fn filled(control: &[&str]) -> Option<(String, Vec<String>)> {
        let tokenizer = tokenizer(control);
        let marks = FillMarks::of(&tokenizer)?;
        let before = tokenizer.encode_around_gap("ab", false).unwrap();
        let behind = tokenizer.encode_around_gap("yz", true).unwrap();
        let spelled = |id: &u32| tokenizer.token_spelling(*id).unwrap();
        let prompt = marks.prompt(&before, &behind).iter().map(spelled).collect();
        Some((prompt, marks.ends().iter().map(spelled).collect()))
    }

    #[test]
    fn most_families_mark_all_three_parts() {
        let (prompt, ends) = filled(&[
            "<|endoftext|>",
            "<|fim_prefix|>",
            "<|fim_middle|>",
            "<|fim_suffix|>",
        ])
        .unwrap();
        assert_eq!(prompt, "<|fim_prefix|>ab<|fim_suffix|>yz<|fim_middle|>");
        let expected = [
            "<|fim_prefix|>",
            "<|fim_suffix|>",
            "<|fim_middle|>",
            "<|endoftext|>",
        ];
        assert_eq!(ends, expected);
        let (prompt, _) = filled(&["▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"]).unwrap();
        assert_eq!(prompt, "▁<PRE>ab▁<SUF>yz▁<MID>");
        let (prompt, _) = filled(&["<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"]).unwrap();
        assert_eq!(prompt, "<｜fim▁begin｜>ab<｜fim▁hole｜>yz<｜fim▁end｜>");
    }

    #[test]
    fn without_a_mark_of_the_middle_the_answer_goes_on_with_the_first_text() {
        let (prompt, ends) = filled(&["[SUFFIX]", "[PREFIX]", "[MIDDLE]"]).unwrap();
        assert_eq!(prompt, "[SUFFIX]yz[PREFIX]ab");
        assert_eq!(ends, ["[PREFIX]", "[SUFFIX]"]);
    }

    #[test]
    fn every_family_needs_all_its_marks() {
        for family in FAMILIES {
            let marks = [Some(family.before), Some(family.behind), family.middle];
            let marks: Vec<&str> = marks.into_iter().flatten().collect();
            assert!(filled(&marks).is_some(), "{marks:?}");
            for left_out in 0..marks.len() {
                let mut marks = marks.clone();
                marks.remove(left_out);
                assert_eq!(filled(&marks), None, "{marks:?}");
            }
        }
        assert_eq!(filled(&["<|endoftext|>", "<repo_name>", "<file_sep>"]), None);
    }

    #[test]
    fn marks_in_a_text_stay_text() {
        let control = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"];
        let tokenizer = tokenizer(&control);
        let marks = FillMarks::of(&tokenizer).unwrap();
        let ids = tokenizer.encode_around_gap("a<fim_middle>b", false).unwrap();
        assert!(ids.iter().all(|id| !marks.ends().contains(id)), "{ids:?}");
        assert!(tokenizer.encode_around_gap("", true).unwrap().is_empty());
    }
}

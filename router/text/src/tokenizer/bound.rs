//! The fewest tokens a text can have, known from its length: refuses a far too long prompt before
//! the work of encoding it.

use serde_json::Value;

use super::pieces::TokenPieces;
use super::scheme::Scheme;

/// NFC composes at most three characters of three bytes into one of three (Hangul).
const NFC_SHRINKS: usize = 4;

/// Most bytes of text that one token can stand for; `None`: not known.
pub(super) fn longest_token(
    tokenizer: &tokenizers::Tokenizer,
    scheme: &Scheme,
    pieces: &TokenPieces,
) -> Option<usize> {
    let swallows = |token: &tokenizers::AddedToken| token.lstrip || token.rstrip;
    let covers_bytes = match scheme {
        Scheme::ByteLevel => true,
        // Without bytes, a run of unknown characters of any length is one token.
        Scheme::SentencePiece { byte_fallback, .. } => *byte_fallback,
        Scheme::Library => false,
    };
    if !covers_bytes || tokenizer.get_added_tokens_decoder().values().any(swallows) {
        return None;
    }
    let shrinks = match tokenizer.get_normalizer() {
        None => 1,
        Some(normalizer) => shrink_factor(&serde_json::to_value(normalizer).ok()?)?,
    };
    let longest = (0..pieces.len()).map(|id| pieces.bytes(id).len()).max()?;
    longest.max(1).checked_mul(shrinks)
}

/// By how much a normalizer can shorten text; `None`: not known.
fn shrink_factor(normalizer: &Value) -> Option<usize> {
    match normalizer.get("type")?.as_str()? {
        "NFC" => Some(NFC_SHRINKS),
        "Prepend" => Some(1),
        "Replace" => {
            let pattern = normalizer.get("pattern")?.get("String")?.as_str()?;
            (pattern == " " && normalizer.get("content")?.as_str()? == "▁").then_some(1)
        }
        "Sequence" => {
            let steps = normalizer.get("normalizers")?.as_array()?;
            steps
                .iter()
                .try_fold(1usize, |factor, step| factor.checked_mul(shrink_factor(step)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shrink_factor;

    #[test]
    fn only_normalizers_that_are_known_have_a_bound() {
        let replace =
            |content: &str| json!({"type": "Replace", "pattern": {"String": " "}, "content": content});
        let steps = |steps: serde_json::Value| json!({"type": "Sequence", "normalizers": steps});
        assert_eq!(
            shrink_factor(&steps(json!([{"type": "Prepend", "prepend": "▁"}, replace("▁")]))),
            Some(1)
        );
        assert_eq!(shrink_factor(&steps(json!([{"type": "NFC"}]))), Some(4));
        assert_eq!(shrink_factor(&replace("")), None);
        assert_eq!(shrink_factor(&steps(json!([{"type": "StripAccents"}]))), None);
    }
}

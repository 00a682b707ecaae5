//! How the texts of tokens join to a text.

use serde_json::Value;

/// What a tokenizer's decoder does, as far as it can be done token by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Every token is a byte string in the byte-level alphabet; the text is their concatenation.
    ByteLevel,
    /// Sentencepiece: "▁" is a space, "<0xE4>" a byte.
    SentencePiece {
        /// Whether "<0x00>" … "<0xFF>" stand for bytes.
        byte_fallback: bool,
        /// What the beginning of a text loses.
        start: StartRule,
    },
    /// Anything else: the library decodes a window of tokens.
    Library,
}

/// What the beginning of a text loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRule {
    /// Up to this many spaces.
    Spaces(usize),
    /// All spaces of the first token.
    SpacesOfFirstToken,
}

impl Scheme {
    /// Reads the scheme off the tokenizer's decoder.
    pub fn of(tokenizer: &tokenizers::Tokenizer) -> Scheme {
        tokenizer
            .get_decoder()
            .and_then(|decoder| serde_json::to_value(decoder).ok())
            .and_then(|decoder| from_description(&decoder))
            .unwrap_or(Scheme::Library)
    }
}

fn from_description(decoder: &Value) -> Option<Scheme> {
    match decoder.get("type")?.as_str()? {
        "ByteLevel" => Some(Scheme::ByteLevel),
        "Metaspace" => metaspace(decoder),
        "Sequence" => sequence(decoder.get("decoders")?.as_array()?),
        _ => None,
    }
}

fn metaspace(decoder: &Value) -> Option<Scheme> {
    if decoder.get("replacement")?.as_str()? != "▁" {
        return None;
    }
    let start = match decoder.get("prepend_scheme")?.as_str()? {
        "never" => StartRule::Spaces(0),
        _ => StartRule::SpacesOfFirstToken,
    };
    Some(Scheme::SentencePiece {
        byte_fallback: false,
        start,
    })
}

/// Sequences of Replace("▁" by " "), ByteFallback, Fuse, Strip(" ", start), in the order in which
/// they mean the same as joining byte strings; or a byte level alone.
fn sequence(decoders: &[Value]) -> Option<Scheme> {
    let mut replaced = false;
    let mut byte_fallback = false;
    let mut fused = false;
    let mut start = StartRule::Spaces(0);
    for decoder in decoders {
        match decoder.get("type")?.as_str()? {
            "ByteLevel" if decoders.len() == 1 => return Some(Scheme::ByteLevel),
            "Replace" if !fused => {
                let pattern = decoder.get("pattern")?.get("String")?.as_str()?;
                if pattern != "▁" || decoder.get("content")?.as_str()? != " " {
                    return None;
                }
                replaced = true;
            }
            "ByteFallback" if !fused => byte_fallback = true,
            "Fuse" => fused = true,
            "Metaspace" if !fused && !replaced => {
                let Scheme::SentencePiece { start: rule, .. } = metaspace(decoder)? else {
                    return None;
                };
                replaced = true;
                start = rule;
            }
            "Strip" if fused => {
                if decoder.get("content")?.as_str()? != " " || decoder.get("stop")?.as_u64()? != 0 {
                    return None;
                }
                start = StartRule::Spaces(usize::try_from(decoder.get("start")?.as_u64()?).ok()?);
            }
            _ => return None,
        }
    }
    replaced.then_some(Scheme::SentencePiece { byte_fallback, start })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_decoders_are_recognised_and_others_are_left_to_the_library() {
        let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let llama = json!({"type": "Sequence", "decoders": [
            replace, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(
            from_description(&llama),
            Some(Scheme::SentencePiece {
                byte_fallback: true,
                start: StartRule::Spaces(1)
            })
        );
        assert_eq!(
            from_description(&json!({"type": "ByteLevel"})),
            Some(Scheme::ByteLevel)
        );
        assert_eq!(
            from_description(&json!({"type": "WordPiece", "prefix": "##"})),
            None
        );
        let strip_each = json!({"type": "Sequence", "decoders": [
            replace, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(from_description(&strip_each), None);
        let never = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"});
        assert_eq!(
            from_description(&never),
            Some(Scheme::SentencePiece {
                byte_fallback: false,
                start: StartRule::Spaces(0)
            })
        );
    }
}

//! From a source to a grammar that can be followed.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory, regex_to_lark};
use serde_json::{Value, json};

use crate::bounds;
use crate::limits::Limits;
use crate::source::Source;
use crate::vocabulary::Vocabulary;

/// Characters of an explanation, which repeats what was given.
const MAX_MESSAGE_CHARACTERS: usize = 300;

/// What stands between the parts of JSON unless a schema says so itself: a new line with its
/// indentation, or some spaces; not whitespace for ever, which small models are fond of.
const WHITESPACE: &str = r"\r?\n[\x20\x09]{0,40}|[\x20\x09]{1,8}";

/// Why a grammar cannot be followed; the text is one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A mistake in it, or something that is not supported.
    #[error("{0}")]
    Invalid(String),
    /// No text matches it.
    #[error("{0}")]
    Unsatisfiable(String),
    /// Compiling or following it would cost too much.
    #[error("{0}")]
    TooComplex(String),
    /// As many as may wait are waiting.
    #[error("too many grammars are being compiled")]
    Busy,
}

/// Compiles sources for one vocabulary.
pub(crate) struct Compiler {
    factory: ParserFactory,
    limits: Limits,
}

impl Compiler {
    /// # Errors
    /// When the vocabulary cannot be sorted into the classes that speed masks up.
    pub(crate) fn new(vocabulary: &Vocabulary, limits: Limits) -> Result<Self, Refusal> {
        let mut slices = llguidance::earley::SlicedBiasComputer::general_slices();
        slices.extend(WORD_SLICES.map(str::to_owned));
        let capabilities = InferenceCapabilities::default();
        let mut factory = ParserFactory::new(vocabulary.environment(), capabilities, &slices)
            .map_err(|error| Refusal::Invalid(sentence(&error.to_string())))?;
        *factory.limits_mut() = limits.parser();
        factory.quiet();
        Ok(Self { factory, limits })
    }

    /// A grammar at its beginning, of which the first mask is known to hold a token.
    pub(crate) fn compile(&self, source: &Source) -> Result<Matcher, Refusal> {
        let (given, limit) = (source.text().len(), self.limits.source_bytes);
        if given > limit {
            let message = format!("it has {given} bytes; {limit} are the limit");
            return Err(Refusal::TooComplex(message));
        }
        let grammar = self.grammar(source)?;
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        if let Some(error) = matcher.get_error() {
            return Err(classify(&error));
        }
        // What is wrong with the beginning of every text shows in its first mask.
        match matcher.compute_mask_or_eos() {
            Ok(_) => Ok(matcher),
            Err(error) => Err(classify(&error.to_string())),
        }
    }

    fn grammar(&self, source: &Source) -> Result<TopLevelGrammar, Refusal> {
        Ok(match source {
            Source::JsonSchema(text) => {
                let schema = serde_json::from_str(text)
                    .map_err(|error| Refusal::Invalid(format!("the schema is not JSON: {error}")))?;
                bounds::check(&schema)?;
                TopLevelGrammar::from_json_schema(spaced(schema))
            }
            Source::Regex(text) => {
                // Digits and the like are those of ASCII, as in the patterns of JSON schemas.
                let pattern = regex_to_lark(text, "dws");
                TopLevelGrammar::from_lark(format!("start: /{pattern}/"))
            }
            Source::Lark(text) => {
                bounds::check_lark(text)?;
                TopLevelGrammar::from_lark(text.to_string())
            }
        })
    }
}

/// The schema with bounded whitespace.
fn spaced(mut schema: Value) -> Value {
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    if let Value::Object(fields) = &mut schema {
        fields
            .entry("x-guidance")
            .or_insert_with(|| json!({"whitespace_pattern": WHITESPACE}));
    }
    schema
}

/// Classes of tokens beside those of JSON strings that a mask takes or leaves as a whole: most tokens are
/// words, which many patterns allow at most places.
const WORD_SLICES: [&str; 2] = ["[a-zA-Z0-9 ]{1,10}", "[a-zA-Z0-9 ]{1,30}"];

/// Words by which the grammar engine, which knows kinds of errors only by their text, says that
/// something is too much for its bounds.
const TOO_COMPLEX: [&str; 9] = [
    "too big",
    "too large",
    "toocomplex",
    "too complex",
    "fuel",
    "too many",
    "too deep",
    "exceed",
    "nest limit",
];

fn classify(error: &str) -> Refusal {
    let lower = error.to_lowercase();
    if lower.starts_with("panic") {
        // Its own checks of sizes that it cannot represent.
        Refusal::TooComplex("it is too large to be followed".to_owned())
    } else if lower.contains("noextension") {
        Refusal::Unsatisfiable("no text matches it".to_owned())
    } else if lower.contains("unsatisfiable") {
        Refusal::Unsatisfiable(sentence(error))
    } else if TOO_COMPLEX.iter().any(|words| lower.contains(words)) {
        Refusal::TooComplex(sentence(error))
    } else {
        Refusal::Invalid(sentence(error))
    }
}

/// The explanation in one line, without the state that the engine adds, cut to a length.
fn sentence(error: &str) -> String {
    let text = error.split("\n<").next().unwrap_or_default();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let characters = line.chars().count();
    if characters <= MAX_MESSAGE_CHARACTERS {
        return line;
    }
    // The mistake is named before or behind what was given.
    let half = MAX_MESSAGE_CHARACTERS / 2;
    let first: String = line.chars().take(half).collect();
    let last: String = line.chars().skip(characters - half).collect();
    format!("{first} … {last}")
}

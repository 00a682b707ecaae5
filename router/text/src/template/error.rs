//! Why messages could not be turned into a prompt.

use minijinja::ErrorKind;

/// Why a template does not compile or render.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The model has none.
    #[error(
        "the model has no chat template: use a completion request with a ready prompt, or start the server with \
             --tokenizer-config-path"
    )]
    NoTemplate,
    /// No template of that name.
    #[error("the model has no chat template named \"{name}\"; it has: {known}")]
    UnknownTemplate {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The source is longer than any honest one.
    #[error("the template has {bytes} bytes, more than the {limit} that are allowed")]
    SourceTooLong {
        /// Its size.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// Not a Jinja template we understand.
    #[error("template \"{name}\" does not compile: {cause}")]
    Syntax {
        /// Its name.
        name: String,
        /// Line and cause.
        cause: String,
    },
    /// The template refused the messages with `raise_exception`.
    #[error("the chat template refuses these messages: {message}")]
    Raised {
        /// Its words.
        message: String,
    },
    /// The template failed on these messages.
    #[error("the chat template failed in line {line}: {cause}")]
    Failed {
        /// Line of the template; 0 when not known.
        line: usize,
        /// Why.
        cause: String,
    },
    /// More work or memory than messages of this size may cost.
    #[error("the chat template needs more work than {limit} steps for these messages")]
    TooMuchWork {
        /// The budget.
        limit: u64,
    },
    /// More output than a prompt may have.
    #[error("the chat template writes more than {limit} bytes for these messages")]
    TooMuchOutput {
        /// The most.
        limit: usize,
    },
    /// A message that is not an object.
    #[error("`messages[{index}]` must be an object, given: {given}")]
    Message {
        /// Which.
        index: usize,
        /// Its JSON type.
        given: &'static str,
    },
    /// `content` is neither text, null nor a list of parts.
    #[error("`messages[{index}].content` must be text, null or a list of parts, given: {given}")]
    Content {
        /// Which message.
        index: usize,
        /// Its JSON type.
        given: &'static str,
    },
    /// A part that is not text.
    #[error(
        "`messages[{index}].content[{part}]` has the type \"{given}\"; only \"text\" is supported by this model"
    )]
    Part {
        /// Which message.
        index: usize,
        /// Which part.
        part: usize,
        /// Its type.
        given: String,
    },
    /// `continue_final_message` cannot be followed.
    #[error("`continue_final_message` {cause}")]
    Continue {
        /// Why.
        cause: &'static str,
    },
}

/// The words of `raise_exception`, as the source of the engine's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

impl TemplateError {
    /// Sorts an error of the engine.
    pub(super) fn from_engine(error: &minijinja::Error, fuel: u64) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(inner) = cause {
            if let Some(Raised(message)) = inner.downcast_ref::<Raised>() {
                return TemplateError::Raised {
                    message: message.clone(),
                };
            }
            let out_of_fuel = inner
                .downcast_ref::<minijinja::Error>()
                .map(minijinja::Error::kind);
            if matches!(out_of_fuel, Some(ErrorKind::OutOfFuel)) {
                return TemplateError::TooMuchWork { limit: fuel };
            }
            cause = inner.source();
        }
        TemplateError::Failed {
            line: error.line().unwrap_or(0),
            cause: describe(error),
        }
    }

    /// A template that does not compile.
    pub(super) fn syntax(name: &str, error: &minijinja::Error) -> Self {
        let line = error.line().unwrap_or(0);
        TemplateError::Syntax {
            name: name.to_owned(),
            cause: format!("line {line}: {}", describe(error)),
        }
    }
}

fn describe(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

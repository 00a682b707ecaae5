//! What a template can call. Nothing here reaches files, network, environment or other templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::clock;
use super::error::{Raised, TemplateError};
use super::{json, methods};

/// Most bytes of a template's source.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Deepest nesting of macro calls; a level takes a few hundred bytes of stack.
const MAX_RECURSION: usize = 100;
/// The variable that holds the caller's time; templates cannot name it.
pub(super) const NOW: &str = "strftime_now seconds";

/// An environment with the settings that the transformers library gives to chat templates.
pub(super) fn new() -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.map_err(|error| TemplateError::syntax("", &error))?);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(methods::call);
    environment.remove_global("debug");
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    Ok(environment)
}

/// Compiles one template under its name.
pub(super) fn add(
    environment: &mut Environment<'static>,
    name: &str,
    source: &str,
) -> Result<(), TemplateError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(TemplateError::SourceTooLong {
            bytes: source.len(),
            limit: MAX_SOURCE_BYTES,
        });
    }
    environment
        .add_template_owned(name.to_owned(), without_generation_tags(source))
        .map_err(|error| TemplateError::syntax(name, &error))
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

fn strftime_now(state: &minijinja::State, format: &str) -> Result<String, Error> {
    let seconds = state.lookup(NOW).and_then(|now| now.as_i64()).unwrap_or(0);
    clock::format(seconds, format).map_err(|directive| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now does not know {directive}"),
        )
    })
}

/// `{% generation %}` marks what a model has written, for training. Here it is a scope and no more.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // The `%` of an opening is not that of a closing.
        let (opening, behind) = rest.split_at(start + 2);
        let Some(length) = behind.find("%}") else {
            break;
        };
        let (tag, closing) = behind.split_at(length);
        let name = tag.trim_matches(|character: char| character.is_whitespace() || "+-".contains(character));
        result.push_str(opening);
        match name {
            "generation" => result.push_str(&tag.replace("generation", " with ")),
            "endgeneration" => result.push_str(&tag.replace("endgeneration", " endwith ")),
            _ => result.push_str(tag),
        }
        rest = closing;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_scopes_and_nothing_else_changes() {
        assert_eq!(
            without_generation_tags(
                "a{%- generation -%}b{% endgeneration %}c{% if generation %}d{% endif %}"
            ),
            "a{%-  with  -%}b{%  endwith  %}c{% if generation %}d{% endif %}"
        );
        for other in ["{{ 'x' }} {% open", "{%}", "a{%}b{% if x %}", "{%%}"] {
            assert_eq!(without_generation_tags(other), other);
        }
    }
}

//! Methods of Python's strings and lists that templates call and the engine's own set lacks.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// Digits of the widest field that `format` may be asked for: the engine pads before it counts.
const MAX_WIDTH_DIGITS: usize = 4;

/// Called for methods the engine does not know.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if method == "format" && value.as_str().is_some_and(has_wide_field) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "format: a field is wider than 9999",
        ));
    }
    match minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => match value.as_str() {
            Some(text) => string_method(text, method, arguments),
            None if value.kind() == ValueKind::Seq => list_method(state, value, method, arguments),
            None => Err(error),
        },
        result => result,
    }
}

fn has_wide_field(format: &str) -> bool {
    format
        .split(|character: char| !character.is_ascii_digit())
        .any(|digits| digits.len() > MAX_WIDTH_DIGITS)
}

fn string_method(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            partition(text, separator, method == "rpartition")
        }
        "rsplit" => {
            let (separator, limit): (Option<&str>, Option<i64>) = from_args(arguments)?;
            rsplit(text, separator, limit)
        }
        "index" | "rindex" => {
            let (part,): (&str,) = from_args(arguments)?;
            let found = if method == "index" {
                text.find(part)
            } else {
                text.rfind(part)
            };
            let at = found.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Ok(Value::from(text[..at].chars().count()))
        }
        "casefold" => {
            let () = from_args(arguments)?;
            Ok(Value::from(text.to_lowercase()))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn partition(text: &str, separator: &str, from_the_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let found = if from_the_end {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match (found, from_the_end) {
        (Some((before, after)), _) => [before, separator, after],
        (None, false) => [text, "", ""],
        (None, true) => ["", "", text],
    };
    Ok(Value::from(parts.map(Value::from).to_vec()))
}

fn rsplit(text: &str, separator: Option<&str>, limit: Option<i64>) -> Result<Value, Error> {
    let most = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .map_or(usize::MAX, |limit| limit.saturating_add(1));
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(separator) => text.rsplitn(most, separator).collect(),
        None if most == usize::MAX => text.split_whitespace().rev().collect(),
        None => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "rsplit with a limit needs a separator",
            ));
        }
    };
    parts.reverse();
    Ok(Value::from(
        parts.into_iter().map(Value::from).collect::<Vec<_>>(),
    ))
}

fn list_method(state: &State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    match method {
        "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            for (at, item) in value.try_iter()?.enumerate() {
                state.consume_fuel(1)?;
                if item == *wanted {
                    return Ok(Value::from(at));
                }
            }
            Err(Error::new(
                ErrorKind::InvalidOperation,
                "the value is not in the list",
            ))
        }
        "copy" => {
            let () = from_args(arguments)?;
            Ok(value.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

//! Rules that many fields share. Each failure names the field, the limits and the given value.

use crate::http::error::{ApiError, Rule};
use crate::http::numbers::{Integer, Number};

/// A number within `[least, most]`.
///
/// # Errors
/// When it is outside.
#[allow(clippy::cast_possible_truncation)]
pub fn number(param: &str, given: Option<Number>, least: f64, most: f64) -> Result<Option<f32>, ApiError> {
    let Some(Number(value)) = given else {
        return Ok(None);
    };
    if (least..=most).contains(&value) {
        Ok(Some(value as f32))
    } else {
        let message = format!("`{param}` must be >= {least:?} and <= {most:?}. Given: {value}");
        Err(ApiError::invalid(param, Rule::Range, message))
    }
}

/// A number within `(above, most]`.
///
/// # Errors
/// When it is outside.
#[allow(clippy::cast_possible_truncation)]
pub fn number_above(
    param: &str,
    given: Option<Number>,
    above: f64,
    most: f64,
) -> Result<Option<f32>, ApiError> {
    let Some(Number(value)) = given else {
        return Ok(None);
    };
    if value > above && value <= most {
        Ok(Some(value as f32))
    } else {
        let message = format!("`{param}` must be > {above:?} and <= {most:?}. Given: {value}");
        Err(ApiError::invalid(param, Rule::Range, message))
    }
}

/// An integer within `[least, most]`.
///
/// # Errors
/// When it is outside.
pub fn integer(param: &str, given: Option<Integer>, least: u32, most: u32) -> Result<Option<u32>, ApiError> {
    let Some(Integer(value)) = given else {
        return Ok(None);
    };
    match u32::try_from(value) {
        Ok(value) if (least..=most).contains(&value) => Ok(Some(value)),
        _ => {
            let message = format!("`{param}` must be >= {least} and <= {most}. Given: {value}");
            Err(ApiError::invalid(param, Rule::Range, message))
        }
    }
}

/// At most `most` entries.
///
/// # Errors
/// When there are more.
pub fn count(param: &str, given: usize, most: usize) -> Result<(), ApiError> {
    if given <= most {
        return Ok(());
    }
    let message = format!("`{param}` supports up to {most} entries. Given: {given}");
    Err(ApiError::invalid(param, Rule::Count, message))
}

/// Token ids of the vocabulary.
///
/// # Errors
/// Names the first entry that is none.
pub fn tokens(param: &str, given: &[Integer], vocab_size: u32) -> Result<Vec<u32>, ApiError> {
    given
        .iter()
        .enumerate()
        .map(|(index, id)| token(&format!("{param}[{index}]"), *id, vocab_size))
        .collect()
}

/// A token id of the vocabulary.
///
/// # Errors
/// When it is none.
pub fn token(param: &str, given: Integer, vocab_size: u32) -> Result<u32, ApiError> {
    match u32::try_from(given.0) {
        Ok(id) if id < vocab_size => Ok(id),
        _ => {
            let message = format!(
                "`{param}` must be a token id >= 0 and < {vocab_size}. Given: {}",
                given.0
            );
            Err(ApiError::invalid(param, Rule::Vocabulary, message))
        }
    }
}

/// Bytes of one stop string: every token is compared with it.
const MAX_STOP_BYTES: usize = 1024;

/// Stop strings.
///
/// # Errors
/// When there are too many, or one is empty or too long.
pub fn stop_strings(given: Vec<String>, most: u32) -> Result<Vec<String>, ApiError> {
    if given.len() > most as usize {
        let message = format!(
            "`stop` supports up to {most} stop sequences (--max-stop-sequences). Given: {}",
            given.len()
        );
        return Err(ApiError::invalid("stop", Rule::Count, message));
    }
    for (index, stop) in given.iter().enumerate() {
        let param = format!("stop[{index}]");
        if stop.is_empty() {
            return Err(ApiError::invalid(
                &param,
                Rule::Value,
                format!("`{param}` must not be empty"),
            ));
        }
        if stop.len() > MAX_STOP_BYTES {
            let message = format!(
                "`{param}` must have at most {MAX_STOP_BYTES} bytes. Given: {}",
                stop.len()
            );
            return Err(ApiError::invalid(&param, Rule::Range, message));
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn limits_belong_to_the_range() {
        assert_eq!(number("p", Some(Number(0.0)), 0.0, 2.0), Ok(Some(0.0)));
        assert_eq!(number("p", Some(Number(2.0)), 0.0, 2.0), Ok(Some(2.0)));
        assert_eq!(number("p", None, 0.0, 2.0), Ok(None));
        assert_eq!(
            message(number("p", Some(Number(-0.5)), 0.0, 2.0)),
            "`p` must be >= 0.0 and <= 2.0. Given: -0.5"
        );
        assert_eq!(
            message(number("p", Some(Number(1e300)), 0.0, 2.0))
                .split('.')
                .count(),
            4
        );
        assert_eq!(
            message(number_above("p", Some(Number(0.0)), 0.0, 1.0)),
            "`p` must be > 0.0 and <= 1.0. Given: 0"
        );
        assert_eq!(number_above("p", Some(Number(1.0)), 0.0, 1.0), Ok(Some(1.0)));
        assert_eq!(integer("n", Some(Integer(1)), 1, 2), Ok(Some(1)));
        assert_eq!(
            message(integer("n", Some(Integer(-1)), 1, 2)),
            "`n` must be >= 1 and <= 2. Given: -1"
        );
        assert!(integer("n", Some(Integer(1 << 64)), 1, u32::MAX).is_err());
    }

    #[test]
    fn the_first_bad_entry_is_named() {
        let given = [Integer(0), Integer(9), Integer(-1)];
        assert_eq!(
            message(tokens("ids", &given, 9)),
            "`ids[1]` must be a token id >= 0 and < 9. Given: 9"
        );
        assert!(stop_strings(vec!["a".to_owned(), String::new()], 4).is_err());
        assert!(stop_strings(vec!["a".to_owned(); 5], 4).is_err());
        assert!(stop_strings(vec!["a".repeat(MAX_STOP_BYTES + 1)], 4).is_err());
        assert!(stop_strings(vec!["a".repeat(MAX_STOP_BYTES)], 4).is_ok());
    }
}

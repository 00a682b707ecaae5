//! What is refused before it is compiled: a compilation cannot be stopped once it runs, and these
//! shapes make it run for seconds.

use serde_json::{Map, Value};

use crate::compile::Refusal;

/// Properties of one object; the cost of optional ones grows with the square.
const MAX_PROPERTIES: usize = 1_000;
/// Combinations of alternatives that one schema may multiply to.
const MAX_COMBINATIONS: u64 = 512;

/// Checks every schema within `schema`.
///
/// # Errors
/// With the first bound that is broken.
pub(crate) fn check(schema: &Value) -> Result<(), Refusal> {
    let mut todo = vec![schema];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(fields) => {
                check_object(fields)?;
                todo.extend(fields.values());
            }
            Value::Array(entries) => todo.extend(entries),
            _ => {}
        }
    }
    Ok(())
}

/// Checks every schema that a grammar in Lark's notation holds. What only looks like one, in a string
/// or a comment, is no harm: it is looked at and passed.
///
/// # Errors
/// With the first bound that is broken.
pub(crate) fn check_lark(source: &str) -> Result<(), Refusal> {
    const WORD: &str = "%json";
    let mut rest = source;
    while let Some(at) = rest.find(WORD) {
        rest = rest.get(at + WORD.len()..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        if let Some(Ok(schema)) = values.next() {
            check(&schema)?;
            rest = rest.get(values.byte_offset()..).unwrap_or_default();
        }
    }
    Ok(())
}

fn check_object(fields: &Map<String, Value>) -> Result<(), Refusal> {
    for name in ["properties", "patternProperties"] {
        let given = fields.get(name).and_then(Value::as_object).map_or(0, Map::len);
        if given > MAX_PROPERTIES {
            let message = format!("an object has {given} {name}; {MAX_PROPERTIES} are the limit");
            return Err(Refusal::TooComplex(message));
        }
    }
    let given = combinations(fields, 0);
    if given > MAX_COMBINATIONS {
        let message = format!(
            "allOf, anyOf and oneOf multiply to {given} combinations; {MAX_COMBINATIONS} are the limit"
        );
        return Err(Refusal::TooComplex(message));
    }
    Ok(())
}

/// In how many ways the alternatives of a schema combine, as far as it shows without references.
fn combinations(fields: &Map<String, Value>, depth: u32) -> u64 {
    const MAX_DEPTH: u32 = 64;
    if depth > MAX_DEPTH {
        return u64::MAX;
    }
    let of = |value: &Value| {
        value
            .as_object()
            .map_or(1, |inner| combinations(inner, depth + 1))
    };
    let list = |name: &str| fields.get(name).and_then(Value::as_array).map(Vec::as_slice);
    let mut product = 1_u64;
    for part in list("allOf").unwrap_or_default() {
        product = product.saturating_mul(of(part));
    }
    for name in ["anyOf", "oneOf"] {
        if let Some(parts) = list(name) {
            let sum = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(of(part)));
            product = product.saturating_mul(sum.max(1));
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn any_of(count: usize) -> Value {
        json!({"anyOf": vec![json!({"type": "integer"}); count]})
    }

    #[test]
    fn alternatives_add_up_and_conditions_multiply() {
        let of = |value: &Value| combinations(value.as_object().unwrap(), 0);
        assert_eq!(of(&any_of(7)), 7);
        assert_eq!(
            of(&json!({"allOf": [any_of(3), any_of(4)], "anyOf": [any_of(2), {}]})),
            36
        );
        assert_eq!(of(&json!({"properties": {"a": any_of(9)}})), 1);
    }

    #[test]
    fn explosions_are_found_wherever_they_are() {
        let explosion = json!({"allOf": vec![any_of(8); 4]});
        for schema in [
            explosion.clone(),
            json!({"properties": {"a": {"items": explosion}}}),
            json!({"$defs": {"a": explosion}}),
        ] {
            assert!(matches!(check(&schema), Err(Refusal::TooComplex(_))), "{schema}");
        }
        assert_eq!(check(&any_of(500)), Ok(()));
        let properties: Map<_, _> = (0..=MAX_PROPERTIES)
            .map(|i| (format!("p{i}"), json!({})))
            .collect();
        assert!(check(&json!({"properties": properties})).is_err());
    }
}

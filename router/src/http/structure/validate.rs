//! The rules of the fields that ask for a structure.

use serde_json::{Map, Value, json};

use crate::http::check;
use crate::http::error::{ApiError, Rule};
use crate::http::structure::closed::close;
use crate::http::structure::types::{GrammarField, ResponseFormat, StructureFields, StructuredOutputs};
use crate::http::structure::{MAX_SOURCE_BYTES, Structure, Structured};

/// Texts to choose from.
const MAX_CHOICES: usize = 4096;

/// What OpenAI's routes ask for, from any of its spellings.
///
/// # Errors
/// When a field breaks a rule, or two ask for something.
pub fn openai(fields: StructureFields) -> Result<Option<Structured>, ApiError> {
    let mut asked = Asked::default();
    if let Some(format) = fields.response_format {
        asked.add(response_format(format)?)?;
    }
    if let Some(outputs) = fields.structured_outputs {
        structured_outputs(outputs, &mut asked)?;
    }
    if let Some(schema) = fields.guided_json {
        asked.add(Some(json_schema("guided_json", schema)?))?;
    }
    if let Some(regex) = fields.guided_regex {
        asked.add(Some(Structured::new("guided_regex", Structure::Regex(regex))))?;
    }
    if let Some(texts) = fields.guided_choice {
        asked.add(Some(choice("guided_choice", texts)?))?;
    }
    if let Some(source) = fields.guided_grammar {
        asked.add(Some(Structured::new("guided_grammar", Structure::Lark(source))))?;
    }
    if let Some(pattern) = fields.guided_whitespace_pattern {
        asked.spacing(
            "guided_whitespace_pattern",
            json!({"whitespace_pattern": pattern}),
        )?;
    }
    asked.checked()
}

/// What a native route asks for. `param`: the path of the field.
///
/// # Errors
/// When it breaks a rule.
pub fn native(param: &'static str, field: GrammarField) -> Result<Option<Structured>, ApiError> {
    let kinds = ["json", "json_object", "json_schema", "regex"];
    let mut asked = Asked::default();
    let kind = known(param, "type", field.kind, &kinds)?;
    asked.add(Some(valued(param, &kind, field.value)?))?;
    asked.checked()
}

/// JSON that a schema allows. `param`: the field that asks for it.
///
/// # Errors
/// When it is no schema, or too large.
pub fn of_schema(param: &'static str, schema: Value) -> Result<Structured, ApiError> {
    let mut asked = Asked::default();
    let structured = json_schema(param, schema)?;
    asked.add(Some(structured.clone()))?;
    asked.checked().map(|_| structured)
}

/// At most one structure.
#[derive(Default)]
struct Asked {
    found: Option<Structured>,
}

impl Asked {
    fn add(&mut self, more: Option<Structured>) -> Result<(), ApiError> {
        match (&self.found, more) {
            (Some(found), Some(more)) => {
                let message = format!(
                    "`{}` and `{}` each ask for a structure; send one of them",
                    found.param, more.param
                );
                Err(ApiError::invalid(more.param, Rule::Conflict, message))
            }
            (None, more) => {
                self.found = more;
                Ok(())
            }
            (Some(_), None) => Ok(()),
        }
    }

    /// What stands between the parts of JSON.
    fn spacing(&mut self, param: &'static str, options: Value) -> Result<(), ApiError> {
        let schema = match &mut self.found {
            Some(Structured {
                structure: Structure::JsonSchema(schema),
                ..
            }) => schema,
            Some(Structured { structure, .. }) if *structure == Structure::JsonObject => {
                *structure =
                    Structure::JsonSchema(json!({"type": "object", "x-guidance": options}).to_string());
                return Ok(());
            }
            _ => {
                let message = format!("`{param}` is for JSON alone; leave it out");
                return Err(ApiError::invalid(param, Rule::Conflict, message));
            }
        };
        let mut object = match serde_json::from_str(schema) {
            Ok(Value::Object(object)) => object,
            Ok(Value::Bool(true)) => Map::new(),
            _ => return Ok(()),
        };
        object.insert("x-guidance".to_owned(), options);
        *schema = Value::Object(object).to_string();
        Ok(())
    }

    fn checked(self) -> Result<Option<Structured>, ApiError> {
        let Some(found) = &self.found else { return Ok(None) };
        let bytes = match &found.structure {
            Structure::JsonSchema(source) | Structure::Regex(source) | Structure::Lark(source) => {
                source.len()
            }
            Structure::Choice(texts) => texts.iter().map(String::len).sum(),
            Structure::JsonObject => 1,
        };
        let param = found.param;
        if bytes == 0 {
            return Err(ApiError::invalid(
                param,
                Rule::Value,
                format!("`{param}` must not be empty"),
            ));
        }
        if bytes > MAX_SOURCE_BYTES {
            let message = format!("`{param}` must have at most {MAX_SOURCE_BYTES} bytes. Given: {bytes}");
            return Err(ApiError::invalid(param, Rule::Range, message));
        }
        Ok(self.found)
    }
}

fn response_format(format: ResponseFormat) -> Result<Option<Structured>, ApiError> {
    let param = "response_format";
    let kinds = ["text", "json_object", "json_schema", "json", "regex"];
    let kind = known(param, "type", format.kind, &kinds)?;
    if kind == "text" {
        return Ok(None);
    }
    match (format.json_schema, format.value) {
        (Some(_), _) if kind != "json_schema" => {
            let message = "`response_format.json_schema` needs `response_format.type`: `json_schema`";
            Err(ApiError::invalid(
                "response_format.json_schema",
                Rule::Conflict,
                message,
            ))
        }
        (Some(named), _) => match named.schema {
            Some(schema) => json_schema("response_format.json_schema.schema", schema).map(Some),
            None => Ok(Some(Structured::new(param, Structure::JsonObject))),
        },
        (None, None) if kind == "json_schema" => Err(ApiError::missing("response_format.json_schema")),
        (None, value) => valued(param, &kind, value).map(Some),
    }
}

fn structured_outputs(outputs: StructuredOutputs, asked: &mut Asked) -> Result<(), ApiError> {
    if outputs.structural_tag.is_some() {
        let fix = "send `grammar` in Lark's notation, which says the same";
        return Err(ApiError::unsupported("structured_outputs.structural_tag", fix));
    }
    if let Some(schema) = outputs.json {
        asked.add(Some(json_schema("structured_outputs.json", schema)?))?;
    }
    if let Some(regex) = outputs.regex {
        asked.add(Some(Structured::new(
            "structured_outputs.regex",
            Structure::Regex(regex),
        )))?;
    }
    if let Some(texts) = outputs.choice {
        asked.add(Some(choice("structured_outputs.choice", texts)?))?;
    }
    if let Some(source) = outputs.grammar {
        asked.add(Some(Structured::new(
            "structured_outputs.grammar",
            Structure::Lark(source),
        )))?;
    }
    if outputs.json_object == Some(true) {
        asked.add(Some(Structured::new(
            "structured_outputs.json_object",
            Structure::JsonObject,
        )))?;
    }
    if asked.found.is_none() {
        let message = "`structured_outputs` must hold one of json, regex, choice, grammar, json_object";
        return Err(ApiError::invalid("structured_outputs", Rule::Missing, message));
    }
    if outputs.disable_any_whitespace == Some(true) {
        let compact = json!({"whitespace_flexible": false});
        asked.spacing("structured_outputs.disable_any_whitespace", compact)?;
    }
    if let Some(pattern) = outputs.whitespace_pattern {
        asked.spacing(
            "structured_outputs.whitespace_pattern",
            json!({"whitespace_pattern": pattern}),
        )?;
    }
    Ok(())
}

/// TGI's shape: a kind and its source as `value`. `param`: the path of the object.
fn valued(param: &'static str, kind: &str, value: Option<Value>) -> Result<Structured, ApiError> {
    let missing = || ApiError::missing(&format!("{param}.value"));
    match (kind, value) {
        ("regex", Some(Value::String(regex))) => Ok(Structured::new(param, Structure::Regex(regex))),
        ("regex", Some(_)) => Err(ApiError::invalid(
            format!("{param}.value"),
            Rule::Value,
            format!("`{param}.value` must be a string that holds a regular expression"),
        )),
        ("json_object", None) => Ok(Structured::new(param, Structure::JsonObject)),
        (_, None) => Err(missing()),
        // A schema with a name, as OpenAI has it.
        ("json_schema", Some(Value::Object(mut named))) if named.contains_key("schema") => {
            json_schema(param, named.remove("schema").unwrap_or_default())
        }
        (_, Some(schema)) => json_schema(param, schema),
    }
}

/// A schema, or a schema as text.
fn json_schema(param: &'static str, given: Value) -> Result<Structured, ApiError> {
    let mut schema = match given {
        Value::String(text) if text.len() > MAX_SOURCE_BYTES => {
            let given = text.len();
            let message = format!("`{param}` must have at most {MAX_SOURCE_BYTES} bytes. Given: {given}");
            return Err(ApiError::invalid(param, Rule::Range, message));
        }
        Value::String(text) => serde_json::from_str(&text).map_err(|error| {
            let message = format!("`{param}` must be a JSON schema; its text is not JSON: {error}");
            ApiError::invalid(param, Rule::Value, message)
        })?,
        other => other,
    };
    match schema {
        Value::Object(_) | Value::Bool(_) => {
            close(&mut schema);
            Ok(Structured::new(param, Structure::JsonSchema(schema.to_string())))
        }
        _ => {
            let message = format!("`{param}` must be a JSON schema: an object, true or false");
            Err(ApiError::invalid(param, Rule::Value, message))
        }
    }
}

fn choice(param: &'static str, texts: Vec<String>) -> Result<Structured, ApiError> {
    check::count(param, texts.len(), MAX_CHOICES)?;
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        let message = format!("`{param}` must hold texts to choose from, none of them empty");
        return Err(ApiError::invalid(param, Rule::Count, message));
    }
    Ok(Structured::new(param, Structure::Choice(texts)))
}

/// A needed string that is one of a few.
fn known(object: &str, field: &str, given: Option<String>, kinds: &[&str]) -> Result<String, ApiError> {
    let param = format!("{object}.{field}");
    let Some(kind) = given else {
        return Err(ApiError::missing(&param));
    };
    if kinds.contains(&kind.as_str()) {
        return Ok(kind);
    }
    let given: String = kind.chars().take(40).collect();
    let message = format!("`{param}` must be one of {}. Given: `{given}`", kinds.join(", "));
    Err(ApiError::invalid(param, Rule::Value, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openai_of(body: &Value) -> Result<Option<Structured>, ApiError> {
        openai(serde_json::from_value(body.clone()).unwrap())
    }

    fn structure(body: &Value) -> Structure {
        openai_of(body).unwrap().unwrap().structure
    }

    fn param(result: Result<Option<Structured>, ApiError>) -> String {
        result.unwrap_err().problem().param.unwrap()
    }

    #[test]
    fn every_spelling_of_a_schema_means_the_same() {
        let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
        let closed =
            json!({"type": "object", "properties": {"b": {}, "a": {}}, "additionalProperties": false});
        for body in [
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}}}),
            json!({"response_format": {"type": "json_object", "value": schema}}),
            json!({"response_format": {"type": "json", "value": schema}}),
            json!({"response_format": {"type": "json_object", "schema": schema}}),
            json!({"response_format": {"type": "json_schema", "value": {"name": "x", "schema": schema}}}),
            json!({"response_format": {"type": "json_schema", "value": schema}}),
            json!({"structured_outputs": {"json": schema}}),
            json!({"structured_outputs": {"json": schema.to_string()}}),
            json!({"guided_json": schema, "guided_regex": null, "response_format": {"type": "text"}}),
        ] {
            assert_eq!(
                structure(&body),
                Structure::JsonSchema(closed.to_string()),
                "{body}"
            );
        }
    }

    #[test]
    fn the_other_kinds_have_their_names() {
        let regex = Structure::Regex("[a-z]+".to_owned());
        let texts = Structure::Choice(vec!["a".to_owned(), "b".to_owned()]);
        let lark = Structure::Lark("start: \"a\"".to_owned());
        for (body, expected) in [
            (
                json!({"response_format": {"type": "json_object"}}),
                Structure::JsonObject,
            ),
            (
                json!({"structured_outputs": {"json_object": true}}),
                Structure::JsonObject,
            ),
            (
                json!({"response_format": {"type": "regex", "value": "[a-z]+"}}),
                regex.clone(),
            ),
            (json!({"guided_regex": "[a-z]+"}), regex),
            (json!({"guided_choice": ["a", "b"]}), texts.clone()),
            (json!({"structured_outputs": {"choice": ["a", "b"]}}), texts),
            (json!({"guided_grammar": "start: \"a\""}), lark.clone()),
            (json!({"structured_outputs": {"grammar": "start: \"a\""}}), lark),
        ] {
            assert_eq!(structure(&body), expected, "{body}");
        }
        assert_eq!(openai_of(&json!({"response_format": {"type": "text"}})), Ok(None));
        assert_eq!(openai_of(&json!({})), Ok(None));
    }

    #[test]
    fn whitespace_is_part_of_a_schema() {
        let compact = structure(&json!({"structured_outputs": {"json": {}, "disable_any_whitespace": true}}));
        let expected = r#"{"x-guidance":{"whitespace_flexible":false}}"#;
        assert_eq!(compact, Structure::JsonSchema(expected.to_owned()));
        let pattern = structure(&json!({"guided_json": true, "guided_whitespace_pattern": " ?"}));
        let expected = r#"{"x-guidance":{"whitespace_pattern":" ?"}}"#;
        assert_eq!(pattern, Structure::JsonSchema(expected.to_owned()));
        let alone = json!({"guided_regex": "a", "guided_whitespace_pattern": " ?"});
        assert_eq!(param(openai_of(&alone)), "guided_whitespace_pattern");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, expected) in [
            (json!({"response_format": {}}), "response_format.type"),
            (
                json!({"response_format": {"type": "xml"}}),
                "response_format.type",
            ),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format.json_schema",
            ),
            (
                json!({"response_format": {"type": "json"}}),
                "response_format.value",
            ),
            (
                json!({"response_format": {"type": "regex", "value": {}}}),
                "response_format.value",
            ),
            (json!({"guided_json": {}, "guided_regex": "a"}), "guided_regex"),
            (json!({"guided_json": 7}), "guided_json"),
            (json!({"guided_json": "{"}), "guided_json"),
            (json!({"guided_choice": []}), "guided_choice"),
            (json!({"guided_choice": ["a", ""]}), "guided_choice"),
            (
                json!({"guided_choice": vec!["a"; MAX_CHOICES + 1]}),
                "guided_choice",
            ),
            (json!({"guided_regex": ""}), "guided_regex"),
            (
                json!({"guided_grammar": "x".repeat(MAX_SOURCE_BYTES + 1)}),
                "guided_grammar",
            ),
            (json!({"structured_outputs": {}}), "structured_outputs"),
            (
                json!({"structured_outputs": {"structural_tag": {}}}),
                "structured_outputs.structural_tag",
            ),
        ] {
            assert_eq!(param(openai_of(&body)), expected, "{body}");
        }
    }

    #[test]
    fn native_grammars_have_a_kind_and_a_value() {
        let of = |body: Value| native("parameters.grammar", serde_json::from_value(body).unwrap());
        let schema = json!({"properties": {"a": {"type": "integer"}}, "additionalProperties": false});
        for kind in ["json", "json_object", "json_schema"] {
            let structured = of(json!({"type": kind, "value": schema})).unwrap().unwrap();
            assert_eq!(structured.structure, Structure::JsonSchema(schema.to_string()));
        }
        let regex = of(json!({"type": "regex", "value": "a+"})).unwrap().unwrap();
        assert_eq!(regex.structure, Structure::Regex("a+".to_owned()));
        assert_eq!(param(of(json!({"type": "json"}))), "parameters.grammar.value");
        assert_eq!(param(of(json!({"value": {}}))), "parameters.grammar.type");
    }
}

//! `tojson` as Python's `json.dumps` writes it.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::marks::is_mark;

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 128;
/// Longest indentation.
const MAX_INDENT: usize = 64;

/// The filter: ensure_ascii (default false), indent, separators, sort_keys.
pub(super) fn tojson(
    state: &State,
    value: &Value,
    ensure_ascii: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(flag) => flag.is_true(),
        None => options
            .get::<Option<Value>>("ensure_ascii")?
            .is_some_and(|flag| flag.is_true()),
    };
    let indent = indentation(options.get::<Option<Value>>("indent")?)?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }, ": "),
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => return Err(refused("separators must be a pair".to_owned())),
    };
    let style = Style {
        ensure_ascii,
        indent,
        item,
        key,
        sort_keys,
    };
    let mut writer = Writer {
        state,
        style: &style,
        text: String::new(),
        charged: 0,
    };
    writer.value(value, 0)?;
    Ok(Value::from(writer.text))
}

fn refused(cause: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {cause}"))
}

fn indentation(indent: Option<Value>) -> Result<Option<String>, Error> {
    let Some(indent) = indent.filter(|indent| !indent.is_none()) else {
        return Ok(None);
    };
    let text = match indent.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let width = indent
                .as_i64()
                .ok_or_else(|| refused("indent must be a number or text".to_owned()))?;
            " ".repeat(usize::try_from(width).unwrap_or(0).min(MAX_INDENT))
        }
    };
    if text.len() > MAX_INDENT {
        Err(refused("indent is too long".to_owned()))
    } else {
        Ok(Some(text))
    }
}

struct Style<'a> {
    ensure_ascii: bool,
    indent: Option<String>,
    item: &'a str,
    key: &'a str,
    sort_keys: bool,
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    style: &'a Style<'a>,
    text: String,
    /// Bytes of `text` that are paid for.
    charged: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(refused(format!("more than {MAX_DEPTH} levels")));
        }
        self.charge()?;
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&number(value)?),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            other => return Err(refused(format!("a value of the type {other} has no JSON form"))),
        }
        Ok(())
    }

    /// One fuel for 16 bytes: what a filter allocates is not charged by the engine until it is done.
    fn charge(&mut self) -> Result<(), Error> {
        let grown = self.text.len() - self.charged;
        self.charged = self.text.len();
        self.state.consume_fuel(1 + grown as u64 / 16)
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut empty = true;
        self.text.push('[');
        for item in value.try_iter()? {
            self.separate(&mut empty, depth + 1);
            self.value(&item, depth + 1)?;
        }
        self.close(empty, depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for key in value.try_iter()? {
            pairs.push((key_text(&key)?, value.get_item(&key)?));
        }
        self.state.consume_fuel(pairs.len() as u64)?;
        if self.style.sort_keys {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let mut empty = true;
        self.text.push('{');
        for (key, item) in pairs {
            self.separate(&mut empty, depth + 1);
            self.string(&key);
            self.text.push_str(self.style.key);
            self.value(&item, depth + 1)?;
        }
        self.close(empty, depth, '}');
        Ok(())
    }

    fn separate(&mut self, empty: &mut bool, depth: usize) {
        if !std::mem::replace(empty, false) {
            self.text.push_str(self.style.item);
        }
        self.line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.line(depth);
        }
        self.text.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&mut self, string: &str) {
        self.text.push('"');
        for character in string.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\0'..='\u{1f}' => self.text.push_str(&format!("\\u{:04x}", u32::from(character))),
                '\u{7f}'.. if self.style.ensure_ascii && character != '\u{7f}' && !is_mark(character) => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        self.text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => number(key),
        other => Err(refused(format!("a key of the type {other}"))),
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value.clone())?;
    Ok(if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        python_float(number)
    })
}

/// The shortest text that reads back as the number, with Python's exponents ("1e-05", "1e+16").
fn python_float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_look_like_those_of_python() {
        // Expected values: Python's repr.
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (5e-324, "5e-324"),
        ];
        for (number, expected) in cases {
            assert_eq!(python_float(number), expected);
        }
    }
}

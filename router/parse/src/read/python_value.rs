//! Values as Python writes them, turned into JSON a character at a time. Nothing is evaluated:
//! what is neither text, number nor one of Python's three words becomes text.

use super::{escape, quote};

/// A text between quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PythonText {
    quote: char,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Plain,
    Escape,
    Code { left: u8, value: u32 },
}

impl PythonText {
    /// Behind the opening quote.
    pub(super) fn new(quote: char) -> Self {
        Self {
            quote,
            state: State::Plain,
        }
    }

    /// Appends the character's JSON spelling; `true` at the closing quote.
    pub(super) fn step(&mut self, character: char, out: &mut String) -> bool {
        match self.state {
            State::Plain if character == self.quote => return true,
            State::Plain if character == '\\' => self.state = State::Escape,
            State::Plain => escape(character, out),
            State::Escape => self.escaped(character, out),
            State::Code { left, value } => match character.to_digit(16) {
                Some(digit) => {
                    // At most eight digits: 32 bits.
                    let value = value << 4 | digit;
                    if left > 1 {
                        self.state = State::Code {
                            left: left - 1,
                            value,
                        };
                    } else {
                        self.state = State::Plain;
                        escape(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER), out);
                    }
                }
                None => {
                    self.state = State::Plain;
                    out.push(char::REPLACEMENT_CHARACTER);
                    return self.step(character, out);
                }
            },
        }
        false
    }

    fn escaped(&mut self, character: char, out: &mut String) {
        let code = |left| State::Code { left, value: 0 };
        self.state = match character {
            'x' => code(2),
            'u' => code(4),
            'U' => code(8),
            _ => State::Plain,
        };
        match character {
            'x' | 'u' | 'U' | '\n' => {}
            'n' => escape('\n', out),
            't' => escape('\t', out),
            'r' => escape('\r', out),
            'a' => escape('\u{7}', out),
            'b' => escape('\u{8}', out),
            'f' => escape('\u{c}', out),
            'v' => escape('\u{b}', out),
            '0' => escape('\0', out),
            '\\' | '\'' | '"' => escape(character, out),
            // Python keeps the backslash of an escape that it does not know.
            _ => {
                escape('\\', out);
                escape(character, out);
            }
        }
    }
}

/// Appends the JSON spelling of a word or number; `key`: of an object, where JSON has text alone.
pub(super) fn bare(word: &str, key: bool, out: &mut String) {
    let known = match word {
        "True" | "true" => Some("true"),
        "False" | "false" => Some("false"),
        "None" | "null" => Some("null"),
        _ => None,
    };
    match known {
        Some(known) if !key => out.push_str(known),
        Some(known) => quote(known, out),
        None if key => quote(word, out),
        None => match number(word) {
            Some(number) => out.push_str(&number),
            None => quote(word, out),
        },
    }
}

/// A number's JSON spelling.
fn number(word: &str) -> Option<String> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let mut digits = digits.replace('_', "");
    if let Some(hexadecimal) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return u64::from_str_radix(hexadecimal, 16)
            .ok()
            .map(|value| format!("{sign}{value}"));
    }
    digits.parse::<f64>().ok().filter(|value| value.is_finite())?;
    if digits.starts_with('.') {
        digits.insert(0, '0');
    }
    if let Some((whole, rest)) = digits.clone().split_once('.')
        && !rest.starts_with(|first: char| first.is_ascii_digit())
    {
        digits = format!("{whole}.0{rest}");
    }
    let whole = digits.find(['.', 'e', 'E']).unwrap_or(digits.len());
    // JSON has no zeros in front.
    let zeros = digits[..whole].bytes().take_while(|byte| *byte == b'0').count();
    let digits = &digits[zeros.min(whole.saturating_sub(1))..];
    Some(format!("{sign}{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_become_json() {
        for (word, expected) in [
            ("True", "true"),
            ("None", "null"),
            ("1_000", "1000"),
            ("-.5", "-0.5"),
            ("5.", "5.0"),
            ("5.e3", "5.0e3"),
            ("007", "7"),
            ("0", "0"),
            ("0.25", "0.25"),
            ("00", "0"),
            ("+3", "3"),
            ("0xff", "255"),
            ("1e999", "\"1e999\""),
            ("1-2", "\"1-2\""),
            ("inf", "\"inf\""),
            ("__import__", "\"__import__\""),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            let mut out = String::new();
            bare(word, false, &mut out);
            assert_eq!(out, expected, "{word}");
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{word}");
        }
        let mut out = String::new();
        bare("1", true, &mut out);
        assert_eq!(out, "\"1\"");
    }
}

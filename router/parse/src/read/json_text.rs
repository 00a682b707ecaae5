//! The inside of a JSON string, a character at a time.

/// Decodes what stands behind the opening quote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonText {
    state: State,
    /// The first half of a character that is written as two.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Plain,
    Escape,
    Unicode {
        digits: u8,
        value: u16,
    },
}

impl JsonText {
    /// Appends what the character stands for; `true` at the closing quote.
    pub(crate) fn step(&mut self, character: char, out: &mut String) -> bool {
        match self.state {
            State::Plain => match character {
                '"' => {
                    self.drop_high(out);
                    return true;
                }
                '\\' => self.state = State::Escape,
                _ => self.push(character, out),
            },
            State::Escape => {
                self.state = State::Plain;
                match character {
                    'u' => self.state = State::Unicode { digits: 0, value: 0 },
                    'n' => self.push('\n', out),
                    't' => self.push('\t', out),
                    'r' => self.push('\r', out),
                    'b' => self.push('\u{8}', out),
                    'f' => self.push('\u{c}', out),
                    // `\"`, `\\`, `\/`, and what JSON does not know.
                    _ => self.push(character, out),
                }
            }
            State::Unicode { digits, value } => match character.to_digit(16) {
                Some(digit) => {
                    let value = value << 4 | digit as u16;
                    if digits == 3 {
                        self.state = State::Plain;
                        self.unit(value, out);
                    } else {
                        self.state = State::Unicode {
                            digits: digits + 1,
                            value,
                        };
                    }
                }
                None => {
                    self.state = State::Plain;
                    self.push(char::REPLACEMENT_CHARACTER, out);
                    return self.step(character, out);
                }
            },
        }
        false
    }

    fn push(&mut self, character: char, out: &mut String) {
        self.drop_high(out);
        out.push(character);
    }

    fn unit(&mut self, unit: u16, out: &mut String) {
        if let Some(high) = self.high.take() {
            if let Some(Ok(character)) = char::decode_utf16([high, unit]).next() {
                out.push(character);
                return;
            }
            out.push(char::REPLACEMENT_CHARACTER);
        }
        match char::decode_utf16([unit]).next() {
            Some(Ok(character)) => out.push(character),
            _ if (0xd800..0xdc00).contains(&unit) => self.high = Some(unit),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }

    fn drop_high(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str) -> String {
        let mut reader = JsonText::default();
        let mut out = String::new();
        for character in text.chars() {
            if reader.step(character, &mut out) {
                return out;
            }
        }
        panic!("{text} has no end")
    }

    #[test]
    fn broken_escapes_become_replacement_characters() {
        for (text, expected) in [
            (r#"\ud83d\ude00""#, "😀"),
            (r#"\ud83dx""#, "\u{fffd}x"),
            (r#"\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#"\ud83d""#, "\u{fffd}"),
            (r#"\ude00""#, "\u{fffd}"),
            (r#"\u12x""#, "\u{fffd}x"),
            (r#"\u12""#, "\u{fffd}"),
            (r#"\q\/""#, "q/"),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_json_writes_is_read(text in ".{0,30}") {
            let mut json = String::new();
            super::super::quote(&text, &mut json);
            prop_assert_eq!(decode(&json[1..]), text.clone());
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}

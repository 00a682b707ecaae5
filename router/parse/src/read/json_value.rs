//! Where a JSON value ends. Its brackets are counted, not matched: a model's small slips are the
//! reader's to find, and the text is given on as it is.

/// Follows a value whose first character is the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonValue {
    depth: u32,
    /// What stands between quotes.
    string: bool,
    escaped: bool,
    /// A number or a word.
    bare: bool,
}

/// What a character is to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueStep {
    /// A part of it.
    Inside,
    /// Its last part.
    Last,
    /// Behind it.
    Past,
    /// Nothing that JSON has in this place.
    Broken,
}

impl JsonValue {
    pub(crate) fn step(&mut self, character: char) -> ValueStep {
        if self.string {
            return self.string_step(character);
        }
        match character {
            '"' if self.bare => ValueStep::Broken,
            '"' => {
                self.string = true;
                ValueStep::Inside
            }
            '{' | '[' if self.bare => ValueStep::Broken,
            '{' | '[' => {
                self.depth += 1;
                ValueStep::Inside
            }
            '}' | ']' => match self.depth {
                0 => ValueStep::Past,
                1 => ValueStep::Last,
                _ => {
                    self.depth -= 1;
                    ValueStep::Inside
                }
            },
            // Never a part of JSON, and what markers begin with.
            '<' => ValueStep::Broken,
            _ if self.depth > 0 => ValueStep::Inside,
            ',' => ValueStep::Past,
            _ if character.is_whitespace() => ValueStep::Past,
            _ => {
                self.bare = true;
                ValueStep::Inside
            }
        }
    }

    fn string_step(&mut self, character: char) -> ValueStep {
        match character {
            _ if self.escaped => self.escaped = false,
            '\\' => self.escaped = true,
            '"' => {
                self.string = false;
                if self.depth == 0 {
                    return ValueStep::Last;
                }
            }
            _ => {}
        }
        ValueStep::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> (usize, ValueStep) {
        let mut value = JsonValue::default();
        for (at, character) in text.chars().enumerate() {
            let step = value.step(character);
            if step != ValueStep::Inside {
                return (at, step);
            }
        }
        (text.len(), ValueStep::Inside)
    }

    #[test]
    fn values_end_where_they_should() {
        for (text, expected) in [
            (r#"{"a":[1,{"b":"}]"}]},"#, (19, ValueStep::Last)),
            (r#""a\"b\\","#, (7, ValueStep::Last)),
            ("12.5e3,", (6, ValueStep::Past)),
            ("null}", (4, ValueStep::Past)),
            ("true ", (4, ValueStep::Past)),
            ("[[]] ", (3, ValueStep::Last)),
            ("[1<", (2, ValueStep::Broken)),
            ("12", (2, ValueStep::Inside)),
        ] {
            assert_eq!(end(text), expected, "{text}");
        }
    }
}

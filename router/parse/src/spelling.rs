//! How a call of each format is written, for those who hold a model to it: the other side of
//! `frames`.

use crate::format::ToolFormat;

/// What stands around calls, and how one is written.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// Markers of which one stands before calls.
    pub opens: &'static [&'static str],
    /// Markers with which a call itself begins.
    pub begins: &'static [&'static str],
    /// Brackets with which a call may begin where the text begins.
    pub bare: &'static [char],
    /// Markers that say nothing.
    pub silent: &'static [&'static str],
    /// Stands behind calls; empty: nothing does.
    pub close: &'static str,
    /// A call.
    pub call: Written,
}

/// How a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// `{"name": …, "arguments": {…}}`, alone or several in a list.
    Json {
        /// The key of the arguments.
        arguments: &'static str,
    },
    /// A name, and behind it the arguments as JSON.
    Named(Named),
    /// JSON in a list, or a name and the arguments.
    Either {
        /// The key of the arguments.
        arguments: &'static str,
        /// Between the name and the arguments.
        between: &'static str,
    },
    /// Its arguments are no JSON.
    Other,
}

/// A name, and what stands around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Before it.
    pub before: &'static str,
    /// Whether a colon and the number of the call follow it.
    pub numbered: bool,
    /// Between it and the arguments.
    pub between: &'static str,
}

impl ToolFormat {
    /// How its calls are written.
    #[must_use]
    pub fn spelling(&self) -> Spelling {
        let shape = self.shape();
        Spelling {
            opens: shape.opens,
            begins: shape.begins,
            bare: shape.bare,
            silent: shape.silent,
            close: shape.closes.first().copied().unwrap_or_default(),
            call: self.written(),
        }
    }
}

impl Spelling {
    /// Every text in it that may be, or hold, a special token.
    pub fn texts(&self) -> impl Iterator<Item = &'static str> {
        let between = match self.call {
            Written::Named(named) => named.between,
            Written::Either { between, .. } => between,
            Written::Json { .. } | Written::Other => "",
        };
        let all = [self.opens, self.begins, self.silent];
        all.into_iter()
            .flatten()
            .copied()
            .chain([self.close, between])
            .filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Calls, Event, OutputParser, ToolSet};

    /// A call with these arguments, as the spelling has it.
    fn write(spelling: &Spelling, name: &str, arguments: &str) -> Vec<String> {
        let open = spelling.opens.first().copied().unwrap_or_default();
        let close = spelling.close;
        let json = |key: &str| format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}");
        match spelling.call {
            Written::Json { arguments: key } => {
                let call = json(key);
                vec![format!("{open}{call}{close}"), format!("{open}\n{call}\n{close}")]
            }
            Written::Named(named) => {
                let number = if named.numbered { ":0" } else { "" };
                let (before, between) = (named.before, named.between);
                vec![format!("{open}{before}{name}{number}{between}{arguments}{close}")]
            }
            Written::Either {
                arguments: key,
                between,
            } => vec![
                format!("{open}[{}]", json(key)),
                format!("{open}{name}{between}{arguments}"),
            ],
            Written::Other => Vec::new(),
        }
    }

    #[test]
    fn what_is_written_so_is_read_as_a_call() {
        let mut written = 0;
        for name in ToolFormat::names() {
            let format = ToolFormat::named(name).unwrap();
            let tools = Arc::new(ToolSet::new([("get.it".to_owned(), serde_json::json!({}))]));
            for text in write(&format.spelling(), "get.it", "{\"a\": 1}") {
                let mut parser = OutputParser::new(None, Calls::Format(format, tools.clone()));
                let mut events = parser.push(&text);
                events.extend(parser.finish());
                events.retain(|event| !matches!(event, Event::Text(text) if text.trim().is_empty()));
                let call = Event::Call {
                    name: "get.it".to_owned(),
                };
                let arguments = Event::Arguments("{\"a\": 1}".to_owned());
                assert_eq!(events, [call, arguments, Event::CallEnd], "{name}: {text}");
                written += 1;
            }
        }
        assert_eq!(written, 21, "formats whose calls are JSON, each in its ways");
    }
}

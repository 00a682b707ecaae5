//! One look over the names in a body: which are known and not built, and which nobody knows.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::http::body::{JsonBody, explain};
use crate::http::error::ApiError;
use crate::http::fields::{Ignored, Inside, Names};
use crate::http::unbuilt::{Given, Unbuilt};

/// What names are looked up in.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// Fields that are read.
    pub known: &'a [Names],
    /// Fields that are known and not built.
    pub unbuilt: &'a [&'static [Unbuilt]],
    /// Objects with fields of their own.
    pub inside: &'a [Inside],
}

/// What was found.
#[derive(Default)]
pub struct Found {
    /// The first that asks for something unbuilt.
    pub unbuilt: Option<Unbuilt>,
    /// Those that nobody knows.
    pub ignored: Ignored,
}

/// Looks over a body.
///
/// # Errors
/// What is wrong with the JSON.
pub fn scan(body: &JsonBody, tables: Tables<'_>) -> Result<Found, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body.text());
    Scan { tables }
        .deserialize(&mut deserializer)
        .map_err(|error| explain(None, &error))
}

impl Tables<'_> {
    fn knows(&self, name: &str) -> bool {
        self.known.iter().any(|names| names.contains(&name))
    }

    fn unbuilt(&self, name: &str) -> Option<Unbuilt> {
        let mut all = self.unbuilt.iter().copied().flatten();
        all.find(|unbuilt| unbuilt.field == name).copied()
    }

    fn inside(&self, name: &str) -> Option<Inside> {
        self.inside.iter().find(|(outer, _)| *outer == name).copied()
    }
}

struct Scan<'a> {
    tables: Tables<'a>,
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if let Some((outer, names)) = self.tables.inside(&name) {
                let ignored = &mut found.ignored;
                map.next_value_seed(Inner {
                    outer,
                    names,
                    ignored,
                })?;
            } else if let Some(unbuilt) = self.tables.unbuilt(&name) {
                let given: Given = map.next_value()?;
                if !given.passes(unbuilt.harmless) {
                    found.unbuilt = found.unbuilt.or(Some(unbuilt));
                }
            } else {
                if !self.tables.knows(&name) {
                    found.ignored.add("", &name);
                }
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// An object inside the body. Whatever else stands in its place was refused before.
struct Inner<'a> {
    outer: &'static str,
    names: Names,
    ignored: &'a mut Ignored,
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    /// A list is how a struct may be written too.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if !self.names.contains(&name.as_ref()) {
                self.ignored.add(self.outer, &name);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

//! The names of a struct's fields, as its own deserialiser tells them.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use crate::http::fields::Names;

/// The names under which `T` reads its fields; none when it is no plain struct.
#[must_use]
pub fn names<'de, T: Deserialize<'de>>() -> Names {
    let mut found: Names = &[];
    // It always fails: there is nothing to read, only something to be told.
    let _ = T::deserialize(Listener { found: &mut found });
    found
}

struct Listener<'a> {
    found: &'a mut Names,
}

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: Names,
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.found = fields;
        Err(Error::custom("told"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

//! A body's fields: a route names the sets of fields that it reads, and everything else about them
//! (parsing, what is known and not built, what is unknown, the document of the API) follows.

mod ignored;
mod names;
mod scan;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

pub use ignored::Ignored;
pub use names::names;

use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::unbuilt::Unbuilt;

/// The names of a set of fields.
pub type Names = &'static [&'static str];

/// A tuple of structs, each with some of a body's fields.
pub trait FieldSet: Sized {
    /// Parses each of them.
    ///
    /// # Errors
    /// With the path of the field at fault.
    fn parse(body: &JsonBody) -> Result<Self, ApiError>;

    /// The names of the fields of each.
    fn names() -> Vec<Names>;

    /// The schema of each.
    fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema>;
}

macro_rules! field_set {
    ($($part:ident)+) => {
        impl<$($part: DeserializeOwned + JsonSchema),+> FieldSet for ($($part,)+) {
            fn parse(body: &JsonBody) -> Result<Self, ApiError> {
                Ok(($(body.parse::<$part>()?,)+))
            }

            fn names() -> Vec<Names> {
                vec![$(names::<$part>()),+]
            }

            fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
                vec![$($part::json_schema(generator)),+]
            }
        }
    };
}

field_set!(A);
field_set!(A B);
field_set!(A B C);
field_set!(A B C D);
field_set!(A B C D E);
field_set!(A B C D E F);
field_set!(A B C D E F G);
field_set!(A B C D E F G H);
field_set!(A B C D E F G H I);
field_set!(A B C D E F G H I J);

/// Fields of an object inside a body, by the name of the field that holds it.
pub type Inside = (&'static str, Names);

/// Reads a body.
///
/// # Errors
/// With the first field that is of the wrong type, or known and not built.
pub fn read<S: FieldSet>(body: &JsonBody, unbuilt: &[&'static [Unbuilt]]) -> Result<(S, Ignored), ApiError> {
    read_with(body, unbuilt, &[])
}

/// Reads a body in which objects with fields of their own stand.
///
/// # Errors
/// As `read`.
pub fn read_with<S: FieldSet>(
    body: &JsonBody,
    unbuilt: &[&'static [Unbuilt]],
    inside: &[Inside],
) -> Result<(S, Ignored), ApiError> {
    let fields = S::parse(body)?;
    let known = S::names();
    let found = scan::scan(
        body,
        scan::Tables {
            known: &known,
            unbuilt,
            inside,
        },
    )?;
    match found.unbuilt {
        Some(unbuilt) => Err(unbuilt.refusal("")),
        None => Ok((fields, found.ignored)),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

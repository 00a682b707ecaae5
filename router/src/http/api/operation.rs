//! What the document says of one route.

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::http::fields::FieldSet;

/// One method of one path.
#[derive(Clone, Debug)]
pub struct Operation {
    /// GET or POST.
    pub(super) method: Method,
    /// As the router has it.
    pub(super) path: &'static str,
    /// One line.
    pub(super) summary: &'static str,
    /// Makes the schemas of the body's sets of fields.
    pub(super) body: Option<fn(&mut SchemaGenerator) -> Vec<Schema>>,
    /// Fields that a body must have.
    pub(super) required: &'static [&'static str],
    /// What it answers with, when all is well.
    pub(super) answers: Vec<Content>,
}

/// One form of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) media_type: &'static str,
    /// Makes its schema; `None`: text of no further form.
    pub(super) schema: Option<fn(&mut SchemaGenerator) -> Schema>,
}

impl Operation {
    /// A route without a body.
    #[must_use]
    pub fn get(path: &'static str, summary: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            summary,
            body: None,
            required: &[],
            answers: Vec::new(),
        }
    }

    /// A route with a body of these sets of fields.
    #[must_use]
    pub fn post<Body: FieldSet>(path: &'static str, summary: &'static str) -> Self {
        Self {
            method: Method::POST,
            body: Some(Body::schemas),
            ..Self::get(path, summary)
        }
    }

    /// Fields that the body must have.
    #[must_use]
    pub fn requires(self, required: &'static [&'static str]) -> Self {
        Self { required, ..self }
    }

    /// Answers with JSON of this shape.
    #[must_use]
    pub fn answers<T: JsonSchema>(mut self) -> Self {
        self.answers.push(Content {
            media_type: "application/json",
            schema: Some(SchemaGenerator::subschema_for::<T>),
        });
        self
    }

    /// Answers with server-sent events when the body asks for a stream.
    #[must_use]
    pub fn streams(self) -> Self {
        self.text("text/event-stream")
    }

    /// Answers with text of this type.
    #[must_use]
    pub fn text(mut self, media_type: &'static str) -> Self {
        self.answers.push(Content {
            media_type,
            schema: None,
        });
        self
    }
}

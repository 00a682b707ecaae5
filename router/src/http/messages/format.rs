//! What the answer must look like, as Anthropic's clients ask for it: the rules are those of the
//! other routes.

use crate::http::error::ApiError;
use crate::http::messages::types::{FormatFields, OutputFields};
use crate::http::messages::validate::one_of;
use crate::http::structure::{self, Structured};

const PARAM: &str = "output_config.format";
const OLDER: &str = "output_format";

/// The structure that is asked for, in its place or in the older one.
///
/// # Errors
/// When it is no JSON schema.
pub(super) fn read(
    output: Option<&mut OutputFields>,
    older: Option<FormatFields>,
) -> Result<Option<Structured>, ApiError> {
    let format = output.and_then(|output| output.format.take());
    let (param, format) = match (format, older) {
        (Some(format), _) => (PARAM, format),
        (None, Some(format)) => (OLDER, format),
        (None, None) => return Ok(None),
    };
    match (format.kind.as_deref(), format.schema) {
        (Some("json_schema"), Some(schema)) => structure::of_schema(param, schema).map(Some),
        (Some("json_schema"), None) => Err(ApiError::missing(&format!("{param}.schema"))),
        (given, _) => Err(one_of(&format!("{param}.type"), given, "json_schema")),
    }
}

//! The metadata of a GGUF file (versions 2 and 3, little-endian). Tensors are never read.
//!
//! Every length and count is checked against a limit and against the bytes that are left in the
//! file before anything is allocated, so a hostile file costs no more memory than its own size.

mod error;
mod metadata;
mod reader;
mod value;

pub use error::GgufError;
pub use metadata::Metadata;
pub use reader::read_metadata;
pub use value::{Array, Value};

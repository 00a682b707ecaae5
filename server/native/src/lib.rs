//! The Python module `shardline._native`: a thin shell over `shardline-endpoint`,
//! `shardline-grammar` and `shardline-kernels`. Its types and docstrings for Python are in `server/shardline/_native.pyi`.

use pyo3::prelude::*;

mod endpoint;
mod frame;
mod grammars;
mod products;

/// The native parts of a shard.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::endpoint::{Endpoint, PromptLogprobs};
    #[pymodule_export]
    use crate::frame::{Command, Frame, Grammar, NewSequence, Sampling};
    #[pymodule_export]
    use crate::grammars::Grammars;
    #[pymodule_export]
    use crate::products::{PackedWeight, Products};
}

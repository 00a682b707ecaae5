//! Dense float32 products of few rows on the CPU, fused as a decoder layer needs them.
//!
//! A product of one row is bound by reading the weights, and one of 16 rows should be hardly slower:
//! each weight is loaded from memory once for all rows, by threads that take ranges of outputs.
//!
//! Every output is summed in one order that depends only on its own row of `x` and of the weight
//! (see [`tile`]): a row's result is the same bit for bit whatever else is in the batch, however
//! many threads there are, and with AVX2 as with AVX-512.

mod arena;
mod isa;
mod linear;
mod norm;
mod pool;
mod tile;
mod weight;

pub use isa::Isa;
pub use linear::{Epilogue, Linear, LinearError, Products};
pub use norm::Norm;
pub use pool::{Pool, PoolError};
pub use weight::{PackError, PackedWeight};

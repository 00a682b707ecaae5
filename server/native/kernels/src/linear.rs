//! Products of rows with a weight, cut into tasks of whole outputs.

use std::borrow::Cow;
use std::ops::Range;

use crate::arena::Arena;
use crate::isa::Isa;
use crate::norm::{Norm, silu};
use crate::pool::{Pool, PoolError};
use crate::tile::{self, Sums, TILE_ROWS};
use crate::weight::{Chunk, LANES, PANEL_OUTPUTS, PackError, PackedWeight};

/// Bytes of the weight in a task: small enough that threads end together, and that a task's part of
/// the weight stays in a core's cache when more rows of `x` come than one block has.
const TASK_BYTES: usize = 96 << 10;
/// Outputs of a task are a multiple of this: threads never write to the same cache line.
const TASK_OUTPUTS: usize = 16;
/// Rows of `x` that pass over a task's part of the weight together.
const BLOCK_ROWS: usize = 64;

/// What becomes of the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = product`
    Store,
    /// `out = out + product`
    Add,
}

/// `epilogue(norm(x) · weightᵀ + bias)`, where a gated weight gives `silu(gate) * up` of the two
/// products; all arrays are dense and row after row.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// f32[m, k]
    pub x: &'a [f32],
    /// f32[n, k]
    pub weight: &'a PackedWeight,
    /// f32[n]
    pub bias: Option<&'a [f32]>,
    /// Applied to the rows of `x` first.
    pub norm: Option<Norm<'a>>,
    /// What becomes of the products.
    pub epilogue: Epilogue,
}

/// Why a product was not computed.
#[derive(Debug, thiserror::Error)]
pub enum LinearError {
    /// An array does not have the length that m, n and k give it.
    #[error("{array} has {given} numbers where {expected} are needed")]
    Length {
        /// Which.
        array: &'static str,
        /// Given.
        given: usize,
        /// Needed.
        expected: usize,
    },
    /// Not whole rows.
    #[error("x has {given} numbers, which is not a multiple of the {inputs} inputs of the weight")]
    Rows {
        /// Numbers of x.
        given: usize,
        /// k
        inputs: usize,
    },
    /// Of the threads.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Computes products on the threads of its own pool.
#[derive(Debug)]
pub struct Products {
    pool: Pool,
    isa: Isa,
    arena: Arena,
}

impl Products {
    /// With as many threads, the caller's included, and the best instructions of this processor.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        Ok(Self {
            pool: Pool::new(threads)?,
            isa: Isa::detect(),
            arena: Arena::default(),
        })
    }

    /// With other instructions; `None` when this processor does not have them.
    pub fn with_isa(self, isa: Isa) -> Option<Self> {
        Isa::available().contains(&isa).then_some(Self { isa, ..self })
    }

    /// The instructions in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Packs `weight`: f32[rows, inputs]. With `gated` its first half is gate and its second half up.
    pub fn pack(
        &self,
        weight: &[f32],
        rows: usize,
        inputs: usize,
        gated: bool,
    ) -> Result<PackedWeight, PackError> {
        PackedWeight::new(&self.arena, weight, rows, inputs, gated)
    }

    /// Computes `linear` into `out`: f32[m, outputs of the weight].
    pub fn run(&self, linear: &Linear<'_>, out: &mut [f32]) -> Result<(), LinearError> {
        let rows = linear.check(out)?;
        if rows == 0 {
            return Ok(());
        }
        let job = Job {
            isa: self.isa,
            x: &prepare(linear),
            rows,
            linear,
            out: out.as_mut_ptr(),
            task_outputs: task_outputs(linear.weight),
        };
        let tasks = linear.weight.outputs().div_ceil(job.task_outputs);
        Ok(self.pool.run(tasks, &|task| job.run(task))?)
    }
}

impl Linear<'_> {
    /// Checks the arrays' lengths and returns m.
    fn check(&self, out: &[f32]) -> Result<usize, LinearError> {
        let inputs = self.weight.inputs();
        if !self.x.len().is_multiple_of(inputs) {
            return Err(LinearError::Rows {
                given: self.x.len(),
                inputs,
            });
        }
        let rows = self.x.len() / inputs;
        length("out", out, rows * self.weight.outputs())?;
        if let Some(bias) = self.bias {
            length(
                "bias",
                bias,
                self.weight.outputs() * self.weight.panels_an_output(),
            )?;
        }
        if let Some(norm) = self.norm {
            length("norm.weight", norm.weight, inputs)?;
        }
        Ok(rows)
    }
}

fn length(array: &'static str, numbers: &[f32], expected: usize) -> Result<(), LinearError> {
    if numbers.len() == expected {
        Ok(())
    } else {
        Err(LinearError::Length {
            array,
            given: numbers.len(),
            expected,
        })
    }
}

/// The rows of x, normed, and filled up with zeros to whole chunks: f32[m, steps * 16].
fn prepare<'a>(linear: &Linear<'a>) -> Cow<'a, [f32]> {
    let (inputs, padded) = (linear.weight.inputs(), linear.weight.steps() * LANES);
    if linear.norm.is_none() && padded == inputs {
        return Cow::Borrowed(linear.x);
    }
    let mut prepared = vec![0.0; linear.x.len() / inputs * padded];
    for (row, out) in linear
        .x
        .chunks_exact(inputs)
        .zip(prepared.chunks_exact_mut(padded))
    {
        match linear.norm {
            Some(norm) => norm.apply(row, &mut out[..inputs]),
            None => out[..inputs].copy_from_slice(row),
        }
    }
    Cow::Owned(prepared)
}

/// Outputs a task.
fn task_outputs(weight: &PackedWeight) -> usize {
    let bytes_an_output = weight.steps() * weight.panels_an_output() * size_of::<Chunk>();
    (TASK_BYTES / bytes_an_output / TASK_OUTPUTS).max(1) * TASK_OUTPUTS
}

/// A product cut into tasks, which threads share.
struct Job<'a> {
    isa: Isa,
    /// f32[m, steps * 16], normed.
    x: &'a [f32],
    /// m
    rows: usize,
    linear: &'a Linear<'a>,
    /// f32[m, outputs]; every task writes columns of its own.
    out: *mut f32,
    task_outputs: usize,
}

// SAFETY: `out` is the only part that is not shared safely by itself; tasks write disjoint columns of
// it, and the pool's `run` returns to the owner of the exclusive borrow only after all are done.
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// Computes the outputs of one task for all rows.
    fn run(&self, task: usize) {
        let first = task * self.task_outputs;
        let end = (first + self.task_outputs).min(self.linear.weight.outputs());
        for block in (0..self.rows).step_by(BLOCK_ROWS) {
            let block_end = (block + BLOCK_ROWS).min(self.rows);
            for output in (first..end).step_by(PANEL_OUTPUTS) {
                for row in (block..block_end).step_by(TILE_ROWS) {
                    self.tile(row, block..block_end, output);
                }
            }
        }
    }

    /// Computes up to [`PANEL_OUTPUTS`] outputs, from `output`, of up to [`TILE_ROWS`] rows of the
    /// block, from `row`.
    fn tile(&self, row: usize, block: Range<usize>, output: usize) {
        let fetch_next = row == block.start && block.len() > TILE_ROWS;
        let rows = row..(row + TILE_ROWS).min(block.end);
        let weight = self.linear.weight;
        let width = weight.outputs();
        let panel = output / PANEL_OUTPUTS * weight.panels_an_output();
        let mut sums = self.sums(rows.clone(), weight.panel(panel), output, fetch_next);
        if weight.gated() {
            let up = self.sums(rows.clone(), weight.panel(panel + 1), width + output, fetch_next);
            for (gate, up) in sums.as_flattened_mut().iter_mut().zip(up.as_flattened()) {
                *gate = silu(*gate) * up;
            }
        }
        for (index, sums) in sums.iter().enumerate().take(rows.len()) {
            for (column, sum) in sums.iter().enumerate().take(width - output) {
                // SAFETY: row and column lie inside `out`, and the column belongs to this task alone.
                unsafe {
                    let out = self.out.add((row + index) * width + output + column);
                    *out = match self.linear.epilogue {
                        Epilogue::Store => *sum,
                        Epilogue::Add => *out + sum,
                    };
                }
            }
        }
    }

    /// The products of rows of x with a panel, and the bias of its rows from `bias_row`.
    fn sums(&self, rows: Range<usize>, panel: &[Chunk], bias_row: usize, fetch_next: bool) -> Sums {
        let inputs = self.linear.weight.steps() * LANES;
        let x = &self.x[rows.start * inputs..rows.end * inputs];
        // SAFETY: `Products` has only instructions of this processor.
        let mut sums = unsafe { tile::compute(self.isa, x, rows.len(), panel, fetch_next) };
        if let Some(bias) = self.linear.bias {
            for sums in &mut sums {
                // The last panel of gate may have fewer outputs: what is added beyond is not stored.
                for (sum, bias) in sums.iter_mut().zip(&bias[bias_row..]) {
                    *sum += bias;
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests;

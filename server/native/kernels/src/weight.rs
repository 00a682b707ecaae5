//! A weight in the order in which products read it.

use std::num::NonZeroUsize;

use crate::arena::{Arena, Region};

/// Partial sums of one output, and numbers of a chunk.
pub(crate) const LANES: usize = 16;
/// Outputs of a panel.
pub(crate) const PANEL_OUTPUTS: usize = 4;

/// 16 neighbouring numbers of one row, on a cache line of their own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Chunk(pub(crate) [f32; LANES]);

/// A weight f32[n, k], packed: panels of [`PANEL_OUTPUTS`] rows follow one another, and in a panel the
/// first chunks of its rows, then the second ones, and so on. A thread so reads its part of the weight
/// strictly forward, which is what memory and its prefetching are fast at. Missing rows and numbers
/// are zero.
///
/// A gated weight (gate above, up below) has panels of gate and up in turn.
#[derive(Debug)]
pub struct PackedWeight {
    chunks: Region,
    rows: NonZeroUsize,
    inputs: NonZeroUsize,
    gated: bool,
}

/// Why a weight was not packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// No numbers, or not as many as the shape has.
    #[error("a weight of shape [{rows}, {inputs}] has {given} numbers")]
    Shape {
        /// n
        rows: usize,
        /// k
        inputs: usize,
        /// Numbers given.
        given: usize,
    },
    /// Gate and up have no equal halves.
    #[error("a weight of gate and up has an even number of rows; this one has {rows}")]
    OddGate {
        /// n
        rows: usize,
    },
}

impl PackedWeight {
    /// Packs `weight`: f32[rows, inputs]. With `gated` its first half is gate and its second half up.
    pub(crate) fn new(
        arena: &Arena,
        weight: &[f32],
        rows: usize,
        inputs: usize,
        gated: bool,
    ) -> Result<Self, PackError> {
        let shape = PackError::Shape {
            rows,
            inputs,
            given: weight.len(),
        };
        let (Some(nonzero_rows), Some(nonzero_inputs)) = (NonZeroUsize::new(rows), NonZeroUsize::new(inputs))
        else {
            return Err(shape);
        };
        if rows.checked_mul(inputs) != Some(weight.len()) {
            return Err(shape);
        }
        if gated && !rows.is_multiple_of(2) {
            return Err(PackError::OddGate { rows });
        }
        let parts = if gated { 2 } else { 1 };
        let panel_chunks = inputs.div_ceil(LANES) * PANEL_OUTPUTS;
        let panels = (rows / parts).div_ceil(PANEL_OUTPUTS) * parts;
        let chunks = arena.store(panels * panel_chunks, |chunks| {
            let halves: Vec<&[f32]> = weight.chunks_exact(weight.len() / parts).collect();
            for (panel, chunks) in chunks.chunks_exact_mut(panel_chunks).enumerate() {
                fill_panel(chunks, halves[panel % parts], panel / parts, inputs);
            }
        });
        Ok(Self {
            chunks,
            rows: nonzero_rows,
            inputs: nonzero_inputs,
            gated,
        })
    }

    /// k
    pub fn inputs(&self) -> usize {
        self.inputs.get()
    }

    /// Outputs of a row of x: n, or n / 2 of a gated weight.
    pub fn outputs(&self) -> usize {
        self.rows.get() / self.panels_an_output()
    }

    /// Whether it is gate and up.
    pub fn gated(&self) -> bool {
        self.gated
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.chunks)
    }

    /// Chunks a row.
    pub(crate) fn steps(&self) -> usize {
        self.inputs().div_ceil(LANES)
    }

    /// Panels that outputs take: 2 with a gate.
    pub(crate) fn panels_an_output(&self) -> usize {
        if self.gated { 2 } else { 1 }
    }

    /// The chunks of a panel, `steps` times [`PANEL_OUTPUTS`].
    pub(crate) fn panel(&self, panel: usize) -> &[Chunk] {
        &self.chunks[panel * self.panel_chunks()..(panel + 1) * self.panel_chunks()]
    }

    fn panel_chunks(&self) -> usize {
        self.steps() * PANEL_OUTPUTS
    }
}

/// Copies rows `4 * panel` and following into zeroed chunks, a chunk of each row in turn.
fn fill_panel(chunks: &mut [Chunk], rows: &[f32], panel: usize, inputs: usize) {
    let rows = rows
        .chunks_exact(inputs)
        .skip(panel * PANEL_OUTPUTS)
        .take(PANEL_OUTPUTS);
    for (output, row) in rows.enumerate() {
        for (step, numbers) in row.chunks(LANES).enumerate() {
            chunks[step * PANEL_OUTPUTS + output].0[..numbers.len()].copy_from_slice(numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_chunks_of_their_rows_in_turn() {
        let weight: Vec<f32> = (0..6 * 20).map(|number| number as f32).collect();
        let packed = PackedWeight::new(&Arena::default(), &weight, 6, 20, false).unwrap();
        assert_eq!((packed.outputs(), packed.inputs(), packed.steps()), (6, 20, 2));
        let first = packed.panel(0);
        assert_eq!(first[1].0[..2], [20.0, 21.0], "the second row begins");
        assert_eq!(
            first[4].0[..5],
            [16.0, 17.0, 18.0, 19.0, 0.0],
            "the first row's end, and zeros"
        );
        let second = packed.panel(1);
        assert_eq!(second[0].0[0], 80.0, "the fifth row");
        assert_eq!(second[2].0, [0.0; LANES], "no seventh row");
    }

    #[test]
    fn gate_and_up_take_turns() {
        let weight: Vec<f32> = (0..16).map(|number| number as f32).collect();
        let packed = PackedWeight::new(&Arena::default(), &weight, 16, 1, true).unwrap();
        assert_eq!(packed.outputs(), 8);
        let firsts: Vec<f32> = (0..4).map(|panel| packed.panel(panel)[0].0[0]).collect();
        assert_eq!(firsts, [0.0, 8.0, 4.0, 12.0]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let refusal = |rows, inputs, gated| {
            PackedWeight::new(&Arena::default(), &[0.0; 6], rows, inputs, gated).unwrap_err()
        };
        assert_eq!(
            refusal(2, 4, false).to_string(),
            "a weight of shape [2, 4] has 6 numbers"
        );
        assert_eq!(
            refusal(0, 6, false),
            PackError::Shape {
                rows: 0,
                inputs: 6,
                given: 6
            }
        );
        assert_eq!(refusal(3, 2, true), PackError::OddGate { rows: 3 });
    }
}

//! The innermost product: up to [`TILE_ROWS`] rows of `x` with one panel of the weight.
//!
//! The order of summation, the same in every implementation: 16 partial sums, where partial sum `l`
//! takes the products at positions `l, l + 16, l + 32, …` in turn (fused multiply-add where the
//! processor has it), and then halves: `l` and `l + 8`, `l` and `l + 4`, `l` and `l + 2`, `0` and `1`.

use crate::isa::Isa;
use crate::weight::{Chunk, LANES, PANEL_OUTPUTS};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Rows of `x` in a tile, at most.
pub(crate) const TILE_ROWS: usize = 4;

/// The sums of a tile: `[row of x][output]`.
pub(crate) type Sums = [[f32; PANEL_OUTPUTS]; TILE_ROWS];

/// Computes a tile of `x`: f32[rows, steps * 16], `rows` in `1..=TILE_ROWS`, with a panel of `steps`
/// times [`PANEL_OUTPUTS`] chunks. Rows of the result beyond `rows` are zero.
///
/// `fetch_next`: ask memory for the panel that follows, because other tiles pass over this one first.
/// (Where none do, the processor's own prefetching is ahead enough, and faster.)
///
/// # Safety
/// The processor has `isa`.
pub(crate) unsafe fn compute(isa: Isa, x: &[f32], rows: usize, panel: &[Chunk], fetch_next: bool) -> Sums {
    assert!((1..=TILE_ROWS).contains(&rows) && x.len() * PANEL_OUTPUTS == rows * panel.len() * LANES);
    // SAFETY: the lengths are as checked, and `rows` selects the instance that reads as many rows.
    unsafe {
        match (isa, rows) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 1) => avx512::compute::<1>(x, panel, fetch_next),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 2) => avx512::compute::<2>(x, panel, fetch_next),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 3) => avx512::compute::<3>(x, panel, fetch_next),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, _) => avx512::compute::<4>(x, panel, fetch_next),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, _) => avx2::compute(x, panel),
            _ => portable::compute(x, panel),
        }
    }
}

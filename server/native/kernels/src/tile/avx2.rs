//! Two vectors of 8 partial sums an output; one row of `x` at a time fits into 16 registers.

use std::arch::x86_64::*;

use super::avx512::add_up;
use super::{Chunk, LANES, PANEL_OUTPUTS, Sums, TILE_ROWS};

const HALF: usize = LANES / 2;

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn compute(x: &[f32], panel: &[Chunk]) -> Sums {
    let mut sums = [[0.0; PANEL_OUTPUTS]; TILE_ROWS];
    let inputs = panel.len() / PANEL_OUTPUTS * LANES;
    for (sums, x) in sums.iter_mut().zip(x.chunks_exact(inputs)) {
        // SAFETY: `sums` has the four numbers of a 128-bit vector.
        unsafe { _mm_storeu_ps(sums.as_mut_ptr(), one_row(x, panel)) };
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn one_row(x: &[f32], panel: &[Chunk]) -> __m128 {
    let mut partial = [[_mm256_setzero_ps(); 2]; PANEL_OUTPUTS];
    for (x, chunks) in x
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(panel.as_chunks::<PANEL_OUTPUTS>().0)
    {
        for half in 0..2 {
            // SAFETY: x and every chunk have 16 numbers here, 8 in each half.
            unsafe {
                let x = _mm256_loadu_ps(x.as_ptr().add(half * HALF));
                for (partial, chunk) in partial.iter_mut().zip(chunks) {
                    let weight = _mm256_load_ps(chunk.0.as_ptr().add(half * HALF));
                    partial[half] = _mm256_fmadd_ps(x, weight, partial[half]);
                }
            }
        }
    }
    add_up(partial.map(|[low, high]| {
        let half = _mm256_add_ps(low, high);
        _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half))
    }))
}

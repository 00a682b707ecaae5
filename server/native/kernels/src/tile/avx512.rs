//! One vector of 16 partial sums an output: the 16 sums of a whole tile stay in registers.

use std::arch::x86_64::*;

use super::{Chunk, LANES, PANEL_OUTPUTS, Sums, TILE_ROWS};

/// # Safety
/// The processor has AVX-512F, and `x` is f32[ROWS, inputs] for the panel's inputs.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn compute<const ROWS: usize>(x: &[f32], panel: &[Chunk], fetch_next: bool) -> Sums {
    let (steps, _) = panel.as_chunks::<PANEL_OUTPUTS>();
    // SAFETY: the caller promises these rows of x.
    let rows: [*const f32; ROWS] =
        std::array::from_fn(|row| unsafe { x.as_ptr().add(row * steps.len() * LANES) });
    let mut partial = [[_mm512_setzero_ps(); PANEL_OUTPUTS]; ROWS];
    for (step, chunks) in steps.iter().enumerate() {
        if fetch_next {
            for chunk in chunks {
                // Into the second cache: the first one can wait for too few lines at once. What is
                // asked for need not exist: beyond the weight nothing happens.
                let next = std::ptr::from_ref(chunk).wrapping_add(panel.len());
                _mm_prefetch::<_MM_HINT_T1>(next.cast());
            }
        }
        // SAFETY: a chunk has 16 numbers, and each row of x has 16 for each step.
        unsafe {
            let weights = chunks.each_ref().map(|chunk| _mm512_load_ps(chunk.0.as_ptr()));
            for (row, partial) in rows.iter().zip(&mut partial) {
                let x = _mm512_loadu_ps(row.add(step * LANES));
                for (partial, weight) in partial.iter_mut().zip(weights) {
                    *partial = _mm512_fmadd_ps(x, weight, *partial);
                }
            }
        }
    }
    let mut sums = [[0.0; PANEL_OUTPUTS]; TILE_ROWS];
    for (sums, partial) in sums.iter_mut().zip(partial) {
        let quarters = partial.map(|sum| quarter(sum));
        // SAFETY: `sums` has the four numbers of a 128-bit vector.
        unsafe { _mm_storeu_ps(sums.as_mut_ptr(), add_up(quarters)) };
    }
    sums
}

/// 16 partial sums to 4: `l` and `l + 8`, then `l` and `l + 4`.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarter(sum: __m512) -> __m128 {
    let upper = _mm512_castpd_ps(_mm512_castpd256_pd512(_mm512_extractf64x4_pd::<1>(
        _mm512_castps_pd(sum),
    )));
    let half = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_castps512_ps256(upper));
    _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half))
}

/// Four times 4 partial sums to 1: `l` and `l + 2`, then `0` and `1`.
#[inline]
#[target_feature(enable = "sse")]
pub(super) fn add_up([a, b, c, d]: [__m128; 4]) -> __m128 {
    let ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    let cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab))
}

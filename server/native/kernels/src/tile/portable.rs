//! Plain loops over 16 partial sums, which compilers turn into what vectors there are.

use super::{Chunk, LANES, PANEL_OUTPUTS, Sums, TILE_ROWS};

/// As [`super::compute`].
pub(super) fn compute(x: &[f32], panel: &[Chunk]) -> Sums {
    let mut sums = [[0.0; PANEL_OUTPUTS]; TILE_ROWS];
    let inputs = panel.len() / PANEL_OUTPUTS * LANES;
    for (sums, x) in sums.iter_mut().zip(x.chunks_exact(inputs)) {
        let mut partial = [[0.0; LANES]; PANEL_OUTPUTS];
        for (x, chunks) in x
            .as_chunks::<LANES>()
            .0
            .iter()
            .zip(panel.as_chunks::<PANEL_OUTPUTS>().0)
        {
            for (partial, chunk) in partial.iter_mut().zip(chunks) {
                for lane in 0..LANES {
                    partial[lane] = multiply_add(x[lane], chunk.0[lane], partial[lane]);
                }
            }
        }
        *sums = partial.map(add_up);
    }
    sums
}

fn add_up(mut partial: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            partial[lane] += partial[lane + half];
        }
        half /= 2;
    }
    partial[0]
}

/// Fused only where the processor surely has the instruction: emulated it is very slow.
#[inline(always)]
fn multiply_add(a: f32, b: f32, sum: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, sum)
    } else {
        a * b + sum
    }
}

//! RMSNorm (Zhang & Sennrich 2019) of float32 rows.

/// `x / sqrt(mean(x²) + epsilon) * weight`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// f32[k]
    pub weight: &'a [f32],
    /// Added to the mean of squares.
    pub epsilon: f32,
}

impl Norm<'_> {
    /// Writes the norm of `row` to `out`; both have as many numbers as the weight.
    pub(crate) fn apply(&self, row: &[f32], out: &mut [f32]) {
        let scale = 1.0 / (mean_of_squares(row) + self.epsilon).sqrt();
        for ((out, value), weight) in out.iter_mut().zip(row).zip(self.weight) {
            *out = value * scale * weight;
        }
    }
}

/// In 16 partial sums, which vectorise and lose less than one.
fn mean_of_squares(row: &[f32]) -> f32 {
    let mut partial = [0.0_f32; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for (partial, value) in partial.iter_mut().zip(chunk) {
            *partial += value * value;
        }
    }
    for (partial, value) in partial.iter_mut().zip(rest) {
        *partial += value * value;
    }
    partial.iter().sum::<f32>() / row.len() as f32
}

/// `x * sigmoid(x)`.
pub(crate) fn silu(value: f32) -> f32 {
    value / (1.0 + (-value).exp())
}

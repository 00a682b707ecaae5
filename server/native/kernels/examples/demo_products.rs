//! Times the products of a decoder of the demo model's size (30 layers, hidden 576, 49,152 tokens).
//!
//! ```text
//! cargo run --release -p shardline-kernels --example demo_products [THREADS]
//! ```
//!
//! Each product is timed alone and the 10 % fastest of its repetitions count, so that other work on
//! the machine disturbs little; the weights together are larger than any cache.

use std::time::Instant;

use shardline_kernels::{Epilogue, Linear, PackedWeight, Products};

const LAYERS: usize = 30;
const REPETITIONS: usize = 8;

/// (rows of the weight, inputs, gated) of a layer's products.
const PRODUCTS: [(usize, usize, bool); 4] = [
    (960, 576, false),
    (576, 576, false),
    (3072, 576, true),
    (576, 1536, false),
];
const HEAD: (usize, usize, bool) = (49_152, 576, false);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(2), |given| given.parse())?;
    let products = Products::new(threads)?;
    let mut kinds = Vec::new();
    for shape in PRODUCTS {
        kinds.push(
            (0..LAYERS)
                .map(|_| packed(&products, shape))
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    kinds.push(vec![packed(&products, HEAD)?]);
    let bytes: usize = kinds.iter().flatten().map(PackedWeight::bytes).sum();
    println!(
        "{threads} threads, {}, {} MB of weights",
        products.isa().name(),
        bytes / 1_000_000
    );
    for rows in [1, 2, 4, 8, 16, 32, 64, 256] {
        let mut seconds = 0.0;
        for weights in &kinds {
            seconds += typical_seconds(&products, weights, rows)? * weights.len() as f64;
        }
        let speed = bytes as f64 / seconds / 1e9;
        let flop = bytes as f64 / 2.0 * rows as f64 / seconds / 1e9;
        println!(
            "{rows:4} rows: {:6.1} ms, {speed:5.1} GB/s of weights, {flop:6.1} GFLOP/s",
            seconds * 1e3
        );
    }
    Ok(())
}

fn packed(
    products: &Products,
    (rows, inputs, gated): (usize, usize, bool),
) -> Result<PackedWeight, Box<dyn std::error::Error>> {
    Ok(products.pack(&vec![1e-3; rows * inputs], rows, inputs, gated)?)
}

/// Of one product with one of `weights`, which take turns.
fn typical_seconds(
    products: &Products,
    weights: &[PackedWeight],
    rows: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let x = vec![0.01; rows * weights[0].inputs()];
    let mut out = vec![0.0; rows * weights[0].outputs()];
    let mut times = Vec::new();
    for _ in 0..REPETITIONS {
        for weight in weights {
            let linear = Linear {
                x: &x,
                weight,
                bias: None,
                norm: None,
                epilogue: Epilogue::Store,
            };
            let start = Instant::now();
            products.run(&linear, &mut out)?;
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 10])
}

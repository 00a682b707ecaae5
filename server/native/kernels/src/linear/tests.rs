use proptest::prelude::*;

use super::*;

/// Numbers in (-1, 1) that look random and are always the same.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

struct Case {
    rows: usize,
    outputs: usize,
    inputs: usize,
    gated: bool,
    x: Vec<f32>,
    weight: Vec<f32>,
    packed: PackedWeight,
    bias: Vec<f32>,
    norm: Vec<f32>,
}

impl Case {
    /// `outputs`: rows of the weight.
    fn new(rows: usize, outputs: usize, inputs: usize, gated: bool) -> Self {
        let weight = numbers(outputs * inputs, 2);
        Self {
            rows,
            outputs,
            inputs,
            gated,
            x: numbers(rows * inputs, 1),
            packed: PackedWeight::new(&Arena::default(), &weight, outputs, inputs, gated).unwrap(),
            weight,
            bias: numbers(outputs, 3),
            norm: numbers(inputs, 4),
        }
    }

    fn linear(&self, epilogue: Epilogue) -> Linear<'_> {
        Linear {
            x: &self.x,
            weight: &self.packed,
            bias: Some(&self.bias),
            norm: Some(Norm {
                weight: &self.norm,
                epsilon: 1e-5,
            }),
            epilogue,
        }
    }

    fn width(&self) -> usize {
        self.packed.outputs()
    }

    fn run(&self, products: &Products, epilogue: Epilogue) -> Vec<f32> {
        let mut out = numbers(self.rows * self.width(), 5);
        products.run(&self.linear(epilogue), &mut out).unwrap();
        out
    }

    /// The same in float64, one number after the other.
    fn reference(&self, epilogue: Epilogue) -> Vec<f64> {
        let before = numbers(self.rows * self.width(), 5);
        let mut out = Vec::new();
        for row in self.x.chunks_exact(self.inputs) {
            let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
            let scale = 1.0 / (squares / self.inputs as f64 + 1e-5).sqrt();
            let normed: Vec<f64> = row
                .iter()
                .zip(&self.norm)
                .map(|(x, norm)| f64::from(*x) * scale * f64::from(*norm))
                .collect();
            let products: Vec<f64> = self
                .weight
                .chunks_exact(self.inputs)
                .zip(&self.bias)
                .map(|(weight, bias)| {
                    let sum: f64 = normed
                        .iter()
                        .zip(weight)
                        .map(|(x, weight)| x * f64::from(*weight))
                        .sum();
                    sum + f64::from(*bias)
                })
                .collect();
            let products = if self.gated {
                let (gate, up) = products.split_at(self.outputs / 2);
                gate.iter()
                    .zip(up)
                    .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                    .collect()
            } else {
                products
            };
            let before = &before[out.len()..];
            out.extend(products.iter().zip(before).map(|(sum, before)| match epilogue {
                Epilogue::Store => *sum,
                Epilogue::Add => sum + f64::from(*before),
            }));
        }
        out
    }
}

fn every_isa(threads: usize) -> impl Iterator<Item = Products> {
    Isa::available()
        .into_iter()
        .map(move |isa| Products::new(threads).unwrap().with_isa(isa).unwrap())
}

fn assert_close(found: &[f32], expected: &[f64], inputs: usize) {
    assert_eq!(found.len(), expected.len());
    // Each of `inputs` products is off by half a unit in the last place at most, and so is each sum.
    let tolerance = 4.0 * f64::from(f32::EPSILON) * (inputs as f64).sqrt().mul_add(4.0, 4.0);
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / (1.0 + expected.abs());
        assert!(
            error <= tolerance,
            "output {index} is {found}, not {expected}: off by {error:e} > {tolerance:e}"
        );
    }
}

#[test]
fn odd_shapes_agree_with_float64() {
    for (rows, outputs, inputs, gated) in [
        (1, 1, 1, false),
        (1, 2, 1, true),
        (1, 4, 16, false),
        (1, 6, 15, true),
        (2, 34, 17, true),
        (3, 50, 100, false),
        (5, 130, 33, true),
        (16, 66, 576, false),
        (67, 22, 31, true),
    ] {
        let case = Case::new(rows, outputs, inputs, gated);
        for products in every_isa(2) {
            for epilogue in [Epilogue::Store, Epilogue::Add] {
                assert_close(&case.run(&products, epilogue), &case.reference(epilogue), inputs);
            }
        }
    }
}

#[test]
fn a_row_alone_gives_the_same_bits_as_in_a_batch_with_any_number_of_threads() {
    for gated in [false, true] {
        let batch = Case::new(23, 70, 129, gated);
        for products in every_isa(1) {
            let threads = Products::new(3).unwrap().with_isa(products.isa()).unwrap();
            let together = batch.run(&threads, Epilogue::Store);
            let width = batch.width();
            for row in 0..batch.rows {
                let mut alone = vec![0.0; width];
                let x = &batch.x[row * batch.inputs..(row + 1) * batch.inputs];
                products
                    .run(
                        &Linear {
                            x,
                            ..batch.linear(Epilogue::Store)
                        },
                        &mut alone,
                    )
                    .unwrap();
                assert_eq!(alone, together[row * width..(row + 1) * width], "row {row}");
            }
        }
    }
}

#[test]
fn vectors_of_8_and_of_16_give_the_same_bits() {
    let fused: Vec<Isa> = Isa::available()
        .into_iter()
        .filter(|isa| *isa != Isa::Portable)
        .collect();
    let case = Case::new(6, 40, 77, false);
    let results: Vec<Vec<f32>> = fused
        .iter()
        .map(|isa| {
            case.run(
                &Products::new(1).unwrap().with_isa(*isa).unwrap(),
                Epilogue::Store,
            )
        })
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn infinite_and_missing_numbers_stay_in_their_row() {
    let mut case = Case::new(5, 20, 37, false);
    case.x[37] = f32::NAN;
    case.x[2 * 37] = f32::INFINITY;
    for products in every_isa(2) {
        let linear = Linear {
            norm: None,
            ..case.linear(Epilogue::Store)
        };
        let mut out = vec![0.0; 5 * 20];
        products.run(&linear, &mut out).unwrap();
        let finite: Vec<bool> = out
            .chunks(20)
            .map(|row| row.iter().all(|sum| sum.is_finite()))
            .collect();
        assert_eq!(finite, [true, false, false, true, true]);
    }
}

#[test]
fn no_rows_are_no_work() {
    let case = Case::new(1, 5, 3, false);
    let linear = Linear {
        x: &[],
        ..case.linear(Epilogue::Store)
    };
    Products::new(1).unwrap().run(&linear, &mut []).unwrap();
}

#[test]
fn arrays_of_a_wrong_length_are_named() {
    let case = Case::new(2, 5, 3, false);
    let products = Products::new(1).unwrap();
    let refusal = |linear: Linear<'_>, out: usize| {
        products
            .run(&linear, &mut vec![0.0; out])
            .unwrap_err()
            .to_string()
    };
    let linear = case.linear(Epilogue::Store);
    assert_eq!(refusal(linear, 9), "out has 9 numbers where 10 are needed");
    let ragged = refusal(
        Linear {
            x: &case.x[1..],
            ..linear
        },
        10,
    );
    assert_eq!(
        ragged,
        "x has 5 numbers, which is not a multiple of the 3 inputs of the weight"
    );
    assert_eq!(
        refusal(
            Linear {
                bias: Some(&[1.0]),
                ..linear
            },
            10
        ),
        "bias has 1 numbers where 5 are needed"
    );
    let norm = Some(Norm {
        weight: &[1.0],
        epsilon: 1e-5,
    });
    assert_eq!(
        refusal(Linear { norm, ..linear }, 10),
        "norm.weight has 1 numbers where 3 are needed"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_shape_agrees_with_float64(
        rows in 1..20_usize,
        outputs in 1..45_usize,
        inputs in 1..140_usize,
        gated in any::<bool>(),
    ) {
        let case = Case::new(rows, 2 * outputs, inputs, gated);
        for products in every_isa(2) {
            assert_close(&case.run(&products, Epilogue::Store), &case.reference(Epilogue::Store), inputs);
        }
    }
}

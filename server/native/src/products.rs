//! Products of few rows for Python, on raw addresses: `server/shardline/ops/cpu_ops.py` is the one
//! caller, and it checks tensors before it passes their addresses.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use shardline_kernels as rust;

/// A weight in the order in which products read it.
#[pyclass(frozen, module = "shardline._native")]
pub(crate) struct PackedWeight {
    inner: rust::PackedWeight,
}

#[pymethods]
impl PackedWeight {
    #[getter]
    fn inputs(&self) -> usize {
        self.inner.inputs()
    }

    #[getter]
    fn outputs(&self) -> usize {
        self.inner.outputs()
    }

    #[getter]
    fn gated(&self) -> bool {
        self.inner.gated()
    }

    #[getter]
    fn bytes(&self) -> usize {
        self.inner.bytes()
    }
}

/// Computes products on threads of its own.
#[pyclass(frozen, module = "shardline._native")]
pub(crate) struct Products {
    inner: rust::Products,
}

#[pymethods]
impl Products {
    #[new]
    fn new(threads: usize) -> PyResult<Self> {
        let inner =
            rust::Products::new(threads).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Self { inner })
    }

    #[getter]
    fn instructions(&self) -> &'static str {
        self.inner.isa().name()
    }

    #[pyo3(signature = (address, *, rows, inputs, gated))]
    fn pack(
        &self,
        py: Python<'_>,
        address: usize,
        rows: usize,
        inputs: usize,
        gated: bool,
    ) -> PyResult<PackedWeight> {
        // SAFETY: the caller promises f32[rows, inputs] at the address.
        let weight = unsafe { numbers("weight", address, checked_product(rows, inputs)?)? };
        py.detach(|| self.inner.pack(weight, rows, inputs, gated))
            .map(|inner| PackedWeight { inner })
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    #[pyo3(signature = (weight, x, rows, out, *, bias = 0, norm = 0, epsilon = 0.0, add = false))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's arguments")]
    fn linear(
        &self,
        py: Python<'_>,
        weight: &PackedWeight,
        x: usize,
        rows: usize,
        out: usize,
        bias: usize,
        norm: usize,
        epsilon: f32,
        add: bool,
    ) -> PyResult<()> {
        let weight = &weight.inner;
        let bias_rows = weight.outputs() * if weight.gated() { 2 } else { 1 };
        // SAFETY: the caller promises f32[rows, inputs] at x, f32[rows, outputs] at out, which overlaps
        // nothing else, one number for each row of the weight at bias, and f32[inputs] at norm.
        let (linear, out) = unsafe {
            let linear = rust::Linear {
                x: numbers("x", x, checked_product(rows, weight.inputs())?)?,
                weight,
                bias: if bias == 0 {
                    None
                } else {
                    Some(numbers("bias", bias, bias_rows)?)
                },
                norm: if norm == 0 {
                    None
                } else {
                    Some(rust::Norm {
                        weight: numbers("norm", norm, weight.inputs())?,
                        epsilon,
                    })
                },
                epilogue: if add {
                    rust::Epilogue::Add
                } else {
                    rust::Epilogue::Store
                },
            };
            (
                linear,
                numbers_mut("out", out, checked_product(rows, weight.outputs())?)?,
            )
        };
        py.detach(|| self.inner.run(&linear, out))
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

fn checked_product(rows: usize, columns: usize) -> PyResult<usize> {
    rows.checked_mul(columns)
        .filter(|numbers| *numbers <= isize::MAX as usize / size_of::<f32>())
        .ok_or_else(|| PyValueError::new_err(format!("{rows} rows of {columns} numbers cannot be addressed")))
}

fn checked_address(name: &str, address: usize) -> PyResult<()> {
    if address == 0 || !address.is_multiple_of(align_of::<f32>()) {
        return Err(PyValueError::new_err(format!(
            "{name} is at {address:#x}, which is no float's address"
        )));
    }
    Ok(())
}

/// # Safety
/// `count` float32 numbers lie at the address, and nobody writes them during the call.
unsafe fn numbers<'a>(name: &str, address: usize, count: usize) -> PyResult<&'a [f32]> {
    checked_address(name, address)?;
    // SAFETY: as promised; the address is aligned and not null.
    Ok(unsafe { std::slice::from_raw_parts(address as *const f32, count) })
}

/// # Safety
/// `count` float32 numbers lie at the address, and nobody else reads or writes them during the call.
unsafe fn numbers_mut<'a>(name: &str, address: usize, count: usize) -> PyResult<&'a mut [f32]> {
    checked_address(name, address)?;
    // SAFETY: as promised; the address is aligned and not null.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut f32, count) })
}

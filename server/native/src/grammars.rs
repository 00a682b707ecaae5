//! `Grammars` for Python, and the endpoint's way to it. Every wait happens without the interpreter's
//! lock.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shardline_endpoint as endpoint;
use shardline_grammar as rust;
use tokio::sync::oneshot;

/// Grammars and the sequences that follow them.
#[pyclass(frozen, module = "shardline._native")]
pub(crate) struct Grammars {
    inner: Arc<rust::Grammars>,
}

/// Elements of packed arrays: the bytes are the wire's, little-endian and of any alignment.
fn u64s(packed: &[u8]) -> impl Iterator<Item = u64> {
    packed
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

fn u32s(packed: &[u8]) -> impl Iterator<Item = u32> {
    packed
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Handles with a number each.
fn pairs(handles: &[u8], numbers: &[u8]) -> PyResult<Vec<(u64, u32)>> {
    let (entries, given) = (handles.len() / size_of::<u64>(), numbers.len() / size_of::<u32>());
    if entries != given {
        return Err(invalid(format!("{entries} handles come with {given} numbers")));
    }
    Ok(u64s(handles).zip(u32s(numbers)).collect())
}

#[pymethods]
impl Grammars {
    #[new]
    #[pyo3(signature = (model_path, *, vocab_size, threads))]
    fn new(py: Python<'_>, model_path: PathBuf, vocab_size: u32, threads: usize) -> PyResult<Self> {
        let started = py.detach(|| {
            let vocabulary =
                rust::Vocabulary::load(&model_path, vocab_size).map_err(|error| error.to_string())?;
            rust::Grammars::start(&vocabulary, rust::Limits::with_threads(threads))
                .map_err(|error| error.to_string())
        });
        Ok(Self {
            inner: Arc::new(started.map_err(invalid)?),
        })
    }

    #[getter]
    fn mask_words(&self) -> usize {
        self.inner.mask_words()
    }

    fn admit(&self, kind: &str, source: &str, generated: &[u8]) -> PyResult<u64> {
        let source = rust::Source::new(kind, source).map_err(invalid)?;
        Ok(self.inner.admit(source, u32s(generated).collect()))
    }

    fn release(&self, handle: u64) {
        self.inner.release(handle);
    }

    fn reset(&self) {
        self.inner.reset();
    }

    fn advance(&self, py: Python<'_>, handles: &[u8], tokens: &[u8]) -> PyResult<()> {
        let tokens = pairs(handles, tokens)?;
        py.detach(|| self.inner.advance(tokens));
        Ok(())
    }

    fn fill<'py>(
        &self,
        py: Python<'py>,
        handles: &[u8],
        generated: &[u8],
        out: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let wanted = pairs(handles, generated)?;
        let width = self.inner.mask_words();
        let states = py.detach(|| {
            // SAFETY: as the stub says, `out` is the address of i32[rows, words] that nothing else uses.
            let words = unsafe { rows_at::<u32>(out, wanted.len() * width) }?;
            Ok(self.inner.fill(&wanted, rust::MaskRows::new(words, width)))
        });
        let states: Vec<u8> = states
            .map_err(invalid_address)?
            .iter()
            .map(|state| *state as u8)
            .collect();
        Ok(PyBytes::new(py, &states))
    }

    fn apply(
        &self,
        py: Python<'_>,
        masks: usize,
        logits: usize,
        rows: &[u8],
        vocab_size: usize,
    ) -> PyResult<()> {
        let rows: Vec<usize> = u32s(rows).map(|row| row as usize).collect();
        let width = self.inner.mask_words();
        let most = rows.iter().max().map_or(0, |row| row + 1);
        let applied = py.detach(|| {
            // SAFETY: as the stub says, `masks` is i32[n, words] and `logits` f32[more than the largest
            // row, vocab_size], both dense and used by nothing else.
            let words = unsafe { rows_at::<u32>(masks, rows.len() * width) }?;
            let logits = unsafe { rows_at::<f32>(logits, most * vocab_size) }?;
            for (words, row) in words.chunks_exact(width.max(1)).zip(rows) {
                rust::apply_mask(words, &mut logits[row * vocab_size..(row + 1) * vocab_size]);
            }
            Ok(())
        });
        applied.map_err(invalid_address)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
    }
}

fn invalid_address((): ()) -> PyErr {
    PyValueError::new_err("an address is null or not that of 4-byte numbers")
}

/// Numbers that Python owns.
///
/// # Safety
/// `address`, unless it is null or misaligned, is that of `count` values that nothing else uses.
unsafe fn rows_at<'a, T>(address: usize, count: usize) -> Result<&'a mut [T], ()> {
    let pointer = address as *mut T;
    if count == 0 {
        return Ok(&mut []);
    }
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

impl Grammars {
    /// For the endpoint's `CompileGrammar`.
    pub(crate) fn compiler(&self) -> Arc<dyn endpoint::CompileGrammar> {
        Arc::new(Compiler(self.inner.clone()))
    }
}

#[derive(Debug)]
struct Compiler(Arc<rust::Grammars>);

impl endpoint::CompileGrammar for Compiler {
    fn compile(&self, grammar: endpoint::Grammar) -> endpoint::Compilation {
        let text = Arc::from(grammar.source());
        let source = match &grammar {
            endpoint::Grammar::JsonSchema(_) => rust::Source::JsonSchema(text),
            endpoint::Grammar::Regex(_) => rust::Source::Regex(text),
            endpoint::Grammar::Lark(_) => rust::Source::Lark(text),
        };
        let (sender, receiver) = oneshot::channel();
        // Whoever does not wait any more needs no answer.
        self.0
            .compile(source, move |compiled| drop(sender.send(compiled)));
        Box::pin(async move {
            let compiled = receiver.await.unwrap_or(Err(rust::Refusal::Busy));
            compiled.map_err(|refusal| match refusal {
                rust::Refusal::Invalid(message) => endpoint::GrammarRefusal::Invalid(message),
                rust::Refusal::Unsatisfiable(message) => endpoint::GrammarRefusal::Unsatisfiable(message),
                rust::Refusal::TooComplex(message) => endpoint::GrammarRefusal::TooComplex(message),
                rust::Refusal::Busy => endpoint::GrammarRefusal::Busy,
            })
        })
    }
}

//! A step as Python sees it: plain attributes, arrays as `bytes`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use shardline_endpoint as rust;

/// One step; see the proto's StepRequest.
#[pyclass(frozen, get_all, module = "shardline._native")]
pub(crate) struct Frame {
    session: u64,
    session_epoch: u64,
    new_session: bool,
    step_id: u64,
    wait_us: u32,
    drop: Py<PyBytes>,
    sequence_ids: Py<PyBytes>,
    num_tokens: Py<PyBytes>,
    new_block_counts: Py<PyBytes>,
    new_blocks: Py<PyBytes>,
    num_draft_tokens: Py<PyBytes>,
    new_sequences: Py<PyList>,
    commands: Py<PyList>,
}

impl Frame {
    pub(crate) fn new(py: Python<'_>, frame: rust::Frame, wait_us: u32) -> PyResult<Self> {
        let sequences = frame
            .new_sequences
            .iter()
            .map(|sequence| NewSequence::new(py, sequence));
        let sequences = sequences.collect::<PyResult<Vec<_>>>()?;
        let commands = frame.commands.into_iter().map(Command::from).collect::<Vec<_>>();
        Ok(Self {
            session: frame.session,
            session_epoch: frame.session_epoch,
            new_session: frame.new_session,
            step_id: frame.step_id,
            wait_us,
            drop: bytes(py, &frame.drop),
            sequence_ids: bytes(py, &frame.rows.sequence_ids),
            num_tokens: bytes(py, &frame.rows.num_tokens),
            new_block_counts: bytes(py, &frame.rows.new_block_counts),
            new_blocks: bytes(py, &frame.rows.new_blocks),
            num_draft_tokens: bytes(py, &frame.rows.num_draft_tokens),
            new_sequences: PyList::new(py, sequences)?.unbind(),
            commands: PyList::new(py, commands)?.unbind(),
        })
    }

    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    pub(crate) fn step_id(&self) -> u64 {
        self.step_id
    }

    pub(crate) fn wait_us(&self) -> u32 {
        self.wait_us
    }
}

#[pymethods]
impl Frame {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let rows = self.sequence_ids.bind(py).as_bytes().len() / size_of::<u64>();
        let added = self.new_sequences.bind(py).len();
        let (step, session) = (self.step_id, self.session);
        Ok(format!(
            "<Frame step_id={step} session={session} rows={rows} new_sequences={added}>"
        ))
    }
}

/// A sequence not seen before; see the proto's NewSequence.
#[pyclass(frozen, get_all, module = "shardline._native")]
pub(crate) struct NewSequence {
    sequence_id: u64,
    token_ids: Py<PyBytes>,
    num_prompt_tokens: u32,
    num_cached_tokens: u32,
    seed: u64,
    choice: u32,
    sampling: Py<Sampling>,
    block_ids: Py<PyBytes>,
    grammar: Option<Py<Grammar>>,
    adapter: Option<Py<PyString>>,
}

impl NewSequence {
    fn new(py: Python<'_>, sequence: &rust::NewSequence) -> PyResult<Self> {
        Ok(Self {
            sequence_id: sequence.sequence_id,
            token_ids: bytes(py, &sequence.token_ids),
            num_prompt_tokens: sequence.num_prompt_tokens,
            num_cached_tokens: sequence.num_cached_tokens,
            seed: sequence.seed,
            choice: sequence.choice,
            sampling: Py::new(py, Sampling::new(py, &sequence.sampling))?,
            block_ids: bytes(py, &sequence.block_ids),
            grammar: sequence
                .grammar
                .as_ref()
                .map(|grammar| Py::new(py, Grammar::from(grammar)))
                .transpose()?,
            adapter: sequence
                .adapter
                .as_ref()
                .map(|name| PyString::new(py, name).unbind()),
        })
    }
}

/// How tokens are drawn, defaults applied; see the proto's SamplingParameters.
#[pyclass(frozen, get_all, module = "shardline._native")]
pub(crate) struct Sampling {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    typical_p: f32,
    repetition_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    logprobs: bool,
    top_logprobs: u32,
    prompt_logprobs: bool,
    prompt_top_logprobs: u32,
    min_tokens: u32,
    stop_token_ids: Py<PyBytes>,
    allowed_token_ids: Py<PyBytes>,
    logit_bias_ids: Py<PyBytes>,
    logit_bias_values: Py<PyBytes>,
}

impl Sampling {
    fn new(py: Python<'_>, sampling: &rust::Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            typical_p: sampling.typical_p,
            repetition_penalty: sampling.repetition_penalty,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            logprobs: sampling.logprobs,
            top_logprobs: sampling.top_logprobs,
            prompt_logprobs: sampling.prompt_logprobs,
            prompt_top_logprobs: sampling.prompt_top_logprobs,
            min_tokens: sampling.min_tokens,
            stop_token_ids: bytes(py, &sampling.stop_token_ids),
            allowed_token_ids: bytes(py, &sampling.allowed_token_ids),
            logit_bias_ids: bytes(py, &sampling.logit_bias_ids),
            logit_bias_values: bytes(py, &sampling.logit_bias_values),
        }
    }
}

/// What generated text must match.
#[pyclass(frozen, get_all, module = "shardline._native")]
pub(crate) struct Grammar {
    kind: &'static str,
    source: String,
}

impl From<&rust::Grammar> for Grammar {
    fn from(grammar: &rust::Grammar) -> Self {
        Self {
            kind: grammar.kind(),
            source: grammar.source().to_owned(),
        }
    }
}

/// Something to do besides running rows.
#[pyclass(frozen, get_all, module = "shardline._native")]
pub(crate) struct Command {
    command_id: u64,
    kind: &'static str,
    name: String,
    path: Option<String>,
}

impl From<rust::Command> for Command {
    fn from(command: rust::Command) -> Self {
        let (kind, name, path) = match command.kind {
            rust::CommandKind::LoadAdapter { name, path } => ("load_adapter", name, Some(path)),
            rust::CommandKind::UnloadAdapter { name } => ("unload_adapter", name, None),
        };
        Self {
            command_id: command.command_id,
            kind,
            name,
            path,
        }
    }
}

fn bytes(py: Python<'_>, packed: &[u8]) -> Py<PyBytes> {
    PyBytes::new(py, packed).unbind()
}

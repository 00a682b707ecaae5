//! `Endpoint` for Python. Every wait happens without the interpreter's lock.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use shardline_endpoint as rust;

use crate::frame::Frame;
use crate::grammars::Grammars;

/// How often a wait returns to the interpreter, so that signals reach their handlers.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// A listening shard.
#[pyclass(frozen, module = "shardline._native")]
pub(crate) struct Endpoint {
    inner: rust::Endpoint,
}

#[pymethods]
impl Endpoint {
    #[new]
    fn new(socket_path: PathBuf) -> PyResult<Self> {
        let inner =
            rust::Endpoint::bind(&socket_path).map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self { inner })
    }

    #[pyo3(signature = (phase, message = ""))]
    fn set_phase(&self, phase: i32, message: &str) -> PyResult<()> {
        let phase = rust::Phase::try_from(phase)
            .map_err(|_| PyValueError::new_err(format!("phase is {phase}; the proto's Phase has 0 to 5")))?;
        self.inner.set_phase(phase, message);
        Ok(())
    }

    #[pyo3(signature = (
        *, model_type, dtype, device, rank, world_size, vocab_size, max_position, attention_backend,
        block_size, num_blocks, bytes_per_block, max_step_tokens, max_sequences, max_top_logprobs,
        version, step_token_edges, features, weight_bytes, load_s, warmup_s, start_phases
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn set_info(
        &self,
        model_type: String,
        dtype: String,
        device: String,
        rank: u32,
        world_size: u32,
        vocab_size: u32,
        max_position: u32,
        attention_backend: String,
        block_size: u32,
        num_blocks: u32,
        bytes_per_block: u64,
        max_step_tokens: u32,
        max_sequences: u32,
        max_top_logprobs: u32,
        version: String,
        step_token_edges: Vec<i32>,
        features: Vec<String>,
        weight_bytes: u64,
        load_s: f32,
        warmup_s: f32,
        start_phases: Vec<(String, f32)>,
    ) {
        let phases = start_phases
            .into_iter()
            .map(|(name, seconds)| rust::StartPhase { name, seconds })
            .collect();
        self.inner.set_info(rust::InfoResponse {
            model_type,
            dtype,
            device,
            rank,
            world_size,
            vocab_size,
            max_position,
            attention_backend,
            kv_groups: vec![rust::KvGroup {
                block_size,
                num_blocks,
                bytes_per_block,
            }],
            max_step_tokens,
            max_sequences,
            step_token_edges: step_token_edges.into_iter().flat_map(i32::to_le_bytes).collect(),
            max_top_logprobs,
            version,
            features,
            weight_bytes,
            start: Some(rust::StartTimings {
                load_s,
                warmup_s,
                phases,
            }),
        });
    }

    fn set_grammars(&self, grammars: &Grammars) {
        self.inner.set_compiler(grammars.compiler());
    }

    #[pyo3(signature = (timeout_s = None))]
    fn next(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<Option<Frame>> {
        let limit = match timeout_s.map(Duration::try_from_secs_f64) {
            None => Duration::MAX,
            Some(Ok(limit)) => limit,
            Some(Err(error)) => return Err(PyValueError::new_err(format!("timeout_s: {error}"))),
        };
        let mut waited = Duration::ZERO;
        loop {
            let wait = SIGNAL_CHECK.min(limit.saturating_sub(waited));
            match py.detach(|| self.inner.next(wait)) {
                rust::Next::Frame(frame, wait) => {
                    waited += wait;
                    let wait_us = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
                    return Frame::new(py, *frame, wait_us).map(Some);
                }
                rust::Next::TimedOut => {
                    waited += wait;
                    py.check_signals()?;
                    if waited >= limit {
                        return Err(PyTimeoutError::new_err("no step came in time"));
                    }
                }
                rust::Next::Closed => return Ok(None),
            }
        }
    }

    #[pyo3(signature = (
        frame, *, sequence_ids = Bytes::new(), status = Bytes::new(), token_counts = Bytes::new(), token_ids = Bytes::new(), logprobs = Bytes::new(),
        top_counts = Bytes::new(), top_token_ids = Bytes::new(), top_logprobs = Bytes::new(), prompt_logprobs = Vec::new(),
        command_results = Vec::new(), prepare_us = 0, forward_us = 0, sample_us = 0
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn send(
        &self,
        py: Python<'_>,
        frame: &Frame,
        sequence_ids: Bytes,
        status: Bytes,
        token_counts: Bytes,
        token_ids: Bytes,
        logprobs: Bytes,
        top_counts: Bytes,
        top_token_ids: Bytes,
        top_logprobs: Bytes,
        prompt_logprobs: Vec<PyRef<'_, PromptLogprobs>>,
        command_results: Vec<(u64, String)>,
        prepare_us: u32,
        forward_us: u32,
        sample_us: u32,
    ) -> PyResult<bool> {
        let outcome = rust::Outcome {
            sequence_ids,
            status,
            token_counts,
            token_ids,
            logprobs,
            top_counts,
            top_token_ids,
            top_logprobs,
            prompt_logprobs: prompt_logprobs
                .iter()
                .map(|prompt| prompt.inner.clone())
                .collect(),
            command_results: command_results
                .into_iter()
                .map(|(command_id, error)| rust::CommandResult { command_id, error })
                .collect(),
            timings: rust::Timings {
                wait_us: frame.wait_us(),
                prepare_us,
                forward_us,
                sample_us,
            },
        };
        let (session, step_id) = (frame.session(), frame.step_id());
        match py.detach(|| self.inner.answer(session, step_id, outcome)) {
            Ok(rust::SendResult::Sent) => Ok(true),
            Ok(rust::SendResult::SessionOver) => Ok(false),
            Err(invalid) => Err(PyValueError::new_err(invalid.to_string())),
        }
    }

    fn fail(&self, py: Python<'_>, message: &str) {
        py.detach(|| self.inner.fail(message));
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
    }
}

/// Log-probabilities of the prompt positions of one sequence that a step computed.
#[pyclass(frozen, module = "shardline._native")]
pub(crate) struct PromptLogprobs {
    inner: rust::PromptLogprobs,
}

#[pymethods]
impl PromptLogprobs {
    #[new]
    #[pyo3(signature = (
        *, sequence_id, first_position, logprobs, top_counts = Bytes::new(), top_token_ids = Bytes::new(), top_logprobs = Bytes::new()
    ))]
    fn new(
        sequence_id: u64,
        first_position: u32,
        logprobs: Bytes,
        top_counts: Bytes,
        top_token_ids: Bytes,
        top_logprobs: Bytes,
    ) -> Self {
        Self {
            inner: rust::PromptLogprobs {
                sequence_id,
                first_position,
                logprobs,
                top_counts,
                top_token_ids,
                top_logprobs,
            },
        }
    }
}

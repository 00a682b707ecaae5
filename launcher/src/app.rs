//! The command from its first word to its exit code. Everything it does is done elsewhere.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::console::Console;
use crate::devices::Devices;
use crate::ends::{Ended, Failure};
use crate::flags::Flags;
use crate::health::reachable;
use crate::logging;
use crate::model::ModelSource;
use crate::parse::{Asked, parse};
use crate::plan::{Choices, Plan, Programs, health_socket_of};
use crate::preflight::Preflight;
use crate::problem::Problems;
use crate::runtime_report::runtime_report;
use crate::settings::{Note, Settings};
use crate::supervise::{Circumstances, run};

/// Exit code of a start that was refused.
const USAGE: u8 = 2;
/// Exit code of an end that cut requests off, as a shell has it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Runs the launcher.
pub async fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match start(arguments).await {
        Ok(None | Some(Ok(Ended::Drained))) => ExitCode::SUCCESS,
        Ok(Some(Ok(Ended::CutOff))) => ExitCode::from(INTERRUPTED),
        Ok(Some(Err(failure))) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::from(USAGE)
        }
    }
}

/// How the server ended, or nothing when there was only something to print.
async fn start(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<Result<Ended, Failure>>, Problems> {
    let parsed = match parse(arguments)? {
        Asked::Print(text) => {
            print!("{text}");
            return Ok(None);
        }
        Asked::Run(parsed) => *parsed,
    };
    let launch = parsed.flags.launch.clone();
    let devices = Devices::of_this_machine(&parsed.flags.surroundings);
    let programs = Programs::find(&launch);
    if launch.env {
        println!("{}", runtime_report(&devices, programs.as_ref().ok()));
        if launch.model_id.is_none() && parsed.problems.is_empty() {
            return Ok(None);
        }
    }
    let (settings, programs) = all(Settings::check(parsed, &devices), programs)?;
    let preflight = Preflight::run(&settings)?;
    let console = Console::new(launch.json_output);
    logging::start(&console, &launch.log_level, launch.json_output);
    for note in &settings.notes {
        match note {
            Note::Info(sentence) => tracing::info!("{sentence}"),
            Note::Warning(sentence) => tracing::warn!("{sentence}"),
        }
    }
    let plan = Plan::new(&settings, &devices, &programs, &preflight.choices);
    Ok(Some(
        run(&plan, &circumstances(&settings, &preflight.choices), &console).await,
    ))
}

/// Both values, or every problem of both.
fn all<A, B>(first: Result<A, Problems>, second: Result<B, Problems>) -> Result<(A, B), Problems> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => {
            let mut problems = first.err().map_or_else(Vec::new, |problems| problems.0);
            problems.extend(second.err().into_iter().flat_map(|problems| problems.0));
            Err(Problems(problems))
        }
    }
}

fn circumstances(settings: &Settings, choices: &Choices) -> Circumstances {
    let port = choices.port;
    let scheme = if settings.flags.router.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{}", reachable(settings.address, port));
    let shards = match settings.num_shard {
        1 => "1 shard".to_owned(),
        several => format!("{several} shards"),
    };
    Circumstances {
        health: health_socket_of(&choices.socket_prefix),
        model_path: settings.model.local_path().map(ToOwned::to_owned),
        grace: settings.grace,
        what: format!(
            "{} on {shards}, listening on {}:{port}",
            settings.model_id, settings.address
        ),
        hint: (settings.model == ModelSource::Demo).then(|| try_it(&url, &settings.flags)),
        url,
    }
}

/// A command that gets an answer from this server when it is pasted into a shell.
fn try_it(url: &str, flags: &Flags) -> String {
    let key = if flags.launch.api_key.is_some() || flags.router.api_keys_file.is_some() {
        " -H \"authorization: Bearer $API_KEY\""
    } else {
        ""
    };
    format!(
        "try: curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d '{}'",
        r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 32, "temperature": 0}"#
    )
}

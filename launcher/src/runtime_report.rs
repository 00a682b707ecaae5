//! What `--env` prints: what a person needs to know to judge a report of a defect.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::devices::Devices;
use crate::plan::Programs;

/// Versions, CPU, memory and GPUs, a line each.
pub fn runtime_report(devices: &Devices, programs: Option<&Programs>) -> String {
    let mut report = String::from("Runtime environment:\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(report, "  {name:<10} {value}");
    };
    line("shardline", env!("CARGO_PKG_VERSION"));
    line(
        "system",
        &first_line("uname", &["-srm"]).unwrap_or_else(|| std::env::consts::OS.to_owned()),
    );
    line(
        "cpu",
        &field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
    );
    line("cores", &format!("{} usable", devices.cores));
    line(
        "memory",
        &field_of("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
    );
    match programs {
        Some(programs) => line("server", &server_version(&programs.shard)),
        None => line("server", "not installed"),
    }
    match output_of("nvidia-smi", &[]) {
        Some(table) => line("nvidia-smi", &format!("\n{table}")),
        None => line("nvidia-smi", "not installed"),
    }
    report
}

fn server_version(program: &Path) -> String {
    first_line(&program.to_string_lossy(), &["--version"])
        .unwrap_or_else(|| "does not tell its version".to_owned())
}

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    output_of(program, arguments)?.lines().next().map(str::to_owned)
}

/// The value of the first `name : value` line of a file.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

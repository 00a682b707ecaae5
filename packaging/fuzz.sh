#!/usr/bin/env bash
# Runs each target of fuzz/ for some seconds: packaging/fuzz.sh SECONDS
set -euo pipefail
seconds=${1:?seconds for each target}
cd "$(dirname "$0")/.."
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "cargo-fuzz is missing, so its targets are left out. Get it with:"
  echo "  rustup toolchain install nightly && cargo install cargo-fuzz"
  exit 0
fi
for target in $(cargo +nightly fuzz list); do
  echo "==> Fuzzing $target for $seconds s"
  # Memory faults are what Rust rules out; what is looked for are panics, endless work and memory
  # without bound, and without the sanitizer many more inputs are tried.
  cargo +nightly fuzz run --sanitizer none "$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096
done

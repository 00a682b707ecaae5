#!/usr/bin/env bash
# Runs cargo-fuzz on the targets of this folder: router/fuzz/run.sh SECONDS [TARGET…]
# Inputs that reach new code are kept in build/fuzz, so that the next run goes on where this one ended.
set -euo pipefail
seconds=${1:?seconds for each target}
shift
cd "$(dirname "$0")/../.."
tools=build/cargo-fuzz
fuzz=router/fuzz
golden=router/text/tests/golden

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "cargo-fuzz needs a nightly Rust beside the stable one. Get it with:" >&2
  echo "  rustup toolchain install nightly --profile minimal" >&2
  exit 1
fi
PATH="$PWD/$tools/bin:$PATH"
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "==> Installing cargo-fuzz into $tools"
  cargo install --quiet --locked --root "$tools" cargo-fuzz
fi

options=(--fuzz-dir "$fuzz" --target-dir "${CARGO_TARGET_DIR:-target}/fuzz" --codegen-units 16)
# What Rust itself rules out needs no sanitizer, and without one many more inputs are tried.
options+=(--sanitizer none)
cp Cargo.lock "$fuzz/Cargo.lock"
echo "==> Building the fuzz targets (the first time compiles everything: some minutes)"
cargo +nightly fuzz build "${options[@]}"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir "$fuzz")
failed=()
for target in "${targets[@]}"; do
  echo "==> Fuzzing $target for $seconds s"
  corpus=build/fuzz/$target
  mkdir -p "$corpus"
  seeds=()
  limits=(-timeout=5 -rss_limit_mb=2048 -max_len=4096)
  [ ! -d "$fuzz/seeds/$target" ] || seeds+=("$fuzz/seeds/$target")
  case $target in
    sse) limits+=(-max_len=160) ;;
    templates) seeds+=("$golden/templates") ;;
    gguf) limits+=(-max_len=16384 "-seed_inputs=$(printf '%s\n' "$golden"/*.gguf | paste -sd,)") ;;
  esac
  dictionary=$fuzz/dictionaries/$target.dict
  [ ! -f "$dictionary" ] || limits+=("-dict=$dictionary")
  cargo +nightly fuzz run "${options[@]}" "$target" "$corpus" "${seeds[@]}" -- \
    "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "Found something: ${failed[*]}. The inputs are in $fuzz/artifacts." >&2
  exit 1
fi

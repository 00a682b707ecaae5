#!/usr/bin/env bash
# Says in one sentence each what is missing to build, and how to get it. Exit status 1 if anything is.
set -uo pipefail

MINIMUM_RUST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
missing=0

say_missing() {
  echo "$1" >&2
  missing=1
}

if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
  say_missing "Rust $MINIMUM_RUST or newer is missing: install it with the command on https://rustup.rs, then open a new shell."
else
  version=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' "$MINIMUM_RUST" "$version" | sort -V | head -n1)" != "$MINIMUM_RUST" ]; then
    say_missing "Rust is $version, and $MINIMUM_RUST or newer is needed: run 'rustup update stable'."
  fi
fi

if ! command -v cc >/dev/null; then
  say_missing "A C compiler is missing: install one (Debian and Ubuntu: sudo apt-get install build-essential; Fedora: sudo dnf install gcc; macOS: xcode-select --install)."
fi

exit "$missing"

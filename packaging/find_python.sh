#!/usr/bin/env bash
# Prints the first of the given interpreters that is Python 3.10 or newer and can make environments.
set -euo pipefail

for candidate in "$@"; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
    echo "$candidate"
    exit 0
  fi
done

echo "Python 3.10 or newer with venv is missing: install it (Debian and Ubuntu: sudo apt-get install python3 python3-venv; others: https://www.python.org/downloads), or name one with PYTHON=/path/to/python." >&2
exit 1

#!/usr/bin/env bash
# The kernels' tests under compute-sanitizer: sanitize.sh PYTHON [FILE…]
# One process a file, all at once; LIMIT seconds each, TOOL memcheck, racecheck, initcheck or synccheck.
# Prints a line a file, and what was found.
set -euo pipefail
cd "$(dirname "$0")/../../.."
python=$1
shift
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(server/tests/kernels/test_*.py)
tool=${TOOL:-memcheck}
limit=${LIMIT:-600}
sanitizer=$(command -v compute-sanitizer || true)
[ -n "$sanitizer" ] || { echo "compute-sanitizer is missing: it is part of the CUDA toolkit"; exit 1; }
logs=$(mktemp -d)
for file in "${files[@]}"; do
  (
    status=0
    timeout "$limit" "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 5 \
      "$python" -m pytest -q -p no:cacheprovider "$file" > "$logs/$(basename "$file").log" 2>&1 || status=$?
    echo "$status" > "$logs/$(basename "$file").status"
  ) &
done
wait
failed=0
for file in "${files[@]}"; do
  name=$(basename "$file")
  tests=$(grep -E '^[0-9]+ (passed|skipped)|(passed|failed|skipped).* in ' "$logs/$name.log" | tail -1 || true)
  case $(cat "$logs/$name.status") in
    0 | 5) echo "$name: clean under $tool, $tests" ;;
    124) echo "$name: not finished in $limit s"; failed=1 ;;
    *)
      echo "$name: FAILED, $tests"
      grep '=========' "$logs/$name.log" | head -40 || tail -20 "$logs/$name.log"
      failed=1
      ;;
  esac
done
exit $failed

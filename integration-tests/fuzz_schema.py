"""Requests made from the document of the API, against a router with a mock shard: make fuzz runs it.

    python integration-tests/fuzz_schema.py [--examples 50]

schemathesis reads /api-doc/openapi.json and sends what fits it and what does not. No answer may be a
fault of the server's, and every status must be one that the document knows.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "benchmark"))

from router import KEY, Router

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,ignored_auth"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=50, help="requests of each kind and route")
    args = parser.parse_args()
    tool = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or shutil.which("schemathesis")
    if tool is None:
        print("schemathesis is missing, so it is left out. Get it with: pip install 'schemathesis>=4'")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="shardline-fuzz-"))
    router = Router(folder)
    try:
        command = [
            tool,
            "run",
            f"http://127.0.0.1:{router.port}/api-doc/openapi.json",
            "--header",
            f"Authorization: Bearer {KEY}",
            "--checks",
            CHECKS,
            "--max-examples",
            str(args.examples),
            "--request-timeout",
            "60",
            "--generation-deterministic",
        ]
        return subprocess.run(command, cwd=folder).returncode
    finally:
        router.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())

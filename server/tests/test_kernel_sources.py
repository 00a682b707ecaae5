"""What can be checked of the GPU kernels without Triton: that launches fit their kernels.

Runs everywhere; the kernels' numbers are tested in `kernels/`, where Triton is installed.
"""

import ast
from importlib import util
from pathlib import Path

import pytest

LAUNCH_OPTIONS = {"num_warps", "num_stages", "maxnreg", "launch_pdl"}


def sources():
    found = util.find_spec("shardline")
    assert found is not None
    folder = Path(next(iter(found.submodule_search_locations))) / "kernels"
    return sorted(folder.glob("*.py"))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def kernels_of(tree):
    """Name → parameter names of every `@triton.jit` function."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any("jit" in ast.dump(d) for d in node.decorator_list):
            found[node.name] = [argument.arg for argument in node.args.args]
    return found


def launches_of(tree):
    """Calls of the form `kernel[grid](...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
            name = node.func.value
            if isinstance(name, ast.Name) and name.id.endswith("_kernel"):
                yield name.id, node


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_launches_give_every_parameter_once(path):
    tree = parse(path)
    kernels = kernels_of(tree)
    for name, call in launches_of(tree):
        parameters = kernels[name]
        given = parameters[: len(call.args)]
        named = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
        shared = {"VOCABULARY", "CHUNKS", "CHAIN"} if any(k.arg is None for k in call.keywords) else set()
        assert not set(given) & set(named), f"{name}: given twice"
        assert set(named) <= set(parameters) | LAUNCH_OPTIONS, f"{name}: unknown parameter"
        missing = set(parameters) - set(given) - set(named) - shared
        assert not missing, f"{name}: {missing} missing"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_a_kernel_file_launches_what_it_declares(path):
    tree = parse(path)
    declared = {name for name in kernels_of(tree) if name.endswith("_kernel")}
    assert declared == {name for name, _ in launches_of(tree)}


def test_there_are_kernels():
    assert sum(len(kernels_of(parse(path))) for path in sources()) > 20

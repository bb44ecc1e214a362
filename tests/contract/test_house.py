"""The house's laws: who may import whom, how long a file may be, and that importing does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import pytest

from tests.contract.module_graph import ROOT, ModuleGraph, inside

SERVICES = ("services.router", "services.governor", "services.gpu_worker", "services.cpu_worker")
GENERATED = ("sluice.v1", "sluice.open_inference")
# What only a worker has installed.
WORKER_EXTRA = frozenset(
    {"httpx2", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "tokenizers", "torch", "transformers"}
)
LONGEST_FILE = 400
MOST_MODULES = 12
# Folders that hold more, and how many. They only shrink.
CROWDED = {
    "sluice/training": 25,
    "sluice/cli": 24,
    "sluice/load": 23,
    "sluice/compression": 17,
    "sluice/training/chat": 15,
}
# A file with fewer lines and a single reader belongs into its reader, unless it is a seam.
SHORT_FILE = 60
# How many there are. They only become fewer.
FRAGMENTS = 10


@pytest.fixture(scope="module")
def graph() -> ModuleGraph:
    """All of sluice and services."""
    return ModuleGraph(ROOT, ("sluice", "services"))


def tops(modules: Iterable[str]) -> set[str]:
    """The names before the first dot."""
    return {name.partition(".")[0] for name in modules}


def importing(names: Iterable[str]) -> Mapping[str, Any]:
    """What it does to import `names` in a fresh process."""
    command = [sys.executable, "-m", "tests.contract.import_probe", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("service", ["services.router", "services.governor"])
def test_no_import_leads_from_router_or_governor_to_a_model(graph: ModuleGraph, service: str) -> None:
    reached = graph.reach(graph.within(service))
    assert "sluice.transport.server" in reached
    assert tops(reached) & WORKER_EXTRA == set()


def test_the_graph_sees_torch_where_it_is(graph: ModuleGraph) -> None:
    assert "torch" in tops(graph.reach(graph.within("services.gpu_worker")))
    assert "torch" not in tops(graph.reach(graph.within("services.gpu_worker"), deferred=False))


def test_router_and_governor_run_without_a_model_in_the_process() -> None:
    told = importing(["services.router.app", "services.governor.app"])
    assert "sluice.transport.server" in told["modules"]
    assert tops(told["modules"]) & WORKER_EXTRA == set()


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(graph: ModuleGraph, service: str) -> None:
    others = [name for name in graph.reach(graph.within(service)) if inside(name, "services")]
    assert [name for name in others if name != "services" and not inside(name, service)] == []


def test_all_services_are_known_here(graph: ModuleGraph) -> None:
    assert {".".join(name.split(".")[:2]) for name in graph.within("services")} == {"services", *SERVICES}


def test_sluice_never_imports_services(graph: ModuleGraph) -> None:
    for name in graph.within("sluice"):
        targets = [one.target for one in graph.imports[name] if inside(one.target, "services")]
        assert targets == [], name


@pytest.mark.parametrize("package", GENERATED)
def test_contracts_import_nothing_of_ours_but_contracts(graph: ModuleGraph, package: str) -> None:
    for name in graph.within(package):
        ours = [one.target for one in graph.imports[name] if tops([one.target]) & {"sluice", "services"}]
        assert all(any(inside(target, known) for known in GENERATED) for target in ours), (name, ours)


def test_no_file_is_too_long_to_be_one_noun() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("sluice", "services", "tools", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if not any(path.is_relative_to(ROOT / name.replace(".", "/")) for name in GENERATED)
    }
    assert len(lengths) > 50
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_folder_holds_more_modules_than_one_looks_through() -> None:
    found = Counter(
        str(path.parent.relative_to(ROOT))
        for folder in ("sluice", "services")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
        if not any(path.is_relative_to(ROOT / name.replace(".", "/")) for name in GENERATED)
    )
    assert {name: count for name, count in found.items() if count > MOST_MODULES} == CROWDED


def test_no_imports_lead_back_to_where_they_came_from(graph: ModuleGraph) -> None:
    assert cycles(imports_between_files(graph)) == []


def test_no_folder_imports_another_that_imports_it(graph: ModuleGraph) -> None:
    """A module beside folders, such as a composition root, stands for itself."""
    parents = {name.rpartition(".")[0] for name in graph.files}

    def room(name: str) -> str:
        folder = name.rpartition(".")[0]
        return name if any(other.startswith(f"{folder}.") for other in parents) else folder

    between: dict[str, set[str]] = {}
    for name, targets in imports_between_files(graph).items():
        between.setdefault(room(name), set()).update({room(target) for target in targets} - {room(name)})
    assert cycles(between) == []


def test_short_files_with_one_reader_become_fewer(graph: ModuleGraph) -> None:
    readers: Counter[str] = Counter()
    for targets in imports_between_files(graph).values():
        readers.update(targets)
    short = [
        name
        for name, path in graph.files.items()
        if path.name not in {"__init__.py", "__main__.py"} and not any(inside(name, one) for one in GENERATED)
        if readers[name] == 1 and len(path.read_text(encoding="utf-8").splitlines()) < SHORT_FILE
    ]
    assert len(short) <= FRAGMENTS, short


def imports_between_files(graph: ModuleGraph) -> dict[str, set[str]]:
    """Which files of ours each file of ours needs to be imported itself; packages' own files aside."""
    ours = {name for name, path in graph.files.items() if path.name != "__init__.py"}
    return {name: {one.target for one in graph.imports[name] if not one.deferred} & ours - {name} for name in ours}


def cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that all lead to one another, each sorted: strongly connected components (Tarjan, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        path.append(node)
        for target in sorted(edges.get(node, ())):
            if target not in number:
                visit(target)
            if target in path:
                lowest[node] = min(lowest[node], lowest[target])
        if lowest[node] == number[node]:
            group = path[path.index(node) :]
            del path[path.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


def test_importing_what_everybody_has_starts_nothing_and_reads_no_environment(graph: ModuleGraph) -> None:
    names = [name for name in sorted(graph.files) if not tops(graph.reach([name], deferred=False)) & WORKER_EXTRA]
    assert "sluice.worker.app" in names
    told = importing(names)
    assert told["threads"] == ["MainThread"]
    assert told["loops"] == 0
    assert told["readers"] == []


@pytest.mark.torch
@pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed")
@pytest.mark.timeout(300)
def test_importing_what_a_worker_has_starts_nothing_and_reads_no_environment(graph: ModuleGraph) -> None:
    names = [name for name in sorted(graph.files) if tops(graph.reach([name], deferred=False)) & WORKER_EXTRA]
    assert "sluice.engine.encoder.torch_backend" in names
    told = importing(names)
    assert told["threads"] == ["MainThread"]
    assert told["loops"] == 0
    assert told["readers"] == []

"""What is declared, what images install and what is pinned are one list, kept in three files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
needs_worker_extra = pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed")


def project() -> dict[str, Any]:
    """The project's table of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def lines(name: str) -> list[str]:
    """A requirements file without its comments."""
    text = (ROOT / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def constraints() -> dict[str, Requirement]:
    """What constraints.txt says, by name."""
    return {canonicalize_name(one.name): one for one in map(Requirement, lines("constraints.txt"))}


def direct() -> list[Requirement]:
    """What `.[worker,dev]` asks for itself, on this machine."""
    extras = project()["optional-dependencies"]
    wanted = map(Requirement, [*project()["dependencies"], *extras["worker"], *extras["dev"]])
    return [one for one in wanted if one.marker is None or one.marker.evaluate()]


def needed() -> Iterator[tuple[str, Requirement]]:
    """Who needs what, by way of all that is installed for `.[worker,dev]`."""
    waiting = [("sluice", one) for one in direct()]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        source, wanted = waiting.pop()
        yield source, wanted
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in metadata.requires(name) or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((name, one))


def test_images_of_router_and_governor_install_the_dependencies() -> None:
    assert lines("deploy/requirements-base.txt") == project()["dependencies"]


def test_images_of_workers_install_the_worker_extra_on_top() -> None:
    extra = project()["optional-dependencies"]["worker"]
    assert lines("deploy/requirements-worker.txt") == ["-r requirements-base.txt", *extra]


def test_the_image_of_the_gpu_worker_installs_the_precision_extra_too() -> None:
    assert lines("deploy/requirements-precision.txt") == project()["optional-dependencies"]["precision"]


def test_every_constraint_is_one_version_of_one_distribution() -> None:
    pins = constraints()
    for name, one in pins.items():
        assert [pin.operator for pin in one.specifier] == ["=="], name
    assert len(pins) == len(lines("constraints.txt"))


@pytest.mark.parametrize("wanted", direct(), ids=lambda one: one.name)
def test_what_is_asked_for_is_pinned_within_what_is_admitted(wanted: Requirement) -> None:
    pin = next(iter(constraints()[canonicalize_name(wanted.name)].specifier))
    assert wanted.specifier.contains(pin.version)


@pytest.mark.torch
@needs_worker_extra
def test_everything_that_is_installed_with_it_is_pinned_too() -> None:
    pins = constraints()
    loose = []
    for source, wanted in needed():
        # torch's accelerator wheels pin what they bring, which is theirs to choose.
        exact = any(one.operator == "==" for one in wanted.specifier)
        if canonicalize_name(wanted.name) not in pins and not (exact and source != "sluice"):
            loose.append(f"{wanted.name}, for {source}")
    assert loose == []


@pytest.mark.torch
@needs_worker_extra
def test_what_is_installed_here_is_what_is_pinned() -> None:
    different = {}
    for _, wanted in needed():
        pin = constraints().get(canonicalize_name(wanted.name))
        installed = metadata.version(wanted.name)
        if pin is not None and not pin.specifier.contains(installed):
            different[wanted.name] = installed
    assert different == {}, "this environment is older than constraints.txt"


@pytest.mark.torch
@needs_worker_extra
def test_nothing_is_pinned_that_nobody_needs() -> None:
    assert constraints().keys() - {canonicalize_name(wanted.name) for _, wanted in needed()} == set()

"""What there is still to take: the machine's, or the container's if that is less."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.worker.resources.memory import free_memory_bytes
from sluice.worker.resources.reading import MonitorError
from tests.unit.worker.machine import GOOD, cgroup, confine


@pytest.mark.parametrize(
    ("files", "free"),
    [({}, 700), ({**GOOD, "max": "max\n"}, 700), (GOOD, 500), ({**GOOD, "max": "9000\n"}, 700)],
    ids=["no group", "no limit", "less in the container", "less on the machine"],
)
def test_the_lower_of_machine_and_container_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], free: float
) -> None:
    confine(monkeypatch, cgroup(tmp_path / "root", **files), available=700)
    assert free_memory_bytes() == free


def test_the_least_that_any_group_has_left_counts_and_not_what_the_fullest_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = cgroup(tmp_path / "root", max="10000\n", current="9000\n", stat="")
    cgroup(root / "pod", max="1000\n", current="400\n", stat="")
    confine(monkeypatch, root, group="/pod", available=5_000)
    assert free_memory_bytes() == 600


def test_what_cannot_be_read_is_not_taken_for_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    confine(monkeypatch, cgroup(tmp_path / "root", **{**GOOD, "current": "what?\n"}), available=700)
    with pytest.raises(MonitorError):
        free_memory_bytes()

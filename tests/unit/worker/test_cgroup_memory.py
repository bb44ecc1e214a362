"""A control group's memory, and what of it is really in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.worker.resources.memory import CgroupMemory, memory_of
from sluice.worker.resources.reading import MonitorError
from tests.unit.worker.machine import GOOD, cgroup, monitor


def ratio(watch: CgroupMemory) -> float | None:
    memory = watch.read().memory
    return None if memory is None else memory.ratio


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (GOOD, 0.5),
        ({**GOOD, "stat": "anon 900\n"}, 0.9),
        ({**GOOD, "stat": ""}, 0.9),
        ({**GOOD, "stat": "inactive_file 100\nactive_file 300\n"}, 0.5),
        ({**GOOD, "stat": "inactive_file 100\nactive_file 300\nfile_mapped 350\n"}, 0.85),
        ({**GOOD, "stat": "inactive_file 10\nfile_mapped 350\n"}, 0.9),
        ({**GOOD, "current": "1200\n", "stat": "inactive_file 0\n"}, 1.0),
        ({**GOOD, "current": "100\n"}, 0.0),
    ],
    ids=["reclaimable", "no file pages", "empty", "active too", "mapped", "more mapped", "over", "all reclaimable"],
)
def test_memory_counts_without_what_can_be_reclaimed(tmp_path: Path, files: dict[str, str], expected: float) -> None:
    memory = memory_of(cgroup(tmp_path, **files))
    assert memory is not None
    assert memory.ratio == pytest.approx(expected)


@pytest.mark.parametrize(
    "files", [{}, {**GOOD, "max": "max\n"}, {"stat": "anon 1\n"}], ids=["root", "max", "stat only"]
)
def test_a_group_without_a_limit_has_no_say(tmp_path: Path, files: dict[str, str]) -> None:
    assert memory_of(cgroup(tmp_path, **files)) is None


@pytest.mark.parametrize(
    "files",
    [
        {"current": "900\n", "stat": ""},
        {"max": "1000\n", "stat": ""},
        {"max": "1000\n", "current": "900\n"},
        {**GOOD, "max": "what?\n"},
        {**GOOD, "max": "\n"},
        {**GOOD, "max": "nan\n"},
        {**GOOD, "max": "0\n"},
        {**GOOD, "max": "-5\n"},
        {**GOOD, "max": "１００\n"},
        {**GOOD, "current": "what?\n"},
        {**GOOD, "current": "-900\n"},
        {**GOOD, "current": ""},
        {**GOOD, "stat": "inactive_file -400\n"},
        {**GOOD, "stat": "inactive_file\n"},
        {**GOOD, "stat": "inactive_file many\n"},
    ],
    ids=lambda files: " ".join(f"{name}={content.strip()}" for name, content in files.items()).encode().hex()[:40],
)
def test_files_that_make_no_sense_are_unknown_and_not_empty(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(MonitorError):
        memory_of(cgroup(tmp_path, **files))


def test_a_limit_that_changes_is_seen_at_the_next_look(tmp_path: Path) -> None:
    root = cgroup(tmp_path / "root", **GOOD)
    watch = monitor(root)
    assert ratio(watch) == pytest.approx(0.5)
    cgroup(root, max="2000\n")
    assert ratio(watch) == pytest.approx(0.25)
    cgroup(root, max="max\n")
    assert ratio(watch) is None
    cgroup(root, max="500\n")
    assert ratio(watch) == 1.0


def test_the_fullest_of_all_groups_above_counts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    cgroup(root / "a/b", max="1000\n", current="200\n", stat="")
    cgroup(root / "a", max="1000\n", current="700\n", stat="")
    cgroup(root / "c", max="1000\n", current="990\n", stat="")
    assert ratio(monitor(root, "/a/b")) == pytest.approx(0.7)
    cgroup(root / "a/b", current="800\n")
    assert ratio(monitor(root, "/a/b")) == pytest.approx(0.8)


def test_a_group_that_is_named_by_a_way_out_of_the_mount_is_the_mount(tmp_path: Path) -> None:
    cgroup(tmp_path, max="10\n", current="10\n", stat="")
    root = cgroup(tmp_path / "root", **GOOD)
    assert ratio(monitor(root, "/../../elsewhere")) == pytest.approx(0.5)


def test_a_machine_without_control_groups_has_no_say(tmp_path: Path) -> None:
    assert CgroupMemory(tmp_path / "nothing", tmp_path / "missing").read().memory is None

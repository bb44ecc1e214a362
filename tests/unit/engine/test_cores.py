"""Granted cores, read from cgroup directories made for the purpose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.runtime.cpu import cgroup_of, granted_cores, quota_cores


def quotas(mount: Path, **content: str) -> Path:
    """Write `cpu.max` files by group; `__` in a name is a step down, and `root` the mount itself."""
    for name, text in content.items():
        group = mount if name == "root" else mount.joinpath(*name.split("__"))
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.max").write_text(text)
    return mount


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("100001 100000\n", 2),
        ("100000 100000\n", 1),
        ("5000 100000\n", 1),
        ("25000 10000\n", 3),
        ("max 100000\n", None),
        ("", None),
        ("100000\n", None),
        ("100000 0\n", None),
        ("many few\n", None),
    ],
)
def test_a_quota_is_counted_in_whole_cores_rounded_up(tmp_path: Path, text: str, cores: int | None) -> None:
    assert quota_cores(quotas(tmp_path, root=text)) == cores


def test_no_cgroup_grants_without_limit(tmp_path: Path) -> None:
    assert quota_cores(tmp_path) is None
    assert quota_cores(tmp_path / "nowhere", "a/b") is None


@pytest.mark.parametrize(("group", "cores"), [("pod/worker", 2), ("pod", 4), ("pod/worker/deeper", 2), ("", None)])
def test_the_least_quota_on_the_way_up_holds(tmp_path: Path, group: str, cores: int | None) -> None:
    root = quotas(
        tmp_path,
        root="max 100000",
        pod="400000 100000",
        pod__worker="200000 100000",
        pod__worker__deeper="800000 100000",
        other="100000 100000",
    )
    assert quota_cores(root, group) == cores


def test_an_outer_quota_bounds_an_inner_one_that_says_max(tmp_path: Path) -> None:
    root = quotas(tmp_path, pod="100000 100000", pod__worker="max 100000")
    assert quota_cores(root, "pod/worker") == 1


def test_a_group_named_by_a_way_out_of_the_mount_is_the_mount(tmp_path: Path) -> None:
    root = quotas(tmp_path / "inner", root="300000 100000")
    quotas(tmp_path, root="100000 100000")
    assert quota_cores(root, "../outside") == 3


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("0::/pod/worker\n", "pod/worker"),
        ("4:memory:/old\n1:cpu:/older\n0::/pod\n", "pod"),
        ("0::/\n", ""),
        ("1:cpu:/old\n", ""),
        ("", ""),
    ],
)
def test_the_membership_file_names_the_v2_group(tmp_path: Path, text: str, group: str) -> None:
    file = tmp_path / "cgroup"
    file.write_text(text)
    assert cgroup_of(file) == group


def test_a_platform_without_cgroups_has_no_membership(tmp_path: Path) -> None:
    assert cgroup_of(tmp_path / "none") == ""


def test_the_smaller_of_affinity_and_quota_is_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    membership = tmp_path / "membership"
    membership.write_text("0::/pod\n")
    root = quotas(tmp_path / "cgroup", pod="300000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert granted_cores(root, membership) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert granted_cores(root, membership) == 2
    # macOS and Windows pin nobody.
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert granted_cores(root, membership) == 1

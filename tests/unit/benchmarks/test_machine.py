"""The facts of a machine, as different systems tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine import machine, versions

INTEL = """processor\t: 0
model name\t: Some CPU @ 2.60GHz
flags\t\t: fpu avx2 avx512f avx512_vnni

processor\t: 1
model name\t: Some CPU @ 2.60GHz
flags\t\t: fpu avx2 avx512f avx512_vnni
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm
CPU part\t: 0xd0b
"""


@pytest.mark.parametrize(
    ("told", "features"), [(INTEL, ["avx2", "avx512f", "avx512_vnni"]), (ARM, ["asimddp", "i8mm"]), ("", [])]
)
def test_features_are_those_that_kernels_ask_for(tmp_path: Path, told: str, features: list[str]) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(told, encoding="utf-8")
    assert machine(file)["features"] == features


def test_the_processor_is_named_where_the_system_names_it(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(INTEL, encoding="utf-8")
    assert machine(file)["processor"] == "Some CPU @ 2.60GHz"
    assert machine(tmp_path / "missing")["processor"] != ""


def test_only_what_is_installed_has_a_version() -> None:
    found = versions(["grpcio", "no-such-distribution"])
    assert found.keys() == {"grpcio"}
    assert found["grpcio"][0].isdigit()

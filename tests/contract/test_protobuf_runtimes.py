"""The generated code under every protobuf that pyproject.toml admits: users are not cornered by ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import tier_pb2
from tests.contract.foreign_python import python_with

ROOT = Path(__file__).resolve().parents[2]
# Dependents first, so that none is imported only because another one was before it.
MODULES = sorted(
    (
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("sluice/v1", "sluice/open_inference")
        for path in (ROOT / package).glob("*_pb2*.py")
    ),
    reverse=True,
)


def pinned(name: str) -> str:
    """The requirement by which constraints.txt pins `name`."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def admitted() -> Requirement:
    """What pyproject.toml says of protobuf."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(one for one in map(Requirement, project["dependencies"]) if one.name == "protobuf")


def probe(python: Path | str) -> Mapping[str, str]:
    """What the generated code does under `python`, where every warning is an error."""
    command = [python, "-B", "-W", "error", "-m", "tests.contract.runtime_probe", *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found: Mapping[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def expected() -> str:
    """The probe's request as this process writes it."""
    request = inference_pb2.InferRequest(
        text="où est 我的 parcel?", priority=0.0, minimum_tier=tier_pb2.TIER_LIGHT, top_k=3
    )
    return request.SerializeToString(deterministic=True).hex()


def test_it_works_under_the_pinned_protobuf() -> None:
    found = probe(sys.executable)
    assert f"protobuf=={found['protobuf']}" == pinned("protobuf")
    assert found["request"] == expected()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("protobuf-oldest", "protobuf==6.31.1"),
        ("protobuf-6", "protobuf>=6.33,<7"),
        ("protobuf-7", "protobuf>=7,<8"),
    ],
)
def test_it_works_under_other_protobufs_beside_the_pinned_grpcio(name: str, requirement: str) -> None:
    grpcio = pinned("grpcio")
    found = probe(python_with(name, grpcio, requirement))
    assert Version(found["protobuf"]) in Requirement(requirement).specifier
    assert Version(found["protobuf"]) in admitted().specifier
    assert f"grpcio=={found['grpcio']}" == grpcio
    assert found["request"] == expected()


def test_the_oldest_and_the_newest_that_are_admitted_are_the_ones_that_were_tried() -> None:
    assert {str(one) for one in admitted().specifier} == {">=6.31", "<8"}

"""Generated code is exactly what the contracts generate, and bears the names that other languages need."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from sluice.open_inference import grpc_service_pb2
from sluice.v1 import governor_service_pb2, inference_service_pb2, worker_service_pb2
from tools import generate_protos
from tools.generate_protos import PACKAGES, PROTOS, ROOT, compile_protos, differing


def sources() -> dict[str, FileDescriptor]:
    """The contracts' files by name, found from the services that reach all of them."""
    found: dict[str, FileDescriptor] = {}
    waiting = [
        module.DESCRIPTOR
        for module in (grpc_service_pb2, governor_service_pb2, inference_service_pb2, worker_service_pb2)
    ]
    while waiting:
        file = waiting.pop()
        if not file.name.startswith("google/"):
            found[file.name] = file
            waiting += file.dependencies
    return found


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with everything generated anew."""
    directory = tmp_path_factory.mktemp("generated")
    for package in PACKAGES:
        (directory / package).mkdir(parents=True)
    compile_protos(directory)
    return directory


@pytest.mark.parametrize("package", PACKAGES)
def test_the_checked_in_code_is_what_the_contracts_generate_byte_for_byte(generated: Path, package: str) -> None:
    fresh = {path.name: path.read_bytes() for path in (generated / package).iterdir()}
    held = {path.name: path.read_bytes() for path in (ROOT / package).iterdir() if path.is_file()}
    assert held.keys() == fresh.keys()
    stale = [name for name in fresh if fresh[name] != held[name]]
    assert stale == [], "run make protos"


def test_every_contract_has_messages_stubs_for_type_checkers_and_services(generated: Path) -> None:
    for proto in PROTOS.rglob("*.proto"):
        package = "sluice/open_inference" if proto.parent.name == "open_inference" else "sluice/v1"
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
            assert (generated / package / f"{proto.stem}{suffix}").is_file()


def test_the_check_names_files_that_differ_are_missing_or_are_left_over(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir(parents=True)
        for path in (generated / package).iterdir():
            (tmp_path / package / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(generate_protos, "ROOT", tmp_path)
    assert differing(generated) == []
    with (tmp_path / "sluice/v1/tier_pb2.pyi").open("a") as file:
        file.write("# edited by hand\n")
    (tmp_path / "sluice/v1/model_pb2.py").unlink()
    (tmp_path / "sluice/v1/gone_pb2.py").touch()
    assert differing(generated) == ["sluice/v1/gone_pb2.py", "sluice/v1/model_pb2.py", "sluice/v1/tier_pb2.pyi"]


def test_every_contract_names_its_package_in_go_java_and_c_sharp() -> None:
    files = sources()
    assert len(files) == len(list(PROTOS.rglob("*.proto")))
    for name, file in files.items():
        options = file.GetOptions()
        assert options.go_package.startswith("github.com/sluice-mesh/sluice/gen/go/"), name
        assert ";" in options.go_package, name
        assert options.java_multiple_files, name
        assert options.java_package.startswith("io.sluice."), name
        assert options.csharp_namespace.startswith("Sluice."), name

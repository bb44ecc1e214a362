"""The images: what is in them, what is not, and how much they weigh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.compose_engine import require_engine
from tests.e2e.compose_stack import SERVICES, TAG, ComposeStack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

BASE_IMAGE = "python:3.11-slim"
MAX_ADDED_BYTES = 250_000_000
WITHOUT_TORCH = ("governor", "router")
WITH_TORCH = ("gpu_worker", "cpu_worker")
# Of a worker's steps the last two differ: its own program, and its compiled form with what only the GPU worker needs.
OWN_STEPS = 2


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """The engine, with all images built; nothing is started."""
    require_engine()
    stack = ComposeStack(tmp_path_factory.mktemp("compose"))
    try:
        stack.compose("build")
        yield stack
    finally:
        stack.engine.close()


def run(images: ComposeStack, service: str, *command: str) -> str:
    """What `command` prints in a new container of `service`'s image."""
    output: bytes = images.engine.containers.run(
        f"sluice/{service}:{TAG}", entrypoint=list(command), remove=True, network_disabled=True
    )
    return output.decode()


def installed(images: ComposeStack, service: str) -> set[str]:
    """The names of the distributions that pip finds in an image."""
    listed = run(images, service, "python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    return {line.partition("==")[0].lower() for line in listed.splitlines()}


@pytest.mark.parametrize("service", WITHOUT_TORCH)
def test_router_and_governor_hold_no_torch(images: ComposeStack, service: str) -> None:
    found = installed(images, service)
    assert "grpcio" in found
    assert found.isdisjoint({"torch", "transformers", "onnxruntime", "numpy"})
    looked_for = run(images, service, "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))")
    assert looked_for.strip() == "None"


@pytest.mark.parametrize("service", WITH_TORCH)
def test_workers_hold_torch(images: ComposeStack, service: str) -> None:
    assert {"torch", "transformers", "onnxruntime"} <= installed(images, service)


def test_only_the_gpu_worker_holds_what_low_precisions_need(images: ComposeStack) -> None:
    assert {service for service in WITH_TORCH if "torchao" in installed(images, service)} == {"gpu_worker"}


@pytest.mark.parametrize("service", WITHOUT_TORCH)
def test_router_and_governor_add_at_most_250_megabytes_to_their_base(images: ComposeStack, service: str) -> None:
    base = images.engine.images.get(BASE_IMAGE)
    image = images.engine.images.get(f"sluice/{service}:{TAG}")
    assert image.attrs["RootFS"]["Layers"][: len(base.attrs["RootFS"]["Layers"])] == base.attrs["RootFS"]["Layers"]
    assert 0 < image.attrs["Size"] - base.attrs["Size"] <= MAX_ADDED_BYTES


def test_the_two_workers_share_all_layers_but_their_own_code(images: ComposeStack) -> None:
    gpu, cpu = (images.engine.images.get(f"sluice/{one}:{TAG}").attrs["RootFS"]["Layers"] for one in WITH_TORCH)
    assert gpu[:-OWN_STEPS] == cpu[:-OWN_STEPS]
    assert gpu != cpu


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_as_a_user_without_rights_and_checks_its_own_health(images: ComposeStack, service: str) -> None:
    config = images.engine.images.get(f"sluice/{service}:{TAG}").attrs["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][:4] == ["CMD", "python", "-m", "sluice.transport.health_probe"]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_neither_the_repositorys_history_nor_what_only_developers_need(
    images: ComposeStack, service: str
) -> None:
    listed = run(images, service, "find", "/srv", "-maxdepth", "2").split()
    assert f"/srv/services/{service}" in listed
    for unwanted in ("/srv/.git", "/srv/.venv", "/srv/tests", "/srv/sluice/training"):
        assert unwanted not in listed

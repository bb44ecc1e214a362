"""The mesh in real containers, asked from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import pytest

from sluice import Client, Query
from sluice.cli.demo_requests import Example, read_examples
from sluice.client.answer import Answer
from sluice.domain.enums import MemberKind, QueryClass, Tier
from sluice.domain.errors import SluiceError
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc
from sluice.v1 import health_pb2
from tests.e2e.compose_engine import require_engine
from tests.e2e.compose_stack import REPOSITORY, SERVICES, ComposeStack, published

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

# What each worker serves, and a class of query that prefers it.
WORKERS = {
    "gpu_worker": ({Tier.FULL}, QueryClass.COMPLEX),
    "cpu_worker": ({Tier.LIGHT, Tier.QUANTIZED}, QueryClass.SIMPLE),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """The mesh, built and started once."""
    require_engine()
    with ComposeStack(tmp_path_factory.mktemp("compose")) as running:
        yield running


@pytest.fixture
def mesh(stack: ComposeStack, request: pytest.FixtureRequest) -> Iterator[ComposeStack]:
    """The mesh with all its services up, whatever the test before did to them."""
    stack.heal()
    failed = request.session.testsfailed
    yield stack
    if request.session.testsfailed > failed:
        stack.print_logs()


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """The demo's requests with time to spare: the question here is what gets lost, not how fast shared cores are."""
    found = read_examples(REPOSITORY / "examples" / "requests.jsonl")
    return [replace(one, query=replace(one.query, timeout_s=60)) for one in found]


def send(mesh: ComposeStack, queries: list[Query], midway: Callable[[], None]) -> list[Answer | SluiceError]:
    """Send all, 32 at a time, and call `midway` when a third are answered; the outcomes in the queries' order."""
    outcomes = []
    with Client(mesh.router()) as client:
        for outcome in client.infer_many(queries, max_open=32):
            outcomes.append(outcome)
            if len(outcomes) == len(queries) // 3:
                midway()
    return outcomes


def answers(outcomes: list[Answer | SluiceError]) -> list[Answer]:
    """The outcomes, all of which must be answers."""
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
    assert failed == []
    return [outcome for outcome in outcomes if isinstance(outcome, Answer)]


def serves(mesh: ComposeStack, worker: str) -> bool:
    """Whether `worker` comes to answer what it is preferred for: not at once after a rush, nor after its own start."""
    tiers, query_class = WORKERS[worker]
    with Client(mesh.router()) as client:
        return eventually(lambda: client.infer("where is my parcel?", query_class=query_class).tier in tiers)


def eventually(holds: Callable[[], bool], *, within_s: float = 60) -> bool:
    """Whether `holds` came true in time."""
    give_up_at = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.25)
    return True


def test_the_examples_are_answered_rightly_and_by_all_three_tiers(mesh: ComposeStack, examples: list[Example]) -> None:
    found = answers(send(mesh, [one.query for one in examples], midway=lambda: None))
    assert {answer.tier for answer in found} == {Tier.FULL, Tier.LIGHT, Tier.QUANTIZED}
    right = sum(answer.label == example.label for answer, example in zip(found, examples, strict=True))
    assert right / len(examples) >= 0.9


@pytest.mark.parametrize("worker", WORKERS)
def test_a_killed_worker_costs_no_request_and_serves_again_when_it_is_back(
    mesh: ComposeStack, examples: list[Example], worker: str
) -> None:
    tiers, query_class = WORKERS[worker]
    victim = mesh.container(worker)
    queries, third = [replace(one.query, query_class=query_class) for one in examples], len(examples) // 3
    assert serves(mesh, worker)
    found = answers(send(mesh, queries[:-third], midway=victim.kill))
    victim.reload()
    assert (victim.status, victim.attrs["State"]["ExitCode"]) == ("exited", 137)
    # Outcomes come in the queries' order: of those that went out beside the kill, the last may be from before it.
    found += answers(send(mesh, queries[-third:], midway=lambda: None))
    assert not tiers.isdisjoint(answer.tier for answer in found[:third])
    assert tiers.isdisjoint(answer.tier for answer in found[-third:])
    mesh.heal()
    assert serves(mesh, worker)


def test_a_worker_that_is_stopped_finishes_what_it_has_and_costs_no_request(
    mesh: ComposeStack, examples: list[Example]
) -> None:
    worker = mesh.container("gpu_worker")
    answers(send(mesh, [one.query for one in examples], midway=lambda: worker.stop(timeout=30)))
    worker.reload()
    assert worker.attrs["State"]["ExitCode"] == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_ends_by_itself_with_status_0_when_it_is_stopped(mesh: ComposeStack, service: str) -> None:
    container = mesh.container(service)
    container.stop(timeout=30)
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0


@pytest.mark.parametrize("worker", WORKERS)
def test_a_requests_spans_from_router_and_worker_arrive_in_jaegers_place(mesh: ComposeStack, worker: str) -> None:
    with Client(mesh.router()) as client:
        answer = client.infer("where is my parcel?", query_class=WORKERS[worker][1])
    receiver = mesh.container("jaeger")

    def arrived() -> bool:
        spans = map(json.loads, receiver.logs().decode().splitlines())
        made_by = {span["service"] for span in spans if span["trace_id"] == answer.trace_id}
        return made_by == {"sluice-router", f"sluice-{worker}"}

    assert answer.trace_id
    assert eventually(arrived)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_rights_beyond_its_work(mesh: ComposeStack, service: str) -> None:
    container = mesh.container(service)
    assert container.exec_run(["id", "-u"]).output.decode().strip() == "10001"
    assert b"Read-only file system" in container.exec_run(["touch", "/srv/file"], user="0").output
    assert container.exec_run(["touch", "/tmp/file"]).exit_code == 0  # noqa: S108  in the container
    status = container.exec_run(["cat", "/proc/1/status"]).output.decode()
    held = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff:", "CapBnd:"))]
    assert held == ["0" * 16] * 2


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_take_the_whole_machine(mesh: ComposeStack, service: str) -> None:
    limits = mesh.container(service).attrs["HostConfig"]
    assert 0 < limits["Memory"] <= 3 * 1024**3
    assert 0 < limits["NanoCpus"] <= 2_000_000_000
    assert 0 < limits["PidsLimit"] <= 512


def test_only_the_profile_gpu_reserves_a_device(mesh: ComposeStack) -> None:
    assert mesh.existing() == {*SERVICES, "jaeger"}
    assert not mesh.container("gpu_worker").attrs["HostConfig"]["DeviceRequests"]
    # Made but not started: that needs the device.
    mesh.compose("--profile", "gpu", "up", "--no-start", "gpu_worker_cuda")
    container = mesh.container("gpu_worker_cuda")
    try:
        (device,) = container.attrs["HostConfig"]["DeviceRequests"]
        assert (device["Driver"], device["Count"], device["Capabilities"]) == ("nvidia", 1, [["gpu"]])
        assert "SLUICE_GPU_WORKER_DEVICE=cuda" in container.attrs["Config"]["Env"]
    finally:
        container.remove()


@pytest.fixture(scope="module")
def scaled(stack: ComposeStack) -> Iterator[ComposeStack]:
    """The mesh with two CPU workers and two routers. It is used last in this file: starting them takes a while."""
    stack.heal()
    stack.scale(cpu_worker=2, router=2)
    try:
        yield stack
    except BaseException:
        stack.print_logs()
        raise


def fleet(mesh: ComposeStack) -> list[health_pb2.Member]:
    """The members that the governor tells of."""
    with grpc.insecure_channel(published(mesh.container("governor"), "50050/tcp")) as channel:
        call = governor_grpc.GovernorServiceStub(channel).WatchFleet(governor_pb2.WatchFleetRequest(), timeout=10)
        members = list(next(iter(call)).fleet.members)
        call.cancel()
    return members


def of_kind(mesh: ComposeStack, kind: MemberKind) -> list[health_pb2.Member]:
    """The members of one kind."""
    return [member for member in fleet(mesh) if member.kind == kind.value]


def test_both_of_two_workers_and_both_of_two_routers_take_work(scaled: ComposeStack, examples: list[Example]) -> None:
    queries = [replace(one.query, query_class=QueryClass.SIMPLE) for one in examples]
    routers = [published(container, "50051/tcp") for container in scaled.containers("router")]
    assert len(set(routers)) == 2
    both = {member.id for member in of_kind(scaled, MemberKind.CPU_WORKER)}
    assert len(both) == 2
    for router in routers:
        used: set[str] = set()
        with Client(router) as client:

            def both_took_work(client: Client = client, used: set[str] = used) -> bool:
                # One worker may take a whole round in one batch, and a router may know of the youngest a little later.
                found = answers(list(client.infer_many(queries, max_open=32)))
                used.update(answer.worker for answer in found if answer.tier in WORKERS["cpu_worker"][0])
                return used == both

            assert eventually(both_took_work), (used, both)


def test_scaled_services_have_addresses_of_their_own_and_take_nobodys_place(scaled: ComposeStack) -> None:
    scaled_kinds = {"cpu_worker": MemberKind.CPU_WORKER, "router": MemberKind.ROUTER}
    log = scaled.container("governor").logs().decode().splitlines()
    for service, kind in scaled_kinds.items():
        members = of_kind(scaled, kind)
        networks = [one.attrs["NetworkSettings"]["Networks"] for one in scaled.containers(service)]
        own = {network["IPAddress"] for found in networks for network in found.values()}
        assert {member.address.rpartition(":")[0] for member in members} == own
        assert len(own) == 2
        # The youngest has joined once. Two that took each other's place did so twelve times a second.
        joins = [sum('"joined"' in line and member.id in line for line in log) for member in members]
        assert min(joins) == 1, joins
    assert "duplicate id/address" not in scaled.compose("logs", "--no-color")


def test_a_worker_that_is_scaled_away_costs_no_request(scaled: ComposeStack, examples: list[Example]) -> None:
    queries = [replace(one.query, query_class=QueryClass.SIMPLE) for one in examples]
    answers(send(scaled, queries, midway=lambda: scaled.scale(cpu_worker=1, router=2)))
    assert eventually(lambda: len(of_kind(scaled, MemberKind.CPU_WORKER)) == 1)

"""Stock tritonclient, in an environment and a process of its own, against a mesh of real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.foreign import tritonclient_python
from sluice import __version__
from sluice.cli.mesh import LocalMesh
from sluice.domain.errors import Reason
from tests.conftest import IDENTITY_MESH

SCRIPT = Path(__file__).with_name("oip_client.py")
CLIENTS = ["threads", "asyncio"]
# Not what is worth most by measured times, which differ on a busy machine: the face is what is tested.
BY_CLASS = {**IDENTITY_MESH, "router": {**IDENTITY_MESH["router"], "assignment": "preference"}}
Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def foreign() -> Path:
    try:
        return tritonclient_python()
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"tritonclient cannot be installed here: {error}")


def ask(foreign: Path, address: str, *cases: str) -> Outcomes:
    """What the foreign client makes of each case."""
    ended = subprocess.run([foreign, SCRIPT, address, *cases], capture_output=True, text=True, check=False, timeout=90)
    assert ended.returncode == 0, ended.stderr
    outcomes: Outcomes = json.loads(ended.stdout)
    return outcomes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outcomes]:
    logs = tmp_path_factory.mktemp("logs")
    async with LocalMesh(BY_CLASS, environ=os.environ, free_ports=True, log_directory=logs) as mesh:
        yield ask(foreign, mesh.router)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_server_says_that_it_lives_and_is_ready(outcomes: Outcomes, client: str) -> None:
    said = outcomes[client]
    assert said["live"] is True
    assert said["ready"] is True
    assert said["model ready"] is True
    assert said["unknown model ready"] is False


@pytest.mark.parametrize("client", CLIENTS)
def test_metadata_names_server_tensors_and_variants(outcomes: Outcomes, client: str) -> None:
    server, model = outcomes[client]["server metadata"], outcomes[client]["model metadata"]
    assert (server["name"], server["version"]) == ("sluice", __version__)
    assert "request_priority" in server["extensions"]
    assert (model["name"], model["platform"]) == ("echo", "sluice")
    assert sorted(model["versions"]) == ["echo/full-fp32", "echo/light-fp32", "echo/quantized-fp32"]
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert [(one["name"], one["datatype"]) for one in model["outputs"]] == [("label", "BYTES"), ("score", "FP32")]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("case", "texts"),
    [("one", 1), ("three", 3), ("column", 2), ("a version", 1), ("compressed", 1), ("most", 1024), ("timeout", 1)]
    + [(name, 1) for name in ("no timeout", "priority", "least priority", "request_priority", "unknown parameter")]
    + [("request_priority as a number", 1)],
)
def test_texts_are_answered_row_by_row(outcomes: Outcomes, client: str, case: str, texts: int) -> None:
    answer = outcomes[client][case]
    assert (answer["labels"], answer["scores"]) == (["identity"] * texts, [1.0] * texts)
    assert (answer["model"], answer["version"]) == ("echo", "echo/light-fp32")
    assert answer["order"] == ["label", "score"]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_answer_says_who_gave_it_and_whose_it_is(outcomes: Outcomes, client: str) -> None:
    answer = outcomes[client]["one"]
    assert answer["id"] == "mine"
    parameters = answer["parameters"]
    assert parameters["tier"] == "light"
    assert parameters["worker"].startswith("cpu_worker@")
    assert parameters["queue_ms"] >= 0
    assert parameters["compute_ms"] >= 0
    traced = outcomes[client]["traced"]["parameters"]
    assert traced["trace_id"] == "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("client", CLIENTS)
def test_only_the_outputs_that_were_asked_for_come_in_their_order(outcomes: Outcomes, client: str) -> None:
    said = outcomes[client]
    assert (said["score only"]["order"], said["score only"]["scores"]) == (["score"], [1.0, 1.0])
    assert said["both, turned"]["order"] == ["score", "label"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("case", "tier"), [("complex", "full"), ("real time", "quantized"), ("minimum tier", "full")])
def test_parameters_decide_the_tier(outcomes: Outcomes, client: str, case: str, tier: str) -> None:
    assert outcomes[client][case]["parameters"]["tier"] == tier
    assert outcomes[client][case]["version"] == f"echo/{tier}-fp32"


REFUSED = {
    "unknown model metadata": ("NOT_FOUND", "no worker serves a model named 'nobody'"),
    "unknown model": ("NOT_FOUND", "no worker has offered a model named 'nobody'"),
    "unknown output": ("INVALID_ARGUMENT", "there is no output 'logits'; there are label, score"),
    "unknown class": ("INVALID_ARGUMENT", "parameters.query_class is 'rude', and must be one of simple, complex"),
    "request_priority too high": ("INVALID_ARGUMENT", "request_priority is 1.5, and must lie in [0, 1]"),
    "request_priority no number": ("INVALID_ARGUMENT", "parameters.request_priority is 'high', and must be a number"),
    "negative timeout": ("INVALID_ARGUMENT", "parameters.timeout is -1, and must be a whole number"),
    "tiny timeout": ("DEADLINE_EXCEEDED", "the deadline"),
    "tiny timeout of many": ("DEADLINE_EXCEEDED", "the deadline"),
    "datatype": ("INVALID_ARGUMENT", "tensor 'text' is of datatype BYTES, not FP32"),
    "matrix": ("INVALID_ARGUMENT", "tensor 'text' has shape [n] or [n, 1] with n from 1 to 1024, not [2, 2]"),
    "three dimensions": ("INVALID_ARGUMENT", "tensor 'text' has shape [n] or [n, 1]"),
    "too many": ("INVALID_ARGUMENT", "n from 1 to 1024, not [1025]"),
    "two inputs": ("INVALID_ARGUMENT", "one input tensor is expected, and 2 were sent"),
    "no input": ("INVALID_ARGUMENT", "one input tensor is expected, and 0 were sent"),
    "input name": ("INVALID_ARGUMENT", "the input tensor is named 'text', not 'prompt'"),
    "empty": ("INVALID_ARGUMENT", "the text is empty"),
    "blank": ("INVALID_ARGUMENT", "the text is empty"),
    "one of many empty": ("INVALID_ARGUMENT", "the text is empty"),
    "too long": ("INVALID_ARGUMENT", "the text has 70000 bytes, and 65536 is the most"),
    "not UTF-8": ("INVALID_ARGUMENT", "a text is not UTF-8"),
    "model config": ("UNIMPLEMENTED", ""),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_gets_the_contracts_status_and_a_message(outcomes: Outcomes, client: str, case: str) -> None:
    status, words = REFUSED[case]
    assert outcomes[client][case]["status"] == status
    assert words in outcomes[client][case]["message"]


STUB_REFUSED = {
    "contents not UTF-8": "a text is not UTF-8",
    "fewer than promised": "the shape promises 3 texts, and 2 were sent",
    "raw cut short": "the raw contents end inside a text",
    "raw contents of two": "one tensor was sent with the raw contents of several",
    "negative shape": "n from 1 to 1024, not [-1]",
}


@pytest.mark.parametrize("case", STUB_REFUSED)
def test_what_only_hand_made_messages_get_wrong_is_refused_too(outcomes: Outcomes, case: str) -> None:
    refused = outcomes["stub"][case]
    assert refused["status"] == "INVALID_ARGUMENT"
    assert STUB_REFUSED[case] in refused["message"]


@pytest.mark.parametrize(("case", "texts"), [("contents", 2), ("contents in a column", 2), ("no model named", 1)])
def test_typed_contents_are_read_as_raw_ones_are(outcomes: Outcomes, case: str, texts: int) -> None:
    assert outcomes["stub"][case]["labels"] == ["identity"] * texts
    assert outcomes["stub"][case]["model"] == "echo"


async def test_a_timeout_in_microseconds_ends_a_request_that_no_worker_answers(
    foreign: Path, identity_mesh: LocalMesh
) -> None:
    for name in ("gpu_worker", "cpu_worker"):
        identity_mesh.processes[name].signal(signal.SIGSTOP)
    said = ask(foreign, identity_mesh.router, "300 ms", "live")
    for client in CLIENTS:
        assert said[client]["live"] is True
        assert said[client]["300 ms"]["status"] == "DEADLINE_EXCEEDED"
        assert said[client]["300 ms"]["message"] == "the deadline passed before an answer came"


def test_an_unreachable_router_is_told_as_gRPC_tells_it(foreign: Path) -> None:
    said = ask(foreign, "127.0.0.1:1", "one")
    assert {said[client]["one"]["status"] for client in CLIENTS} == {"UNAVAILABLE"}
    assert Reason.NO_ENDPOINTS not in said["threads"]["one"]["message"]

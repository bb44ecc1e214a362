"""The library's words are the contract's: numbers of enums, reasons of failures with their codes, and defaults."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import EnumDescriptor
from google.rpc import code_pb2

from services.governor.config import GovernorConfig
from services.router.config import RouterConfig
from services.router.requests import validation as bounds
from services.router.requests.request import DEFAULT_PRIORITY
from services.router.requests.sampling_params import DEFAULT_NEW_TOKENS
from sluice.control.directive import DEFAULT_LEASE_S
from sluice.control.fleet import DepartureReason
from sluice.domain import errors
from sluice.domain.enums import Level, MemberKind, QueryClass, Task, Tier
from sluice.domain.errors import Reason, SluiceError
from sluice.domain.status import from_item_status, to_item_status
from sluice.domain.variant import VariantState
from sluice.v1 import degradation_pb2, health_pb2, inference_service_pb2, model_pb2, tier_pb2
from sluice.worker.execution.generator import FinishReason

PROTOS = Path(__file__).resolve().parents[2] / "protos"
SERVICE = (PROTOS / "sluice/v1/inference_service.proto").read_text(encoding="utf-8")
# The design's status contract, §4. Not in it are CANCELLED, the caller's own doing, a text that lost its worker, and an
# answer that its caller cannot take.
STATUS_CONTRACT = {
    "rejected-saturated": "RESOURCE_EXHAUSTED",
    "rejected-priority": "RESOURCE_EXHAUSTED",
    "rejected-ttl-expired": "DEADLINE_EXCEEDED",
    "rejected-no-endpoints": "UNAVAILABLE",
    "rejected-shutting-down": "UNAVAILABLE",
    "unknown-model": "NOT_FOUND",
    "invalid-argument": "INVALID_ARGUMENT",
    "worker-lost": "UNAVAILABLE",
    "worker-failed": "INTERNAL",
    "cancelled": "CANCELLED",
    "answer-too-large": "FAILED_PRECONDITION",
}


def documented() -> dict[str, str]:
    """The table of statuses above InferenceService: the code of every reason."""
    table = re.search(r"programs:\n((?://   .*\n)+)", SERVICE)
    assert table is not None
    code, found = "", {}
    for line in table[1].splitlines():
        row = re.match(r"//   ([A-Z_]+)? *(.*)", line)
        assert row is not None
        code = row[1] or code
        found.update(dict.fromkeys(re.findall(r"(?:^|\. )([a-z-]+):", row[2]), code))
    return found


def failures() -> list[SluiceError]:
    """One of each failure that the library has a class for."""
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, SluiceError)]
    return [kind("what went wrong", retry_after_s=0.25) for kind in kinds if kind is not SluiceError]


@pytest.mark.parametrize(
    ("ours", "theirs", "unspecified"),
    [
        (Tier, tier_pb2.Tier.DESCRIPTOR, True),
        (QueryClass, tier_pb2.QueryClass.DESCRIPTOR, True),
        (Task, tier_pb2.Task.DESCRIPTOR, True),
        (Level, degradation_pb2.DegradationLevel.DESCRIPTOR, False),
        (MemberKind, health_pb2.MemberKind.DESCRIPTOR, False),
        (VariantState, model_pb2.VariantState.DESCRIPTOR, False),
        (DepartureReason, health_pb2.DepartureReason.DESCRIPTOR, False),
        (FinishReason, inference_service_pb2.FinishReason.DESCRIPTOR, False),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_enums_have_the_numbers_of_the_contract(
    ours: type[IntEnum], theirs: EnumDescriptor, *, unspecified: bool
) -> None:
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", theirs.name).upper()
    numbers = {value.name.removeprefix(f"{prefix}_"): value.number for value in theirs.values}
    if not unspecified:
        del numbers["UNSPECIFIED"]
    assert {one.name: one.value for one in ours} == numbers


def test_the_contract_explains_every_reason_under_the_code_of_the_design() -> None:
    assert documented() == STATUS_CONTRACT
    assert {reason.value for reason in Reason} == STATUS_CONTRACT.keys()


def test_every_failure_has_the_code_that_the_contract_gives_its_reason() -> None:
    assert {error.reason.value: error.code.name for error in failures()} == STATUS_CONTRACT


@pytest.mark.parametrize("error", failures(), ids=lambda error: error.reason.value)
def test_every_failure_crosses_the_wire_as_itself(error: SluiceError) -> None:
    message = to_item_status(error)
    assert code_pb2.Code.Name(message.code) == error.code.name
    back = from_item_status(message)
    assert (type(back), back.reason, back.code) == (type(error), error.reason, error.code)
    assert (back.message, back.retry_after_s) == (error.message, error.retry_after_s)


def test_codes_are_spelled_as_grpc_spells_them() -> None:
    assert set(STATUS_CONTRACT.values()) <= {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("sluice/v1/inference_service.proto", f"by default {RouterConfig().max_text_bytes:,} bytes"),
        ("sluice/v1/inference_service.proto", f"(by default {RouterConfig().max_stream_items:,})"),
        ("sluice/v1/inference_service.proto", f"(by default {RouterConfig().priority_threshold}) a request is hot"),
        ("sluice/v1/inference_service.proto", f"default timeout (by default {RouterConfig().default_timeout_s:g} s)"),
        ("sluice/v1/inference_service.proto", f"higher is more important. Absent: {DEFAULT_PRIORITY}"),
        ("sluice/v1/inference_service.proto", f"name for the request, at most {bounds.MAX_REQUEST_ID_BYTES} bytes"),
        ("sluice/v1/inference_service.proto", f"memory for one text, end before. 0: {DEFAULT_NEW_TOKENS}."),
        (
            "sluice/v1/inference_service.proto",
            f"At most {bounds.MAX_STOPS} strings, of 1 to {bounds.MAX_STOP_BYTES} bytes each",
        ),
        ("sluice/v1/inference_service.proto", f"model's name, at most {bounds.MAX_MODEL_BYTES} bytes"),
        ("sluice/v1/inference_service.proto", f"At most {bounds.MAX_CONVERSATION_ID_BYTES} bytes. Empty: no conversa"),
        ("sluice/v1/inference_service.proto", f"longer than {bounds.MAX_TRACEPARENT_BYTES} bytes: the router decides"),
        ("sluice/v1/inference_service.proto", f"More than {bounds.MAX_TIMEOUT_S:,.0f} s count as"),
        ("sluice/v1/inference_service.proto", f"most tokens to write, at most {bounds.MAX_NEW_TOKENS:,};"),
        ("sluice/v1/inference_service.proto", f"Sampling temperature, from 0 to {bounds.MAX_TEMPERATURE:,.0f}."),
        ("sluice/v1/inference_service.proto", f"most probable tokens, at most {bounds.MAX_SAMPLING_TOP_K:,}."),
        ("sluice/v1/governor_service.proto", f"report interval (by default {GovernorConfig().report_interval_ms:g} ms"),
        ("sluice/v1/governor_service.proto", f"renewal interval (by default {GovernorConfig().renew_interval_ms:g} ms"),
        ("sluice/v1/degradation.proto", f"Absent: {DEFAULT_LEASE_S:g} s"),
        ("open_inference/grpc_service.proto", f"up to {bounds.MAX_TEXTS:,} texts"),
        ("open_inference/grpc_service.proto", f"The model's name, at most {bounds.MAX_MODEL_BYTES} bytes"),
        ("open_inference/grpc_service.proto", f"name for the request, at most {bounds.MAX_REQUEST_ID_BYTES} bytes"),
        (
            "open_inference/grpc_service.proto",
            f"at most {bounds.MAX_PARAMETERS}, texts among them of at most {bounds.MAX_PARAMETER_BYTES} bytes",
        ),
        ("open_inference/grpc_service.proto", f"More than {bounds.MAX_TIMEOUT_S:,.0f} s count as"),
        ("open_inference/grpc_service.proto", f"that are wanted, at most {bounds.MAX_OUTPUTS}, in this order"),
        ("open_inference/grpc_service.proto", f"higher is more important. Absent: {DEFAULT_PRIORITY}"),
    ],
)
def test_a_default_that_a_comment_names_is_the_code_s(file: str, sentence: str) -> None:
    prose = re.sub(r"\s+(?://\s*)?", " ", (PROTOS / file).read_text(encoding="utf-8"))
    assert sentence in prose

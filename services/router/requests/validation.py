"""The bounds of every field of every public request, and what is said of a field that breaks its own. Pure.

Nothing behind this module looks at a caller's number again: what passes fits the engine's types (32-bit sampling
parameters, 64-bit seeds), protobuf's durations, and memory. A field that is not named here either takes any value of
its type or is not read at all; tests/integration/test_request_bounds.py lists which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from services.router.requests.request import Request
from services.router.requests.sampling_params import SamplingParams
from sluice.domain.errors import Expired, InvalidRequest
from sluice.open_inference import grpc_service_pb2 as oip_pb2

MAX_MODEL_BYTES = 256
MAX_CONVERSATION_ID_BYTES = 256
MAX_REQUEST_ID_BYTES = 128
# A longer traceparent is treated like any other that is malformed: as none.
MAX_TRACEPARENT_BYTES = 256
# More time than this is cut to it.
MAX_TIMEOUT_S = 86_400.0
# What the engine holds in signed 32-bit integers.
MAX_NEW_TOKENS = 2**31 - 1
MAX_SAMPLING_TOP_K = 2**31 - 1
# Far beyond where sampling is uniform, and far below where a 32-bit float is infinite.
MAX_TEMPERATURE = 1_000_000.0
MAX_STOPS = 16
MAX_STOP_BYTES = 256
# Of an Open Inference Protocol request.
MAX_TEXTS = 1_024
MAX_PARAMETERS = 64
MAX_PARAMETER_BYTES = 256
MAX_OUTPUTS = 2
# Names with so few characters together are within the least of their bounds, whatever the characters.
_SHORT_NAMES = min(MAX_MODEL_BYTES, MAX_CONVERSATION_ID_BYTES, MAX_REQUEST_ID_BYTES) // 4
# So much of a caller's own words is repeated in an error.
_SHOWN = 64


def validate(request: Request, *, max_text_bytes: int, now: float, text_field: str = "text") -> None:
    """Raise InvalidRequest naming the field at fault, or Expired when the deadline has passed at `now`.

    `text_field` is what the request's own contract calls its text.
    """
    # Written so that NaN fails it too.
    if not request.deadline > now:
        raise Expired("the deadline had passed when the request arrived")
    text, model, conversation_id, request_id = request.text, request.model, request.conversation_id, request.request_id
    if not text or text.isspace():
        raise InvalidRequest(f"the {text_field} is empty", field=text_field)
    if len(text) * 4 > max_text_bytes:
        check_size(text, max_text_bytes, text_field)
    if not 0.0 <= request.priority <= 1.0:
        check_priority(request.priority)
    if len(model) + len(conversation_id) + len(request_id) > _SHORT_NAMES:
        check_size(model, MAX_MODEL_BYTES, "model")
        check_conversation(conversation_id)
        check_size(request_id, MAX_REQUEST_ID_BYTES, "request_id")


def validate_sampling(sampling: SamplingParams) -> None:
    """Raise InvalidRequest naming the field at fault."""
    check_number(sampling.max_new_tokens, 1, MAX_NEW_TOKENS, "max_new_tokens")
    check_number(sampling.temperature, 0, MAX_TEMPERATURE, "temperature")
    if not 0.0 < sampling.top_p <= 1.0:
        raise InvalidRequest(f"top_p is {sampling.top_p}, and must lie in (0, 1]", field="top_p")
    check_number(sampling.top_k, 0, MAX_SAMPLING_TOP_K, "top_k")
    if len(sampling.stop) > MAX_STOPS:
        raise InvalidRequest(f"there are {len(sampling.stop)} stop strings, and {MAX_STOPS} is the most", field="stop")
    for stop in sampling.stop:
        if not stop:
            raise InvalidRequest("a stop string is empty", field="stop")
        check_size(stop, MAX_STOP_BYTES, "stop")


def check_size(text: str, most: int, field: str) -> None:
    """Raise InvalidRequest unless `text` has at most `most` bytes of UTF-8."""
    # A character has at most four bytes, so short texts need no encoding to be measured.
    if len(text) * 4 > most and (len(text) > most or len(text.encode()) > most):
        problem = f"the {field} has {len(text.encode())} bytes, and {most} is the most"
        raise InvalidRequest(problem, field=field)


def check_number(value: float, least: float, most: float, field: str) -> None:
    """Raise InvalidRequest unless `value` is a number in [least, most]."""
    # Written so that NaN fails it too.
    if not least <= value <= most:
        raise InvalidRequest(f"{field} is {value}, and must lie in [{least:g}, {most:,.0f}]", field=field)


def check_priority(priority: float, field: str = "priority") -> None:
    """Raise InvalidRequest unless `priority` lies in [0, 1]."""
    if not 0.0 <= priority <= 1.0:
        name = field.rpartition(".")[2]
        raise InvalidRequest(f"{name} is {priority}, and must lie in [0, 1]", field=field)


def check_conversation(conversation_id: str) -> None:
    """Raise InvalidRequest for a conversation's name that is too long to be kept."""
    check_size(conversation_id, MAX_CONVERSATION_ID_BYTES, "conversation_id")


def bounded_traceparent(traceparent: str) -> str:
    """`traceparent`, or an empty string for one that is longer than any that means something."""
    return traceparent if len(traceparent) <= MAX_TRACEPARENT_BYTES else ""


def deadline_after(timeout_s: float, now: float) -> float:
    """The instant `timeout_s` after `now`, or MAX_TIMEOUT_S after it if that is sooner. NaN is no time at all."""
    return now + min(MAX_TIMEOUT_S, timeout_s) if not math.isnan(timeout_s) else now


# The Open Inference Protocol's own. Its parameters are read, and bounded, one by one in open_inference_codec.py.


def check_model_infer(message: oip_pb2.ModelInferRequest) -> None:
    """Raise InvalidRequest for a field of `message` that is larger than it may be; its tensors are read elsewhere."""
    check_size(message.model_name, MAX_MODEL_BYTES, "model_name")
    check_size(message.id, MAX_REQUEST_ID_BYTES, "id")
    if len(message.parameters) > MAX_PARAMETERS:
        problem = f"there are {len(message.parameters)} parameters, and {MAX_PARAMETERS} is the most"
        raise InvalidRequest(problem, field="parameters")


def check_shape(shape: Sequence[int], tensor: str) -> None:
    """Raise InvalidRequest unless `shape` is that of 1 to MAX_TEXTS texts."""
    if len(shape) not in (1, 2) or not 1 <= shape[0] <= MAX_TEXTS or list(shape[1:]) not in ([], [1]):
        found = shown(str(list(shape[:_SHOWN])))
        problem = f"tensor '{tensor}' has shape [n] or [n, 1] with n from 1 to {MAX_TEXTS}, not {found}"
        raise InvalidRequest(problem, field="inputs.shape")


def check_outputs(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """The outputs that are wanted, all of `known` if none is named. Raises InvalidRequest for unknown or too many."""
    wanted = list(names)
    if len(wanted) > MAX_OUTPUTS:
        raise InvalidRequest(f"there are {len(wanted)} outputs, and {MAX_OUTPUTS} is the most", field="outputs")
    for name in wanted:
        if name not in known:
            problem = f"there is no output '{shown(name)}'; there are {', '.join(known)}"
            raise InvalidRequest(problem, field="outputs.name")
    return wanted or list(known)


def shown(words: str) -> str:
    """The beginning of what a caller wrote, to be repeated in an error."""
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"

"""What is never tried again: exactly the request that was confirmed, for so long, and never too many of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.router.lifecycle.quarantine import KEPT_S, MOST_KEPT, Quarantine
from services.router.requests.caller import Caller
from services.router.requests.request import Request
from services.router.requests.sampling_params import SamplingParams
from sluice.domain.errors import WorkerFailed

REQUESTS = st.builds(
    Request,
    model=st.sampled_from(["m", "n", "mn"]),
    text=st.sampled_from(["a", "b", "ab", ""]),
    deadline=st.floats(0, 9),
    priority=st.floats(0, 1),
    top_k=st.sampled_from([0, 3, 2**32 - 1]),
    truncate=st.booleans(),
    request_id=st.sampled_from(["", "x"]),
    caller=st.sampled_from([Caller(), Caller("y")]),
)
SAMPLINGS = st.none() | st.builds(
    SamplingParams,
    max_new_tokens=st.sampled_from([1, 2**32 - 1]),
    temperature=st.sampled_from([0.0, 0.5]),
    top_p=st.sampled_from([0.5, 1.0]),
    top_k=st.sampled_from([0, 2**32 - 1]),
    seed=st.sampled_from([None, 0, 2**64 - 1]),
    stop=st.sampled_from([(), ("a",), ("b",), ("a", "b"), ("ab",)]),
)


def refuses(quarantine: Quarantine, request: Request, sampling: SamplingParams | None, now: float) -> bool:
    wait_s = None
    try:
        quarantine.check(request, sampling, now)
    except WorkerFailed as error:
        wait_s = error.retry_after_s
    assert wait_s is None or 0 < wait_s < KEPT_S + 1e-6
    return wait_s is not None


def meaning(request: Request, sampling: SamplingParams | None) -> tuple[Any, ...]:
    """All that a worker computes by."""
    if sampling is None:
        return request.model, request.text, request.top_k, request.truncate
    return request.model, request.text, sampling


@given(REQUESTS, SAMPLINGS, REQUESTS, SAMPLINGS)
def test_a_request_is_known_by_what_a_worker_computes_by_and_by_nothing_else(
    first: Request, way: SamplingParams | None, second: Request, other: SamplingParams | None
) -> None:
    quarantine = Quarantine()
    assert not refuses(quarantine, first, way, 0.0)
    quarantine.confirm(first, way, 0.0)
    assert refuses(quarantine, first, way, 1.0)
    assert refuses(quarantine, second, other, 1.0) == (meaning(first, way) == meaning(second, other))


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 400)), max_size=20))
def test_each_is_known_for_its_time_since_it_was_confirmed_last(steps: list[tuple[int, float]]) -> None:
    quarantine, now, confirmed_at = Quarantine(), 0.0, dict[int, float]()
    for number, after_s in steps:
        now += after_s
        for known in range(6):
            expected = known in confirmed_at and now < confirmed_at[known] + KEPT_S
            assert refuses(quarantine, Request(model="m", text=f"{known}", deadline=0.0), None, now) == expected
        quarantine.confirm(Request(model="m", text=f"{number}", deadline=0.0), None, now)
        confirmed_at[number] = now


def test_no_more_are_kept_than_may_be_and_the_oldest_go_first() -> None:
    quarantine = Quarantine()
    request = Request(model="m", text="", deadline=0.0)
    for number in range(MOST_KEPT + 10):
        quarantine.confirm(replace(request, text=f"{number}"), None, 0.0)
    assert len(quarantine) == MOST_KEPT
    assert not refuses(quarantine, replace(request, text="9"), None, 1.0)
    assert refuses(quarantine, replace(request, text="10"), None, 1.0)
    assert not refuses(quarantine, replace(request, text="10"), None, KEPT_S)
    assert len(quarantine) == 0


def test_another_process_knows_nothing_of_it() -> None:
    keys = {Quarantine()._key for _ in range(8)}
    assert len(keys) == 8

"""Refusals that are made once and given out many times."""

from __future__ import annotations

import random

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.router.admission.rejection import VARIANTS, RejectionCache
from sluice.domain.enums import Level
from sluice.domain.errors import Outranked, Saturated
from sluice.domain.status import DETAILS_KEY, PUSHBACK_KEY


def refusals(*levels: Level) -> RejectionCache:
    made = RejectionCache(random.Random(1).random)
    made.renew(queue_s=0.1, target_s=0.02, theta=0.25, levels=levels)
    return made


@pytest.mark.parametrize(("kind", "reason"), [(Saturated, "rejected-saturated"), (Outranked, "rejected-priority")])
def test_a_call_and_an_item_are_told_the_same(kind: type[Saturated], reason: str) -> None:
    refusal = refusals(Level.OFFLOAD, Level.LIGHTEN).of(kind, 0.6)
    sent = dict(refusal.trailers)
    item = refusal.item_status
    details = status_pb2.Status.FromString(sent[DETAILS_KEY])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert [one.Unpack(into) for one, into in zip(details.details, (info, retry), strict=True)] == [True, True]
    assert (info.reason, item.reason, refusal.reason.value) == (reason, reason, reason)
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (details.message, item.message) == (refusal.message, refusal.message)
    assert sent["x-sluice-level"] == info.metadata["level"] == item.metadata["level"] == "1,2"
    assert sent["x-sluice-theta"] == info.metadata["theta"] == item.metadata["theta"] == "0.250"
    assert retry.retry_delay == item.retry_after
    assert abs(float(sent[PUSHBACK_KEY]) - item.retry_after.ToMilliseconds()) <= 1


def test_full_service_is_level_0() -> None:
    assert dict(refusals().of(Saturated, 0.6).trailers)["x-sluice-level"] == "0"


def test_the_least_important_get_no_time_to_come_back() -> None:
    refusal = refusals().of(Outranked, 0.1)
    assert dict(refusal.trailers)[PUSHBACK_KEY] == "-1"
    assert not refusal.item_status.HasField("retry_after")


def test_few_are_made_for_many_and_their_times_are_spread() -> None:
    made = refusals()
    given = [made.of(Outranked, 0.6) for _ in range(1_000)]
    assert len({id(one) for one in given}) == VARIANTS
    assert len({one.error().retry_after_s for one in given}) == VARIANTS


def test_they_are_made_anew_when_matters_stand_otherwise() -> None:
    made = refusals()
    before = made.of(Outranked, 0.6)
    made.renew(queue_s=0.0, target_s=0.02, theta=0.5, levels=())
    after = made.of(Outranked, 0.6)
    assert dict(before.trailers)["x-sluice-theta"] != dict(after.trailers)["x-sluice-theta"]


def test_an_error_to_raise_remembers_nobody() -> None:
    refusal = refusals().of(Saturated, 0.6)
    errors = [refusal.error(), refusal.error()]
    for error in errors:
        with pytest.raises(Saturated):
            raise error
    assert errors[0] is not errors[1]
    assert errors[0].__traceback__ is not errors[1].__traceback__
    assert (errors[0].metadata, errors[0].message) == (errors[1].metadata, errors[1].message)

"""Between WorkerService's messages and a worker's own nouns."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import AnswerTooLarge, Expired, Saturated
from sluice.domain.status import from_item_status, seconds_of
from sluice.domain.variant import Variant, from_proto
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import Classification, Embedding, Item, Output
from sluice.worker.execution.batch import BatchOutcome
from sluice.worker.server.codec import NO_DEADLINE, batch_from_proto, result_to_proto, welcome_to_proto


async def test_every_field_of_a_batch_arrives_and_deadlines_count_from_now() -> None:
    batch = worker_pb2.Batch(id=9, variant="m/light-fp32", traceparent="batch trace")
    batch.items.add(id=4, text="a", top_k=2, truncate=True, traceparent="trace", timeout=Duration(seconds=1, nanos=5))
    batch.items.add(id=5, text="b")
    batch.items.add(id=6, text="c", timeout=Duration())
    work = batch_from_proto(batch, now=100.0)
    assert (work.variant_id, work.traceparent, work.taken_at) == ("m/light-fp32", "batch trace", 100.0)
    first, second, third = work.items
    assert (first.id, first.item, first.traceparent) == (4, Item("a", top_k=2, truncate=True), "trace")
    assert first.deadline == pytest.approx(101.000000005)
    assert (second.item, second.deadline, second.traceparent) == (Item("b"), NO_DEADLINE, "")
    # No time left is not the same as no limit.
    assert third.deadline == 100.0
    assert not work.done.done()


def test_every_kind_of_output_becomes_its_items_outcome() -> None:
    outputs: dict[int, Output] = {
        7: Classification("a", 0.75, (("a", 0.75), ("b", 0.25))),
        8: Embedding((0.5, -1.0)),
        9: Expired("late"),
        10: Saturated("full", retry_after_s=0.5),
    }
    result = result_to_proto(3, BatchOutcome(outputs=outputs, wait_s=0.25, compute_s=1.5)).result
    assert (result.batch_id, seconds_of(result.wait), seconds_of(result.compute)) == (3, 0.25, 1.5)
    assert [item.id for item in result.results] == list(outputs)
    classified, embedded, expired, saturated = result.results
    assert (classified.classification.label, classified.classification.score) == ("a", 0.75)
    assert [(one.label, one.score) for one in classified.classification.scores] == [("a", 0.75), ("b", 0.25)]
    assert list(embedded.embedding.values) == [0.5, -1.0]
    assert isinstance(from_item_status(expired.status), Expired)
    assert from_item_status(saturated.status).retry_after_s == 0.5


def test_a_card_lists_every_variant() -> None:
    variants = [
        Variant(id=f"m/{tier.label}-fp32", model="m", tier=tier, task=Task.FEATURE_EXTRACTION, labels=("x",))
        for tier in (Tier.LIGHT, Tier.QUANTIZED)
    ]
    welcome = welcome_to_proto("w1", variants, draining=True)
    assert (welcome.worker, welcome.draining) == ("w1", True)
    assert [from_proto(one) for one in welcome.variants] == variants


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=20), st.integers(8_000, 40_000))
def test_a_result_that_is_too_large_says_so_of_its_largest_answers_and_keeps_the_others(
    sizes: list[int], most: int
) -> None:
    outputs: dict[int, Output] = {number: Embedding((0.5,) * size) for number, size in enumerate(sizes)}
    response = result_to_proto(1, BatchOutcome(outputs=outputs, wait_s=0.0, compute_s=1.0), most=most)
    assert response.ByteSize() <= most
    results = response.result.results
    assert [one.id for one in results] == list(outputs)
    kept = [size for size, one in zip(sizes, results, strict=True) if one.HasField("embedding")]
    left_out = [size for size, one in zip(sizes, results, strict=True) if one.HasField("status")]
    assert all(isinstance(from_item_status(one.status), AnswerTooLarge) for one in results if one.HasField("status"))
    assert max(kept, default=0) <= min(left_out, default=max(sizes))
    assert not left_out or sum(4 * size for size in sizes) + 200 * len(sizes) > most


def test_a_card_that_is_too_large_leaves_out_labels_and_no_variant() -> None:
    variants = [
        Variant(
            id=f"{name}/full-fp32",
            model=name,
            tier=Tier.FULL,
            task=Task.TEXT_CLASSIFICATION,
            labels=tuple("x" * 1_000 for _ in range(count)),
        )
        for name, count in (("large", 1_000), ("small", 10))
    ]
    welcome = welcome_to_proto("w1", variants, draining=False, most=100_000)
    assert welcome.ByteSize() <= 100_000
    assert [(one.model, len(one.labels)) for one in welcome.variants] == [("large", 0), ("small", 10)]

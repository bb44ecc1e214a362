"""Which resources a request may use, and what becomes of a law when its workers change."""

from __future__ import annotations

from services.router.admission.demand import EdgeDemand
from services.router.admission.resource import Resource
from services.router.admission.resource_map import MAX_DORMANT, ResourceMap
from sluice.domain.enums import Tier
from tests.unit.router.groups import group, variant

FULL, LIGHT = variant("m", Tier.FULL), variant("m", Tier.LIGHT)
CHAT = variant("chat", generates=True)


def mapped() -> ResourceMap:
    return ResourceMap(lambda: Resource(adaptive=True, queue_target_s=None, dice=lambda: 0.5))


def workers(resources: tuple[Resource, ...]) -> list[set[str]]:
    return [set(one.workers) for one in resources]


def route(held: ResourceMap, model: str, tier: int = 0, *, generates: bool = False) -> list[set[str]]:
    demand = EdgeDemand(priority=0.5, hot=False, model=model, minimum_tier=tier, generates=generates)
    return workers(held.route(demand).resources)


def test_a_request_may_use_whoever_serves_an_acceptable_tier() -> None:
    held = mapped()
    held.update([group(FULL, workers=("gpu",)), group(LIGHT, workers=("cpu",)), group(CHAT, workers=("gpu",))],
                defaults={False: "m", True: "chat"})  # fmt: skip
    assert route(held, "m") == [{"gpu"}, {"cpu"}]
    assert route(held, "m", Tier.FULL) == [{"gpu"}]
    assert route(held, "") == [{"gpu"}, {"cpu"}]
    assert route(held, "chat", generates=True) == route(held, "", generates=True) == [{"gpu"}]
    assert route(held, "chat") == route(held, "nobody") == route(held, "m", 99) == []
    batches, texts = held.of_worker("gpu", generates=False), held.of_worker("gpu", generates=True)
    assert batches is not None
    assert texts is not None
    assert batches is not texts


def test_a_variant_of_two_groups_is_theirs_by_their_workers() -> None:
    held = mapped()
    held.update([group(LIGHT, workers=("a", "b", "c")), group(LIGHT, FULL, workers=("d",))], defaults={})
    assert [(set(one.workers), share) for one, share in held.shares(LIGHT.id)] == [
        ({"a", "b", "c"}, 0.75),
        ({"d"}, 0.25),
    ]
    assert held.shares("nobody's") == ()


def test_a_law_goes_with_its_workers_when_their_variants_change_or_they_come_back() -> None:
    held = mapped()
    held.update([group(FULL, workers=("gpu",)), group(LIGHT, workers=("cpu",))], defaults={})
    gpu, cpu = held.resources
    held.update([group(LIGHT, FULL, workers=("gpu",)), group(LIGHT, workers=("cpu",))], defaults={})
    assert held.resources == (gpu, cpu)
    held.update([group(LIGHT, workers=("cpu",))], defaults={})
    assert held.resources == (cpu,)
    held.update([group(FULL, workers=("gpu",)), group(LIGHT, workers=("cpu",))], defaults={})
    assert held.resources == (gpu, cpu)
    # A group that splits keeps its law on one side, and generations never take over that of batches.
    held.update([group(FULL, workers=("gpu",)), group(CHAT, workers=("cpu",))], defaults={})
    assert held.resources[0] is gpu
    assert held.resources[1] is not cpu


def test_workers_that_never_come_back_are_forgotten() -> None:
    held = mapped()
    for number in range(10 * MAX_DORMANT):
        held.update([group(FULL, workers=(f"w{number}",))], defaults={})
    assert len(held._dormant) <= MAX_DORMANT

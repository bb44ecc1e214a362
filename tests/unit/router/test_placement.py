"""From who holds what to the variant that answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.router.fleet_view import FleetView
from services.router.placement import Placement
from services.router.request import Request
from sluice.errors import InvalidRequest, NoEndpoint, UnknownModel
from sluice.tier import QueryClass, Task, Tier
from sluice.variant import Variant, VariantState, variant_id


def variant(tier: Tier, model: str = "m", precision: str = "fp32", state: VariantState = VariantState.READY) -> Variant:
    return Variant(
        id=variant_id(model, tier, precision), model=model, tier=tier, task=Task.TEXT_CLASSIFICATION, state=state
    )


FULL, LIGHT, QUANTIZED = (variant(tier) for tier in (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED))


def placement(*held: Variant, default_model: str = "", backlog: dict[str, float] | None = None) -> Placement:
    made = Placement(default_model=default_model, backlog=lambda name: (backlog or {}).get(name, 0))
    made.update([held])
    return made


def asks(model: str = "m", text: str = "hello", **more: object) -> Request:
    return Request(model=model, text=text, deadline=1.0, **more)  # type: ignore[arg-type]


def test_workers_that_hold_the_same_variant_make_it_one() -> None:
    view = FleetView().with_workers([[LIGHT], [LIGHT, FULL]])
    assert view.serving == {"m": {Tier.FULL: (FULL.id,), Tier.LIGHT: (LIGHT.id,)}}
    assert view.models() == {"m": (FULL, LIGHT)}


def test_only_what_is_ready_is_served() -> None:
    loading, unloading = replace(FULL, state=VariantState.LOADING), replace(LIGHT, state=VariantState.UNLOADING)
    view = FleetView().with_workers([[loading, unloading, QUANTIZED]])
    assert list(view.variants) == [QUANTIZED.id]
    assert view.offered == {"m": frozenset({Tier.QUANTIZED})}


def test_a_variant_that_one_worker_unloads_is_still_served_by_another() -> None:
    unloading = replace(LIGHT, state=VariantState.UNLOADING)
    for held in ([[unloading], [LIGHT]], [[LIGHT], [unloading]]):
        assert FleetView().with_workers(held).variants == {LIGHT.id: LIGHT}


def test_what_was_ever_offered_is_remembered_and_a_view_never_changes() -> None:
    first = FleetView().with_workers([[FULL]])
    second = first.with_workers([[LIGHT, variant(Tier.LIGHT, "other")]])
    assert first.offered == {"m": frozenset({Tier.FULL})}
    assert second.offered == {"m": frozenset({Tier.FULL, Tier.LIGHT}), "other": frozenset({Tier.LIGHT})}
    assert set(second.serving["m"]) == {Tier.LIGHT}


def test_a_request_that_names_no_class_gets_one_by_its_text() -> None:
    request = asks(text="Not this one. If it is late, but only then, send another.")
    assert placement(FULL, LIGHT).place(request).variant_id == FULL.id
    assert request.query_class is QueryClass.COMPLEX


def test_a_class_that_the_caller_names_is_not_guessed_over() -> None:
    request = asks(text="Not this one. If it is late, but only then.", query_class=QueryClass.REAL_TIME)
    assert placement(FULL, LIGHT, QUANTIZED).place(request).variant_id == QUANTIZED.id
    assert request.query_class is QueryClass.REAL_TIME


def test_among_equal_variants_the_one_with_the_shorter_queue_is_taken() -> None:
    other = variant(Tier.LIGHT, precision="bf16")
    chosen = placement(LIGHT, other, backlog={other.id: 3}).place(asks())
    assert chosen.variant_id == LIGHT.id


def test_the_only_model_need_not_be_named_and_the_request_then_carries_its_name() -> None:
    request = asks(model="")
    assert placement(LIGHT).place(request).variant_id == LIGHT.id
    assert request.model == "m"


def test_the_default_model_answers_those_who_name_none() -> None:
    both = placement(LIGHT, variant(Tier.LIGHT, "other"), default_model="other")
    assert both.place(asks(model="")).variant_id == "other/light-fp32"


def test_of_several_models_one_must_be_named() -> None:
    with pytest.raises(InvalidRequest, match="m, other") as caught:
        placement(LIGHT, variant(Tier.LIGHT, "other")).place(asks(model=""))
    assert caught.value.field == "model"


def test_a_model_that_nobody_ever_offered_is_unknown_and_one_that_has_gone_is_not() -> None:
    place = placement(LIGHT, variant(Tier.LIGHT, "other"))
    with pytest.raises(UnknownModel):
        place.place(asks(model="nobody"))
    place.update([[LIGHT]])
    with pytest.raises(NoEndpoint):
        place.place(asks(model="other"))


def test_before_any_worker_has_come_no_model_is_called_unknown() -> None:
    with pytest.raises(NoEndpoint):
        placement().place(asks())


def test_a_tier_that_was_served_once_and_is_down_is_what_an_answer_was_degraded_from() -> None:
    place = placement(FULL, LIGHT)
    place.update([[LIGHT]])
    assert place.place(asks(query_class=QueryClass.COMPLEX)).degraded_from is Tier.FULL
    with pytest.raises(NoEndpoint):
        place.place(asks(minimum_tier=Tier.FULL))

"""Which model a request means that names none."""

from __future__ import annotations

import pytest

from services.router.scheduling.model_registry import ModelRegistry, resolve
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, UnknownModel
from sluice.domain.variant import Variant, variant_id


def view(**tasks: Task) -> ModelRegistry:
    """A worker with a model of each name."""
    variants = [
        Variant(id=variant_id(model, Tier.FULL, "fp32"), model=model, tier=Tier.FULL, task=task)
        for model, task in tasks.items()
    ]
    return ModelRegistry().with_workers([variants])


INTENT, CHAT = Task.TEXT_CLASSIFICATION, Task.TEXT_GENERATION


@pytest.mark.parametrize(("writes", "meant"), [(False, "intent"), (True, "chat")])
@pytest.mark.parametrize("default", ["", "intent", "chat"])
def test_the_only_model_that_does_what_is_asked_is_meant_whatever_the_default_is(
    default: str, writes: bool, meant: str
) -> None:
    assert resolve("", view(intent=INTENT, chat=CHAT), default=default, writes=writes) == meant


def test_a_default_is_meant_among_several_that_do_what_is_asked() -> None:
    seen = view(intent=INTENT, mood=INTENT, chat=CHAT)
    assert resolve("", seen, default="mood") == "mood"
    with pytest.raises(InvalidRequest, match="intent, mood"):
        resolve("", seen, default="")


def test_a_model_that_is_named_is_meant_whatever_it_does() -> None:
    assert resolve("intent", view(intent=INTENT, chat=CHAT), default="", writes=True) == "intent"


def test_where_no_model_does_what_is_asked_the_one_there_is_is_meant_so_that_it_can_be_told_what_it_does() -> None:
    assert resolve("", view(intent=INTENT), default="", writes=True) == "intent"


def test_a_default_that_nobody_serves_is_unknown_and_nobody_at_all_is_no_endpoint() -> None:
    with pytest.raises(UnknownModel):
        resolve("", view(intent=INTENT, mood=INTENT), default="gone")
    with pytest.raises(NoEndpoint):
        resolve("", ModelRegistry(), default="intent")

"""Plans: as many constructs as were asked for, and only such changes of mind as there is something to change."""

from __future__ import annotations

from random import Random

import pytest

from sluice.training.plan import ASIDES, CORES, MANNERS, MENTIONS, draw

DRAWS = 400


@pytest.mark.parametrize("complexity", range(8))
def test_a_plan_has_the_complexity_that_was_asked_for(complexity: int) -> None:
    rng = Random(complexity)
    for _ in range(DRAWS):
        plan = draw(rng, complexity)
        assert plan.complexity == len(plan.constructs) == complexity
        assert len(set(plan.extras)) == len(plan.extras)
        assert set(plan.extras) <= {*MENTIONS, *ASIDES, *MANNERS}


def test_a_change_is_taken_back_only_after_it_was_made() -> None:
    rng = Random(0)
    seen = set()
    for _ in range(DRAWS * 10):
        plan = draw(rng, rng.randrange(8))
        for before, update in zip(("", *plan.updates), plan.updates, strict=False):
            seen.add(update)
            if update == "revert":
                assert before in {"correction", "repick"}
            elif update == "redo":
                assert before == "revert"
            elif update == "repick":
                assert plan.core == "options"
            elif update == "restore":
                assert before not in {"", "restore"}
    assert seen == {"correction", "repick", "revert", "redo", "restore"}


def test_every_way_to_ask_is_drawn() -> None:
    rng = Random(1)
    assert {draw(rng, 4).core for _ in range(DRAWS)} == set(CORES)
    assert {draw(rng, 0).core for _ in range(DRAWS)} == {"plain"}


@pytest.mark.parametrize("complexity", [-1, 8])
def test_a_complexity_out_of_range_is_refused(complexity: int) -> None:
    with pytest.raises(ValueError, match=f"complexity {complexity} is outside 0..7"):
        draw(Random(0), complexity)

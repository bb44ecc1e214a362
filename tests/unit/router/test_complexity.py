"""How complex a text is taken to be, and where that judgement comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.scheduling.complexity import (
    FEATURES,
    SHIPPED,
    UNKNOWN,
    Weights,
    features,
    load_complexity,
    read_weights,
)
from sluice.runtime.config import ConfigError
from sluice.training.dataset import generate
from sluice.training.phrasebook import load

judge = load_complexity("")


@given(st.text() | st.text(alphabet="\ud800不。 ,.?"))
def test_any_text_has_a_complexity_between_nothing_and_one(text: str) -> None:
    assert 0.0 <= judge(text) <= 1.0


@given(st.text(), st.text(max_size=20))
def test_more_text_is_never_simpler(text: str, more: str) -> None:
    assert judge(f"{text} {more}") >= judge(text) - 1e-9


def test_the_surface_is_counted_in_both_languages() -> None:
    assert features("Where is it? Not here.") == (22**0.5, 0.0, 2, 1)
    assert features("If not, wait. But no") == (20**0.5, 0.0, 1, 4)
    assert features("不要。但是abc。") == (3**0.5, 6**0.5, 2, 2)


def test_on_messages_held_out_the_judgement_ranks_them_nearly_as_they_were_made() -> None:
    messages = generate("test_held_out", 800, book=load(), seed=11)
    by_step = [[judge(one.text) for one in messages if one.complexity == step] for step in range(8)]
    means = [sum(values) / len(values) for values in by_step]
    assert means == sorted(means)
    off = [abs(judge(one.text) * 7 - one.complexity) for one in messages]
    assert sum(off) / len(off) < 0.6


def test_what_is_shipped_says_how_well_it_was_measured() -> None:
    content = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert set(content["weights"]) == set(FEATURES)
    assert min(split["spearman"] for split in content["measured"].values()) > 0.95


def written(directory: Path, **content: object) -> str:
    file = directory / "weights.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_other_coefficients_are_read_from_a_file(tmp_path: Path) -> None:
    weights = dict.fromkeys(FEATURES, 0.0)
    other = load_complexity(written(tmp_path, intercept=0.25, weights=weights))
    assert other("anything") == 0.25


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"intercept": 0.1, "weights": {}},
        {"intercept": "much", "weights": dict.fromkeys(FEATURES, 0.0)},
        {"intercept": 0.1, "weights": dict.fromkeys(FEATURES, -1.0)},
        {"intercept": float("nan"), "weights": dict.fromkeys(FEATURES, 0.0)},
        {"intercept": 0.1, "weights": dict.fromkeys(FEATURES, float("nan"))},
    ],
)
def test_coefficients_that_make_no_sense_are_refused_with_the_files_name(
    tmp_path: Path, content: dict[str, object]
) -> None:
    file = written(tmp_path, **content)
    with pytest.raises(ConfigError, match=r"router\.complexity_model: .*weights\.json"):
        load_complexity(file)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_weights(Path("nowhere"))


def plugged(text: str) -> float:
    if "fail" in text:
        raise RuntimeError("no judgement")
    return {"nan": float("nan"), "far": 99.0}.get(text, 0.5)


NO_CALLABLE = 1.0


def silly(text: str) -> float:
    return 7.0


def test_a_callable_may_judge_and_its_failures_cost_nobody_anything() -> None:
    judged = load_complexity(f"{__name__}:plugged")
    assert [judged(text) for text in ("text", "fail", "nan", "far")] == [0.5, UNKNOWN, UNKNOWN, 1.0]


@pytest.mark.parametrize(
    "source", ["no.such.module:judge", f"{__name__}:nothing", f"{__name__}:NO_CALLABLE", f"{__name__}:silly"]
)
def test_a_callable_that_cannot_judge_is_refused_at_the_start(source: str) -> None:
    with pytest.raises(ConfigError, match=r"router\.complexity_model: .*:"):
        load_complexity(source)


def test_a_linear_model_never_leaves_its_range() -> None:
    assert Weights(-5.0, (0.0,) * len(FEATURES))("text") == 0.0
    assert Weights(5.0, (0.0,) * len(FEATURES))("text") == 1.0

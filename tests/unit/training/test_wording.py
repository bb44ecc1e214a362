"""Templates, partitions and typing errors: the small parts that words are made with."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.training.partition import lies_in, partition_of, sentences_of
from sluice.training.template import parse
from sluice.training.typing_errors import misspell


def expansions(line: str) -> set[str]:
    return {parse(line).expand(Random(seed), lambda name: f"<{name}>") for seed in range(60)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain words", {"plain words"}),
        ("(a|b) c", {"a c", "b c"}),
        ("[please] go", {"please go", "go"}),
        ("to {city}", {"to <city>"}),
        ("(a|[b|{slot}] c)", {"a", "b c", "<slot> c", "c"}),
        ("two   blanks", {"two blanks"}),
    ],
)
def test_a_template_expands_to_each_of_its_choices(line: str, expected: set[str]) -> None:
    assert expansions(line) == expected


@pytest.mark.parametrize("line", ["(a|b", "a)", "[a", "a|b", "(a]", "((a)"])
def test_a_template_with_a_stray_bracket_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="bracket"):
        parse(line)


def test_sentences_are_cut_after_their_marks_in_both_scripts() -> None:
    assert sentences_of("One. Two? 三。四！Five 9.50 euros. Six") == (
        "One.",
        "Two?",
        "三。",
        "四！",
        "Five 9.50 euros.",
        "Six",
    )


def test_partitions_have_the_shares_that_they_should() -> None:
    counted = [partition_of(f"sentence number {number}") for number in range(20_000)]
    for name, share in {"train": 0.80, "validation": 0.05, "test": 0.15}.items():
        assert counted.count(name) / len(counted) == pytest.approx(share, abs=0.012)


@given(st.text(min_size=1))
def test_a_sentence_belongs_to_one_partition_however_it_is_spaced(sentence: str) -> None:
    name = partition_of(sentence)
    assert partition_of(f"  {sentence.strip()} ") == name
    assert [one for one in ("train", "validation", "test") if one == name] == [name]


def test_a_text_lies_in_a_partition_only_with_all_its_sentences() -> None:
    sentences = [f"Sentence {number}." for number in range(60)]
    train = [one for one in sentences if partition_of(one) == "train"]
    test = [one for one in sentences if partition_of(one) == "test"]
    assert lies_in(f"{train[0]} {train[1]}", "train")
    assert not lies_in(f"{train[0]} {test[0]}", "train")
    assert not lies_in(f"{train[0]} {test[0]}", "test")


WRITTEN = (
    "I do not want to cancel order SL-48211, I never did, mail anna@mail.com",
    "我不想取消订单A6380，我没说过第一个，别退货",
)


@pytest.mark.parametrize("text", WRITTEN, ids=["en", "zh"])
def test_typing_errors_spare_numbers_addresses_and_what_turns_the_meaning(text: str) -> None:
    changed = set()
    for seed in range(200):
        slipped = misspell(text, Random(seed))
        changed.add(slipped)
        assert [char for char in slipped if char.isdigit()] == [char for char in text if char.isdigit()]
        for kept in ("anna@mail.com", "SL-", "not", " I "):
            assert (kept in slipped) is (kept in text)
        for char in "不没别第一":
            assert slipped.count(char) == text.count(char)
    assert len(changed) > 5
    assert text not in changed


def test_a_text_without_a_word_to_mistype_stays() -> None:
    assert misspell("No 9.50 ?!", Random(0)) == "No 9.50 ?!"

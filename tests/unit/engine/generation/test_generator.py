"""The generator as a worker sees it: prompts in, pieces out, and exactly one last piece for each, whatever happens."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken
from transformers import AutoTokenizer

from sluice.domain.enums import Task
from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint, Saturated, WorkerFailed
from sluice.engine.checkpoint.errors import NAN_LOGITS
from sluice.worker.execution.generator import Breakable, Chunk, FinishReason, GenerationEngine, Tried
from sluice.worker.models.registry import release
from tests.unit.engine import tiny
from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.generators import PAGE, Desk, desk, generated, generator_of, until, written

pytestmark = pytest.mark.torch
LONGEST = 256
PROMPT = "where is my parcel?"
"""Five tokens or so."""


@pytest.fixture(scope="module", params=["deepseek_v3", "qwen2"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with latents and one with grouped heads."""
    home = tmp_path_factory.mktemp("writes") / request.param
    return tiny.write_language_model(home, request.param, max_position_embeddings=LONGEST, eos_token_id=None)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for what does not depend on the architecture."""
    home = tmp_path_factory.mktemp("writes") / "plain"
    return tiny.write_language_model(home, "qwen2", max_position_embeddings=LONGEST, eos_token_id=None)


@pytest.fixture(params=[False, True], ids=["one step after the other", "steps prepared ahead"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to turn a loop."""
    if request.param:
        prepare_ahead(monkeypatch)


def assert_idle(at: Desk) -> None:
    """Nothing is open, reserved or remembered."""
    until(lambda: not at.scheduler.has_pending_requests() and not at.writer.cancel_queue.qsize())
    until(lambda: at.scheduler.reserved_tokens == 0)
    assert at.generator._open == at.generator._numbers == {}


def test_it_is_a_generator_and_says_what_it_can(checkpoint: Path) -> None:
    with desk(checkpoint, texts=5, pages=12) as at:
        assert isinstance(at.generator, GenerationEngine)
        variant = at.generator.variant
        assert (variant.id, variant.task) == ("chat/full-fp32", Task.TEXT_GENERATION)
        assert (variant.cache_tokens, variant.max_generations) == (12 * PAGE, 5)
        assert variant.max_tokens == LONGEST
        assert at.generator.busy_s == 0
        at.text(1)
        assert at.generator.busy_s > 0
        assert not at.generator.is_device_lost()


@pytest.mark.usefixtures("both_ways")
def test_pieces_join_to_what_generate_writes(checkpoint: Path) -> None:
    texts = [*tiny.TEXTS, "a", "where is my parcel? " * 8]
    with desk(checkpoint, texts=4) as at:
        for key, text in enumerate(texts):
            at.begin(key, text, 30)
        for key, text in enumerate(texts):
            expected, tokens = written(checkpoint, text, 30)
            last = at.ear.last(key)
            assert at.ear.text(key) == expected
            assert (last.tokens, last.finish) == (tokens, FinishReason.LENGTH)
            assert last.prompt_tokens == len(tiny.tokenizer()(text)["input_ids"])
            counts = [piece.tokens for piece in at.ear.pieces[key]]
            assert counts == sorted(counts)
        assert len(at.ear.pieces[0]) == 30
        assert_idle(at)


def test_an_end_token_of_the_checkpoint_ends_a_text(plain: Path, tmp_path: Path) -> None:
    tokens = generated(plain, tiny.tokenizer()(PROMPT)["input_ids"], 30)
    end = tokens[4]
    home = tiny.write_language_model(tmp_path / "ends", "qwen2", max_position_embeddings=LONGEST)
    for name in ("config.json", "generation_config.json"):
        tiny.edit(home / name, eos_token_id=[end, 1])
    with desk(home) as at:
        text = at.text(1, PROMPT, 30)
        last = at.ear.last(1)
        assert last.finish is FinishReason.STOP
        assert last.tokens == tokens.index(end) + 1
        assert text == tiny.tokenizer().decode(tokens[: last.tokens], skip_special_tokens=True)
        assert_idle(at)


def test_a_stop_string_ends_a_text_before_it(checkpoint: Path) -> None:
    whole, tokens = written(checkpoint, PROMPT, 30)
    stop = whole[len(whole) // 2 :][:3]
    before = whole[: whole.index(stop)]
    with desk(checkpoint) as at:
        assert at.text(1, PROMPT, 30, stop=(stop, "a string that never comes")) == before
        last = at.ear.last(1)
        assert last.finish is FinishReason.STOP
        assert last.tokens < tokens
        assert at.text(2, PROMPT, 30, stop=("a string that never comes",)) == whole
        assert at.ear.last(2).finish is FinishReason.LENGTH
        assert_idle(at)


def test_a_text_ends_where_the_model_has_no_more_positions(plain: Path) -> None:
    with desk(plain) as at:
        at.begin(1, "word " * 40, 10_000)
        last = at.ear.last(1)
        assert last.finish is FinishReason.LENGTH
        assert last.tokens + last.prompt_tokens == LONGEST
        assert_idle(at)


def test_a_prompt_that_is_too_long_is_refused_and_the_longest_is_not(plain: Path) -> None:
    with desk(plain) as at:
        # [CLS], 254 letters and [SEP] are as long as the model.
        at.begin(1, "q" * (LONGEST - 2), 5)
        at.begin(2, "q" * (LONGEST - 3), 5)
        error = at.ear.last(1).error
        assert isinstance(error, InvalidRequest)
        assert (error.field, str(LONGEST) in error.message) == ("prompt", True)
        assert at.ear.last(2).tokens == 1
        assert at.ear.last(2).finish is FinishReason.LENGTH
        assert_idle(at)


def test_one_that_the_cache_could_never_hold_is_refused(plain: Path) -> None:
    with desk(plain, pages=2) as at:
        at.begin(1, "q" * (2 * PAGE - 2), 5)
        at.begin(2, "q" * (2 * PAGE - 3), 5)
        at.begin(3, "q", 50)
        assert isinstance(at.ear.last(1).error, InvalidRequest)
        assert at.ear.last(2).tokens == 1
        assert at.ear.last(3).tokens == 2 * PAGE - 3
        assert_idle(at)


def test_a_prompt_without_words_is_refused(plain: Path) -> None:
    with desk(plain) as at:
        at.begin(1, "")
        error = at.ear.last(1).error
        assert isinstance(error, InvalidRequest)
        assert error.field == "prompt"


def test_a_chat_template_is_applied(plain: Path, tmp_path: Path) -> None:
    home = tiny.write_language_model(tmp_path / "chats", "qwen2", max_position_embeddings=LONGEST, eos_token_id=None)
    (home / "chat_template.jinja").write_text("{{ messages[0]['content'] }} thank you so much, it arrived")
    with desk(home) as at:
        text = at.text(1, PROMPT, 12)
        prompt_tokens = at.ear.last(1).prompt_tokens
    rendered = f"{PROMPT} thank you so much, it arrived"
    ids = tiny.tokenizer()(rendered, add_special_tokens=False)["input_ids"]
    assert prompt_tokens == len(ids)
    expected = tiny.tokenizer().decode(generated(plain, ids, 12), skip_special_tokens=True)
    assert text == expected


def test_a_chat_template_that_cannot_be_used_is_a_fault_of_the_checkpoint(tmp_path: Path) -> None:
    home = tiny.write_language_model(tmp_path / "broken", "qwen2", eos_token_id=None)
    (home / "chat_template.jinja").write_text("{{ raise_exception('no customers') }}")
    with pytest.raises(InvalidRequest, match="no customers") as refused, desk(home):
        pass
    assert refused.value.field == "checkpoint"


def test_seeds_repeat_a_text_and_none_are_all_different(checkpoint: Path) -> None:
    with desk(checkpoint) as at:
        for key in range(4):
            at.begin(key, PROMPT, 20, temperature=1.0, seed=5 if key < 2 else None)
        texts = [at.ear.text(key) for key in range(4)]
        assert texts[0] == texts[1]
        assert len(set(texts)) == 3


@pytest.mark.usefixtures("both_ways")
def test_a_thousand_begun_and_cancelled_leave_nothing(checkpoint: Path) -> None:
    keys = range(1_000)
    with desk(checkpoint, texts=8, pages=40) as at:
        for key in keys:
            at.begin(key, PROMPT, 200)
            if key % 3 == 0:
                at.generator.cancel(key)
        at.ear.begun(1)
        for key in keys:
            at.generator.cancel(key)
            at.generator.cancel(key)
        for last in at.ear.lasts(keys):
            assert isinstance(last.error, Cancelled)
        assert_idle(at)
        assert at.text(1_001, PROMPT, 5)
    assert [sum(piece.is_last for piece in at.ear.pieces[key]) for key in keys] == [1] * len(keys)


def test_cancelling_says_what_was_written(plain: Path) -> None:
    with desk(plain) as at:
        at.begin(1, PROMPT, 200)
        at.ear.begun(1, tokens=3)
        at.generator.cancel(1)
        last = at.ear.last(1)
        assert isinstance(last.error, Cancelled)
        assert last.tokens == max(piece.tokens for piece in at.ear.pieces[1]) >= 3
        assert last.prompt_tokens > 0
        at.generator.cancel(1)
        at.generator.cancel(99)
        assert_idle(at)


def test_a_key_may_be_used_again_after_its_end(plain: Path) -> None:
    expected, _ = written(plain, PROMPT, 20)
    with desk(plain) as at:
        for _ in range(3):
            assert at.text(1) == expected
            at.ear.forget(1)
            at.begin(1, "another one", 200)
            at.ear.begun(1)
            at.generator.cancel(1)
            assert isinstance(at.ear.last(1).error, Cancelled)
            at.ear.forget(1)
        assert_idle(at)


@pytest.mark.usefixtures("both_ways")
def test_closing_ends_what_is_open_and_all_that_comes_later(checkpoint: Path) -> None:
    keys = range(40)
    with desk(checkpoint, texts=4) as at:
        for key in keys:
            at.begin(key, PROMPT, 200)
        at.ear.begun(0, tokens=2)
        at.generator.close()
        busy_s = at.generator.busy_s
        at.begin(100)
        at.generator.cancel(100)
        at.generator.cancel(0)
        for last in at.ear.lasts([*keys, 100]):
            assert isinstance(last.error, NoEndpoint)
        assert busy_s == at.generator.busy_s > 0
        assert not at.generator.is_device_lost()
        assert not at.writer.is_running()
    assert not hasattr(at.writer, "model")
    assert [sum(piece.is_last for piece in at.ear.pieces[key]) for key in keys] == [1] * len(keys)


@pytest.mark.parametrize("compiles", [False, True], ids=["as it is", "compiled"])
@pytest.mark.usefixtures("both_ways")
def test_nothing_large_stays_though_the_collector_is_blind_to_it(
    plain: Path, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    with desk(plain, compiles=compiles) as one:
        one.text(1)
        weights = [weakref.ref(weight) for weight in one.writer.model.parameters()]
        cache = weakref.ref(one.writer.batch_processor.cache.cache_tensor)
        inputs = weakref.ref(one.writer.batch_processor.inputs_and_outputs)
        # As a worker does when it is ready.
        gc.freeze()
        try:
            closing: Any = one.generator
            release(closing)
            assert (cache(), inputs()) == (None, None)
            assert all(weight() is None for weight in weights)
            assert gc.get_freeze_count() > 0
        finally:
            gc.unfreeze()


def test_one_that_never_started_can_be_closed(plain: Path) -> None:
    generator_of(plain).close()
    warm = generator_of(plain)
    warm.warm_up()
    warm.close()
    assert warm.busy_s == 0


class Failing:
    """Makes a model fail from the moment it is told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.fails = threading.Event()

    def __call__(self, model: Any) -> None:
        def look(*_: Any) -> None:
            if self.fails.is_set():
                raise self.error

        model.register_forward_pre_hook(look)


@pytest.mark.usefixtures("both_ways")
def test_a_loop_that_dies_ends_every_text_once_and_takes_no_more(checkpoint: Path) -> None:
    failing = Failing(RuntimeError("the device fell off the bus"))
    keys = range(30)
    with desk(checkpoint, texts=4, spoil=failing) as at:
        for key in keys:
            at.begin(key, PROMPT, 200)
        at.ear.begun(0, tokens=2)
        failing.fails.set()
        for last in at.ear.lasts(keys):
            assert isinstance(last.error, WorkerFailed | NoEndpoint)
        errors = [last.error for last in at.ear.lasts(keys)]
        # Those that failed alone, before a trial did; the others are given back.
        blamed = [error for error in errors if isinstance(error, WorkerFailed)]
        assert 1 <= len(blamed) <= 4
        assert all("fell off the bus" in error.message for error in blamed)
        until(lambda: at.generator.trouble)
        at.begin(100)
        assert isinstance(at.ear.last(100).error, NoEndpoint)
        at.generator.cancel(0)
    assert [sum(piece.is_last for piece in at.ear.pieces[key]) for key in keys] == [1] * len(keys)
    assert not at.generator.is_device_lost()


@pytest.mark.usefixtures("both_ways")
def test_texts_that_come_while_a_loop_dies_are_all_told(plain: Path) -> None:
    for _ in range(5):
        failing = Failing(RuntimeError("gone"))
        with desk(plain, spoil=failing) as at:
            at.begin(0, PROMPT, 200)
            at.ear.begun(0)
            failing.fails.set()
            keys = range(1, 40)
            for key in keys:
                at.begin(key, PROMPT, 20)
            for last in at.ear.lasts([0, *keys]):
                assert isinstance(last.error, WorkerFailed | NoEndpoint)


def test_one_that_comes_when_the_loop_has_stopped_is_told(plain: Path) -> None:
    with desk(plain) as at:
        status = at.writer.background_thread_status
        status.request_stop(status.HARD_STOP, 0)
        until(lambda: not at.writer.is_running())
        at.begin(1)
        assert isinstance(at.ear.last(1).error, NoEndpoint)
        assert at.generator._open == {}


@pytest.mark.usefixtures("both_ways")
def test_no_number_ends_one_text_and_no_other(checkpoint: Path) -> None:
    expected, _ = written(checkpoint, PROMPT, 20)
    words = tiny.tokenizer()
    ids = words(PROMPT)["input_ids"]
    used = {*ids, *generated(checkpoint, ids, 20)}
    bad = next(letter for letter in "zqxjkvw" if words.convert_tokens_to_ids(letter) not in used)

    def spoil(model: Any) -> None:
        with torch.no_grad():
            model.get_input_embeddings().weight[words.convert_tokens_to_ids(bad)] = torch.nan

    with desk(checkpoint, pages=16, spoil=spoil) as at:
        for key in range(12):
            at.begin(key, f"{bad} {PROMPT}" if key % 3 == 0 else PROMPT, 20)
        for key in range(12):
            last = at.ear.last(key)
            if key % 3:
                assert at.ear.text(key) == expected
            else:
                assert isinstance(last.error, WorkerFailed)
                assert last.error.message == NAN_LOGITS
                assert last.tokens == 0
        assert at.text(100, PROMPT, 20) == expected
        assert_idle(at)


@pytest.mark.usefixtures("both_ways")
def test_one_for_whom_there_is_no_room_is_told_to_come_again(plain: Path) -> None:
    expected, _ = written(plain, PROMPT, 20)

    def spoil(model: Any) -> None:
        def look(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
            if kwargs["input_ids"].numel() > 12:
                raise torch.OutOfMemoryError("out of memory")

        model.register_forward_pre_hook(look, with_kwargs=True)

    with desk(plain, spoil=spoil) as at:
        at.begin(0, "q" * 60, 20)
        for key in range(1, 5):
            at.begin(key, PROMPT, 20)
        error = at.ear.last(0).error
        assert isinstance(error, Saturated)
        assert error.retry_after_s is not None
        for key in range(1, 5):
            assert at.ear.text(key) == expected
        assert not at.generator.is_device_lost()
        assert_idle(at)


def test_an_ending_that_cannot_be_read_fails_one_text(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(plain) as at:
        reader = at.generator._reader
        read = reader.read

        def fail(text: str) -> list[int]:
            if text == "unreadable":
                raise RuntimeError("this tokenizer is broken")
            return read(text)

        monkeypatch.setattr(reader, "read", fail)
        at.begin(1, "unreadable")
        assert isinstance(at.ear.last(1).error, WorkerFailed)
        assert at.text(2)
        assert_idle(at)


@pytest.mark.usefixtures("both_ways")
def test_a_token_that_the_model_does_not_embed_is_the_caller_s_mistake(plain: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(plain, more)
    words = AutoTokenizer.from_pretrained(more)
    added = AddedToken("<tool_call>", special=False, normalized=False)
    assert words.add_tokens([added]) == 1
    words.save_pretrained(more)
    with desk(more) as at:
        at.begin(1, "please <tool_call> now")
        at.begin(2, PROMPT, 20)
        error = at.ear.last(1).error
        assert isinstance(error, InvalidRequest)
        assert (error.field, error.message) == ("prompt", "the text holds a token that the model was not made for")
        assert at.ear.text(2) == written(plain, PROMPT, 20)[0]
        assert_idle(at)


def test_a_loop_that_breaks_calls_who_listens(plain: Path) -> None:
    failing = Failing(KeyError("cu_seq_lens_k"))
    failing.fails.set()
    generator = generator_of(plain, spoil=failing)
    assert isinstance(generator, Tried)
    assert isinstance(generator, Breakable)
    called = threading.Event()
    desk_ = Desk(generator)

    def hear(pieces: Sequence[Chunk]) -> None:
        desk_.ear(pieces)
        if not pieces:
            called.set()

    generator.warm_up()
    generator.start(hear)
    for key in range(3):
        desk_.begin(key, PROMPT, 20)
        assert isinstance(desk_.ear.last(key).error, WorkerFailed)
    assert called.wait(20)
    assert "cu_seq_lens_k" in generator.trouble
    assert not generator.is_device_lost()
    generator.close()

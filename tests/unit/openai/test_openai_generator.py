"""A generator at work: what is heard of texts that a server writes, refuses, breaks off, or is told to stop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.engine.openai.generator import OpenAIGenerator
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import FinishReason, GenerationEngine
from sluice.worker.execution.openai_config import OpenAIServer
from tests.unit.openai.fake_server import TIMEOUT_S, Body, Reply, counted, serving, write
from tests.unit.openai.writing import generator_at, prompt, started


def test_it_is_a_generator_of_the_variant_that_the_configuration_says() -> None:
    generator = generator_at("http://127.0.0.1:1/v1", max_generations=8, max_tokens=100)
    assert isinstance(generator, GenerationEngine)
    variant = generator.variant
    assert (variant.id, variant.task, variant.device) == ("chat/full-external", Task.TEXT_GENERATION, "external")
    assert (variant.max_generations, variant.max_tokens, variant.cache_tokens) == (8, 100, 0)


def test_a_text_comes_in_pieces_and_ends_with_its_counts() -> None:
    with serving(write("Once", " upon", " a time")) as server, started(server.url) as heard:
        last = heard.write()
    assert heard.text() == "Once upon a time"
    assert (last.finish, last.tokens, last.prompt_tokens) == (FinishReason.STOP, 7, 3)
    assert [piece.text for piece in heard.all] == ["Once", " upon", " a time", ""]


def test_what_the_server_was_told() -> None:
    with serving(write("x")) as server, started(server.url) as heard:
        heard.write(text="Hear me", max_new_tokens=5, stop=("\n",))
    assert server.bodies[-1] == {
        "model": "there",
        "prompt": "Hear me",
        "max_tokens": 5,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    assert server.replies[-1].path == "/v1/completions"
    assert "Authorization" not in server.replies[-1].headers


def test_the_key_goes_to_the_server_and_into_no_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server_settings = {"url": "", "model": "there", "api_key_env": "KEY"}
    with serving(write("x")) as server:
        keyed = OpenAIServer.model_validate({**server_settings, "url": server.url}, context={"KEY": "s3cret"})
        generator = OpenAIGenerator(ModelSpec(model="chat", tier=Tier.FULL, checkpoint=Path("there")), keyed)
        generator.warm_up()
    assert {reply.headers["Authorization"] for reply in server.replies} == {"Bearer s3cret"}
    assert "s3cret" not in caplog.text


def test_a_conversation_goes_another_way_and_reads_the_same() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.event({"choices": [{"delta": {"role": "assistant", "content": None}}]})
        reply.event({"choices": [{"delta": {"content": "Yes"}, "finish_reason": None}]})
        reply.event({"choices": [{"delta": {}, "finish_reason": "length"}], "usage": counted(9, 1)})
        reply.end()

    with serving(answer) as server, started(server.url, chat=True) as heard:
        last = heard.write(text="Shall we?")
    assert server.bodies[-1]["messages"] == [{"role": "user", "content": "Shall we?"}]
    assert server.replies[-1].path == "/v1/chat/completions"
    assert heard.text() == "Yes"
    assert (last.finish, last.tokens, last.prompt_tokens) == (FinishReason.LENGTH, 1, 9)


def test_bytes_and_comments_come_as_they_please() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.raw(b": keep-alive\n\n")
        for byte in 'data: {"choices": [{"text": "na\u00efve \U0001f381"}]}\r\n\r\n'.encode():
            reply.raw(bytes([byte]))
        reply.raw(b": still here\n\n")
        reply.raw(b'data: {"choices": [{"text": "!", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        reply.end()

    with serving(answer) as server, started(server.url) as heard:
        assert heard.write().finish is FinishReason.STOP
    assert heard.text() == "na\u00efve \U0001f381!"


def test_without_counts_each_event_with_text_counts_as_one(caplog: pytest.LogCaptureFixture) -> None:
    with serving(write("a", "b", "", "c", usage=None)) as server, started(server.url) as heard:
        assert heard.write(1).tokens == 3
        assert heard.write(2).tokens == 3
    assert [record.message for record in caplog.records].count(
        "the engine counts no tokens; each event with new text counts as one"
    ) == 1


def test_a_stop_string_ends_the_text_and_the_stream() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("one <e", usage=(3, 2))
        reply.delta("nd> two", usage=(3, 4))
        reply.until_hung_up()

    with serving(answer) as server, started(server.url, warm=False) as heard:
        last = heard.write(stop=("<end>",))
        assert server.hung_up.acquire(timeout=TIMEOUT_S)
    assert heard.text() == "one "
    assert (last.finish, last.tokens, last.prompt_tokens) == (FinishReason.STOP, 4, 3)


def test_a_cancelled_text_hangs_up_and_says_what_was_written() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("on and on", usage=(3, 2))
        reply.until_hung_up()

    with serving(answer) as server, started(server.url, warm=False) as heard:
        heard.generator.begin(1, prompt())
        assert heard.next().text == "on and on"
        heard.generator.cancel(1)
        last = heard.last()
        assert server.hung_up.acquire(timeout=TIMEOUT_S)
        heard.generator.cancel(1)
    assert isinstance(last.error, Cancelled)
    assert last.tokens == 2


def test_a_thousand_texts_are_cancelled_wherever_they_are() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("on and on")
        reply.until_hung_up()

    with serving(answer) as server, started(server.url, warm=False, max_generations=32) as heard:
        for key in range(1000):
            heard.generator.begin(key, prompt())
            if key % 2:
                heard.generator.cancel(key)
        ends = []
        while len(ends) < 1000:
            piece = heard.next()
            if piece.is_last:
                ends.append(piece)
            else:
                heard.generator.cancel(piece.key)
        assert all(server.hung_up.acquire(timeout=TIMEOUT_S) for _ in range(500))
        server.answer = write("next")
        assert heard.write(7).finish is FinishReason.STOP
    assert {type(end.error) for end in ends} == {Cancelled}
    assert {end.key for end in ends} == set(range(1000))


def test_texts_beyond_the_places_wait_for_their_turn() -> None:
    together, most, lock = 0, 0, threading.Lock()

    def answer(reply: Reply, body: Body) -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        reply.begin()
        reply.delta("a")
        threading.Event().wait(0.02)
        with lock:
            together -= 1
        reply.delta("b", finish="stop")
        reply.end()

    with serving(answer) as server, started(server.url, warm=False, max_generations=3) as heard:
        for key in range(12):
            heard.generator.begin(key, prompt())
        ends = 0
        while ends < 12:
            ends += heard.next().is_last
        assert heard.generator.busy_s > 0
    assert most == 3
    assert len(server.bodies) == 12
    # Connections are kept, and serve one text after the other.
    assert len(server.ports) <= 4


@pytest.mark.parametrize(
    ("status", "content", "error", "field"),
    [
        (400, {"error": {"message": "too long", "param": "max_tokens"}}, InvalidRequest, "max_new_tokens"),
        (422, {"detail": "Unexpected fields"}, InvalidRequest, ""),
        (500, "oops", WorkerFailed, ""),
        (503, "loading", NoEndpoint, ""),
        (401, {"error": {"message": "no key"}}, NoEndpoint, ""),
        (302, "", WorkerFailed, ""),
    ],
)
def test_a_refusal_is_the_last_piece(status: int, content: object, error: type[SluiceError], field: str) -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.status(status, content, Location="http://127.0.0.1:1/v1/completions")

    with serving(answer) as server, started(server.url, warm=False) as heard:
        last = heard.write()
    assert type(last.error) is error
    assert last.error.field == field
    assert (last.tokens, last.text) == (0, "")


def test_a_full_server_is_asked_again() -> None:
    def answer(reply: Reply, body: Body) -> None:
        if len(server.bodies) < 3:
            reply.status(429, "later", Retry_After="0.01")
        else:
            write("now")(reply, body)

    with serving(answer) as server, started(server.url, warm=False) as heard:
        assert heard.write().finish is FinishReason.STOP
    assert heard.text() == "now"


def test_a_server_that_stays_full_is_given_up() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.status(429, "later", Retry_After="30")

    with serving(answer) as server, started(server.url, warm=False, silence_timeout_s=5) as heard:
        last = heard.write()
    assert isinstance(last.error, Saturated)
    assert last.error.retry_after_s == 30
    assert len(server.bodies) == 1


def test_a_stream_that_breaks_is_an_error_with_what_was_written() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("half a", usage=(3, 2))
        reply.break_off()

    with serving(answer) as server, started(server.url, warm=False) as heard:
        last = heard.write()
    assert heard.text() == "half a"
    assert isinstance(last.error, NoEndpoint)
    assert (last.tokens, last.finish) == (2, None)


def test_a_stream_that_ends_before_the_text_is_an_error() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("half a")
        reply.end()

    with serving(answer) as server, started(server.url, warm=False) as heard:
        assert isinstance(heard.write().error, NoEndpoint)


def test_a_stream_that_breaks_behind_the_text_costs_nothing_but_the_counts() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("all of it", finish="stop")
        reply.break_off()

    with serving(answer) as server, started(server.url, warm=False) as heard:
        last = heard.write()
    assert (last.finish, last.tokens) == (FinishReason.STOP, 1)


def test_silence_is_an_error() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("well")
        reply.until_hung_up()

    with serving(answer) as server, started(server.url, warm=False, silence_timeout_s=0.1) as heard:
        last = heard.write()
        assert server.hung_up.acquire(timeout=TIMEOUT_S)
    assert isinstance(last.error, NoEndpoint)
    assert "said nothing for 0.1 s" in last.error.message


@pytest.mark.parametrize("event", ["{", '"text"', '{"choices": [{"text": 7}]}', '{"error": "out of memory"}'])
def test_an_event_that_is_an_error_or_nonsense_fails_the_text(event: str) -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("so far", usage=(3, 2))
        reply.event(event)
        reply.until_hung_up()

    with serving(answer) as server, started(server.url, warm=False) as heard:
        last = heard.write()
        assert server.hung_up.acquire(timeout=TIMEOUT_S)
    assert isinstance(last.error, WorkerFailed)
    assert last.tokens == 2

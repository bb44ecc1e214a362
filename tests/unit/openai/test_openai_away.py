"""A server that goes away and comes back, and a generator that is closed."""

from __future__ import annotations

import threading

import pytest

from sluice.cli.addresses import free_port
from sluice.domain.errors import NoEndpoint
from sluice.worker.execution.generator import Chunk, FinishReason
from tests.unit.openai.fake_server import TIMEOUT_S, Body, Reply, serving, write
from tests.unit.openai.writing import Heard, generator_at, prompt, started


def test_a_server_that_is_away_fails_texts_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    port = free_port()
    with started(f"http://127.0.0.1:{port}/v1", warm=False) as heard:
        for key in (1, 2):
            error = heard.write(key).error
            assert isinstance(error, NoEndpoint)
            assert f"127.0.0.1:{port}" in error.message
        heard.generator.begin(3, prompt())
        with serving(write("back"), port=port):
            assert heard.last(3).finish is FinishReason.STOP
            assert heard.write(4).finish is FinishReason.STOP
    assert heard.text(3) == "back"
    said = [record.message for record in caplog.records]
    assert [said.count(f"the engine is {where}") for where in ("away", "back")] == [1, 1]


def test_an_engine_that_is_dead_behind_its_server_is_asked_for_a_token_until_it_writes() -> None:
    def dead(reply: Reply, body: Body) -> None:
        reply.status(503, "the worker is dead")

    with serving(dead, models=[{"id": "there"}]) as server, started(server.url, warm=False) as heard:
        assert isinstance(heard.write(1).error, NoEndpoint)
        held = heard.write(2).error
        assert isinstance(held, NoEndpoint)
        assert held.message == "the engine said 503: the worker is dead"
        server.answer = write("alive")
        heard.generator.begin(3, prompt())
        assert heard.last(3).finish is FinishReason.STOP
    # The second text was never sent: only questions for one token were, until one was answered.
    assert [body["max_tokens"] for body in server.bodies] == [16, *[1] * (len(server.bodies) - 2), 16]


def test_a_text_that_waits_for_the_server_can_be_cancelled() -> None:
    with started(f"http://127.0.0.1:{free_port()}/v1", warm=False) as heard:
        heard.write(1)
        heard.generator.begin(2, prompt())
        heard.generator.cancel(2)
        assert heard.last(2).error is not None


def open_text(reply: Reply, body: Body) -> None:
    reply.begin()
    reply.delta("and so", usage=(3, 2))
    reply.until_hung_up()


def test_closing_ends_all_texts_and_hangs_up() -> None:
    with serving(open_text) as server:
        generator = generator_at(server.url, max_generations=2)
        heard = Heard(generator)
        generator.start(heard.hear)
        for key in range(4):
            generator.begin(key, prompt())
        assert [heard.next().text for _ in range(2)] == ["and so"] * 2
        generator.close()
        lasts = [heard.next() for _ in range(4)]
        assert all(server.hung_up.acquire(timeout=TIMEOUT_S) for _ in range(2))
    assert {piece.key for piece in lasts} == set(range(4))
    assert {type(piece.error) for piece in lasts} == {NoEndpoint}
    assert sum(piece.tokens for piece in lasts) == 4
    assert "openai" not in {thread.name for thread in threading.enumerate()}


def test_after_the_end_a_text_ends_at_once() -> None:
    with serving(open_text) as server:
        generator = generator_at(server.url)
        pieces: list[Chunk] = []
        generator.start(pieces.extend)
        generator.close()
        generator.begin(7, prompt())
        generator.cancel(7)
        generator.close()
    (piece,) = pieces
    assert (piece.key, type(piece.error)) == (7, NoEndpoint)


def test_one_that_was_never_started_is_closed_all_the_same() -> None:
    generator_at("http://127.0.0.1:1/v1").close()

"""Before it serves: is the server there, has it the model, and what can it be told?"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from sluice.cli.addresses import free_port
from sluice.domain.errors import InvalidRequest, NoEndpoint, SluiceError, WorkerFailed
from sluice.engine.openai.probe import probe
from sluice.engine.openai.request_body import Capabilities
from tests.unit.openai.fake_server import Answer, Body, Reply, serving, write
from tests.unit.openai.writing import server_at

EVERYTHING = {"stream_options", "top_k", "seed", "generation_config"}


def taking(*fields: str, samples: bool = True) -> Answer:
    """A server that refuses fields which it does not know, as transformers' does. Its texts differ if it samples."""
    number = itertools.count()

    def answer(reply: Reply, body: Body) -> None:
        unknown = EVERYTHING & body.keys() - set(fields)
        if unknown:
            reply.status(422, {"detail": f"Unexpected fields in the request: {unknown}"})
        else:
            write(str(next(number)) if samples else "x")(reply, body)

    return answer


def probed(answer: Answer, *, models: Any = None, **settings: Any) -> Capabilities:
    with serving(answer, models=models) as server:
        return asyncio.run(probe(server_at(server.url, **settings)))


def test_a_server_that_takes_everything_is_told_everything_once() -> None:
    assert probed(write("x")) == Capabilities(stream_options=True, top_k=True, seed=True)


@pytest.mark.parametrize(
    ("fields", "dialect"),
    [
        ((), Capabilities()),
        (("seed",), Capabilities(seed=True)),
        (("seed", "generation_config"), Capabilities(seed=True, generation_config=True)),
        (("stream_options",), Capabilities(stream_options=True)),
        (("top_k", "generation_config"), Capabilities(top_k=True)),
    ],
)
def test_what_a_server_refuses_is_not_said_to_it(fields: tuple[str, ...], dialect: Capabilities) -> None:
    assert probed(taking(*fields)) == dialect


def test_a_server_that_takes_a_temperature_and_does_not_heed_it_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    assert not probed(taking("generation_config", samples=False)).samples
    assert "the engine does not sample" in caplog.text


def test_each_question_costs_one_token() -> None:
    with serving(write("x")) as server:
        asyncio.run(probe(server_at(server.url)))
    assert {body["max_tokens"] for body in server.bodies} == {1}
    assert len(server.bodies) <= 5


def complaint(answer: Answer, *, models: Any = None, **settings: Any) -> SluiceError:
    with pytest.raises(SluiceError) as caught:
        probed(answer, models=models, **settings)
    assert "\n" not in caught.value.message
    return caught.value


def test_nobody_there_is_said_by_the_url() -> None:
    with pytest.raises(NoEndpoint, match=r"http://127.0.0.1:\d+/v1 cannot be reached") as caught:
        asyncio.run(probe(server_at(f"http://127.0.0.1:{free_port()}/v1")))
    assert caught.value.field == "openai.url"


def test_a_model_that_is_not_there_is_said_with_those_that_are() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.status(404, {"error": {"message": "The model `there` does not exist.", "code": 404}})

    error = complaint(answer, models=[{"id": "one"}, {"id": "other"}])
    assert error.field == "openai"
    assert "404: The model `there` does not exist.; it lists one, other" in error.message


def test_a_missing_key_is_said_in_the_servers_words() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.status(401, {"error": "Unauthorized"})

    assert "the engine said 401: Unauthorized" in complaint(answer).message


def test_a_server_that_writes_no_stream_is_not_taken() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.status(200, {"choices": [{"text": "all at once"}]})

    assert isinstance(complaint(answer), WorkerFailed)


def test_a_length_that_the_server_does_not_serve_is_refused() -> None:
    error = complaint(write("x"), models=[{"id": "there", "max_model_len": 2048}])
    assert isinstance(error, InvalidRequest)
    assert error.field == "openai.max_tokens"
    assert "up to 2048 tokens, not 4096" in error.message
    probed(write("x"), models=[{"id": "there", "max_model_len": 2048}], max_tokens=2048)


def test_an_unlisted_model_that_is_answered_for_is_told(caplog: pytest.LogCaptureFixture) -> None:
    probed(write("x"), models=[{"id": "another"}])
    assert "the engine answers for a model that it does not list" in caplog.text


@pytest.mark.parametrize("models", [[], "no list", [{"name": "x"}], [1]])
def test_a_list_that_cannot_be_read_is_no_list(models: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert probed(write("x"), models=models).seed
    assert caplog.text == ""

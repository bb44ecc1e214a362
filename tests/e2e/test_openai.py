"""A real `transformers serve` behind our generator: token for token what transformers writes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen

import pytest

from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint
from sluice.worker.execution.generator import FinishReason
from tests.e2e.local_mesh import HAS_TORCH

if HAS_TORCH:
    from tests.e2e import transformers_server
    from tests.e2e.transformers_server import TinyModel
    from tests.unit.openai.writing import prompt, started

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not (HAS_TORCH and find_spec("uvicorn")), reason="transformers[serving] is not installed"),
    pytest.mark.timeout(300),
]
PROMPTS = (
    "where is my parcel?",
    "ok",
    "Thank you so much, everybody at home is happy with it and it was to arrive on Monday",
    "nobody answers: ",
)
# Without a bound its cache takes all memory that it finds.
CONTINUOUS = ("--continuous-batching", "--cb-num-blocks", "64")


@dataclass(frozen=True, slots=True)
class Served:
    """A model, and where it is served."""

    tiny: TinyModel
    url: str
    process: Popen[bytes]

    @property
    def name(self) -> str:
        """The model's name there."""
        return str(self.tiny.path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return transformers_server.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=[(), CONTINUOUS], ids=["one-by-one", "continuous"])
def served(
    tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("transformers")
    with transformers_server.serving(tiny.path, folder, *request.param) as (url, process):
        yield Served(tiny, url, process)


def is_continuous(request: pytest.FixtureRequest) -> bool:
    return "continuous" in request.node.name


def test_greedy_texts_are_those_of_generate_token_for_token(served: Served) -> None:
    asked = {key: (text, 6 if key % 2 else 48) for key, text in enumerate(PROMPTS)}
    lasts = {}
    with started(served.url, model=served.name, max_tokens=transformers_server.MAX_TOKENS) as heard:
        for key, (text, limit) in asked.items():
            heard.generator.begin(key, prompt(text=text, max_new_tokens=limit))
        while len(lasts) < len(asked):
            piece = heard.next()
            if piece.is_last:
                lasts[piece.key] = piece
    for key, (text, limit) in asked.items():
        expected, tokens = served.tiny.write(text, max_new_tokens=limit)
        last = lasts[key]
        assert last.error is None
        assert heard.text(key) == expected
        assert (last.tokens, last.prompt_tokens) == (tokens, len(served.tiny.tokenizer(text).input_ids))
        assert last.finish is (FinishReason.LENGTH if tokens == limit else FinishReason.STOP)
    assert {last.finish for last in lasts.values()} == {FinishReason.LENGTH, FinishReason.STOP}


def test_a_stop_string_cuts_the_text_where_it_begins(served: Served) -> None:
    whole, _ = served.tiny.write(PROMPTS[0], max_new_tokens=48)
    stop = whole[10:13]
    with started(served.url, model=served.name) as heard:
        last = heard.write(text=PROMPTS[0], max_new_tokens=48, stop=(stop,))
    assert heard.text() == whole[: whole.index(stop)]
    assert last.finish is FinishReason.STOP


def test_a_conversation_goes_through_the_models_template(served: Served) -> None:
    expected, tokens = served.tiny.write(
        transformers_server.CHAT.format(role="user", content=PROMPTS[0]), max_new_tokens=24
    )
    with started(served.url, model=served.name, chat=True) as heard:
        last = heard.write(text=PROMPTS[0], max_new_tokens=24)
    assert heard.text() == expected
    assert last.tokens == tokens


def test_texts_are_sampled_where_the_server_samples(served: Served, request: pytest.FixtureRequest) -> None:
    greedy, _ = served.tiny.write(PROMPTS[0], max_new_tokens=24)
    with started(served.url, model=served.name) as heard:
        if is_continuous(request):
            error = heard.write(text=PROMPTS[0], temperature=1.0).error
            assert isinstance(error, InvalidRequest)
            assert error.field == "temperature"
            return
        options = {"text": PROMPTS[0], "max_new_tokens": 24, "temperature": 1.0}
        for key, more in enumerate(({"seed": 5}, {"seed": 5}, {"seed": 6}, {"seed": 6, "top_k": 1})):
            assert heard.write(key, **options, **more).error is None
    first, again, other, best = map(heard.text, range(4))
    assert first == again
    assert first != other
    assert first != greedy
    assert best == greedy


def test_a_cancelled_text_ends_at_the_server_too(served: Served) -> None:
    endless = {"text": transformers_server.ENDLESS, "max_new_tokens": 1_000_000}
    with started(served.url, model=served.name, max_tokens=2_000_000, max_generations=1) as heard:
        heard.generator.begin(1, prompt(**endless))
        while heard.next().tokens < 5:
            pass
        heard.generator.cancel(1)
        assert isinstance(heard.last().error, Cancelled)
        # One by one, the next text would else wait for a million tokens.
        assert heard.write(2, text=PROMPTS[1], max_new_tokens=4).error is None


def test_a_server_that_is_killed_ends_its_texts(tiny: TinyModel, tmp_path: Path) -> None:
    with (
        transformers_server.serving(tiny.path, tmp_path) as (url, process),
        started(url, model=str(tiny.path), max_tokens=2_000_000) as heard,
    ):
        heard.generator.begin(1, prompt(text=transformers_server.ENDLESS, max_new_tokens=1_000_000))
        while heard.next().tokens < 5:
            pass
        process.kill()
        last, later = heard.last(), heard.write(2)
    assert isinstance(last.error, NoEndpoint)
    assert last.tokens >= 5
    assert isinstance(later.error, NoEndpoint)
    assert later.tokens == 0

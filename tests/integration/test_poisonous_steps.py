"""Prompts and numbers that make a real model's step raise: whoever sends them pays, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from services.gpu_worker.load import load
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, Reason, SluiceError, WorkerFailed
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.worker.execution.backend import Backend, ModelSpec
from sluice.worker.execution.generator import GenerationEngine
from tests.integration.fake_worker import router_to
from tests.integration.live_router import face_of
from tests.integration.live_worker import Worker, working
from tests.integration.test_worker_texts import Heard, text
from tests.integration.text_mesh import MODEL, TextMesh
from tests.unit.polling import until

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
]
VARIANT, OTHER = f"{MODEL}/full-fp32", "echo/full-fp32"
TOKENS = 24
PROMPTS = (
    "where is my parcel?",
    "ok",
    "it arrived on Monday",
    "I have written three times",
    "thank you so much",
    "who?",
)


class Mesh:
    """A worker with a model that may be made to fail and one that never is, and a router with its face."""

    def __init__(self, worker: Worker, texts: TextMesh, expected: dict[str, str], poison: str) -> None:
        self.worker = worker
        self.texts = texts
        self.expected = expected
        self.poison = poison
        self.fails = threading.Event()

    async def write(self, prompt: str, **fields: Any) -> str:
        """A text of the model that may fail. Raises what it ends with."""
        return await self.texts.ask(prompt, **({"max_new_tokens": TOKENS} | fields)).ended()

    async def write_all(self, prompt: str = "", **fields: Any) -> SluiceError | str:
        """Have everybody write at once, and `prompt` among them; returns what became of that one."""

        async def attack() -> SluiceError | str:
            try:
                return await self.write(prompt, **fields)
            except SluiceError as error:
                return error

        half = len(PROMPTS) // 2
        before = [asyncio.create_task(self.write(one)) for one in PROMPTS[:half]]
        attacked = asyncio.create_task(attack())
        after = [asyncio.create_task(self.write(one)) for one in PROMPTS[half:]]
        texts = await asyncio.gather(*before, *after)
        assert dict(zip(PROMPTS, texts, strict=True)) == self.expected
        return await attacked

    def held(self) -> set[str]:
        return {variant.id for variant in self.worker.bench.catalog.variants()}


@asynccontextmanager
async def mesh(root: Path) -> AsyncIterator[Mesh]:
    from tests.unit.engine import tiny
    from tests.unit.engine.generation.generators import generated, written

    checkpoint = tiny.write_language_model(root / "full", "qwen2", max_position_embeddings=256, eos_token_id=None)
    words = tiny.tokenizer()
    expected = {prompt: written(checkpoint, prompt, TOKENS)[0] for prompt in PROMPTS}
    used = {
        token
        for prompt in PROMPTS
        for ids in (words(prompt)["input_ids"],)
        for token in (*ids, *generated(checkpoint, ids, TOKENS))
    }
    poison, token = next(
        (letter, ids[1])
        for letter in "ZQXJKVWBYGPFM0123456789"
        for ids in (words(letter)["input_ids"],)
        if len(ids) == 3 and ids[1] not in used
    )
    made: list[Mesh] = []

    def look(model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        del model, args
        if bool((kwargs["input_ids"] == token).any()) or (made and made[0].fails.is_set()):
            raise KeyError("cu_seq_lens_k")

    def spoiled(spec: ModelSpec) -> Backend | GenerationEngine:
        from sluice.engine.generation.engine import GenerationEngine
        from sluice.testing.echo import EchoGenerator

        if spec.checkpoint.name == "echo":
            return EchoGenerator(spec)
        loaded = load(spec, device_name="cpu")
        assert isinstance(loaded, GenerationEngine)
        loaded._writer.model.register_forward_pre_hook(look, with_kwargs=True)
        return loaded

    async with working(root=root, load=spoiled) as worker:
        catalog = worker.bench.catalog
        try:
            await catalog.load(model=MODEL, tier=Tier.FULL, checkpoint="full", precision="fp32")
            await catalog.load(model="echo", tier=Tier.FULL, checkpoint="echo")
            async with router_to(worker.address) as router, face_of(router) as face:
                made.append(Mesh(worker, TextMesh(face, []), expected, poison))
                yield made[0]
        finally:
            await catalog.close()


async def raise_in_steps(made: Mesh) -> None:
    """A prompt whose steps raise is tried twice."""
    for _ in range(3):
        error = await made.write_all(f"please {made.poison} now")
        assert isinstance(error, WorkerFailed)
        assert "cu_seq_lens_k" in error.message


async def exceed_integers(made: Mesh) -> None:
    """A router that sends any top_k gets what it gets for all of the vocabulary."""
    heard = Heard(await made.worker.opened())
    most = 2**31 - 1, 2**31, 4_000_000_000, 2**32 - 1
    ways: list[dict[str, Any]] = [{"top_k": 0}, *({"top_k": top_k} for top_k in most), {"temperature": 1e300}]
    for number, way in enumerate(ways):
        usual = {"variant": VARIANT, "max_new_tokens": TOKENS, "seed": 5, "temperature": 1.0}
        await heard.call.write(text(number, PROMPTS[0], **(usual | way)))
    for number in range(len(ways)):
        last = await heard.last(number)
        assert last.finish_reason == inference_pb2.FINISH_REASON_LENGTH, last
    assert len({heard.text(number) for number in range(len(most) + 1)}) == 1
    # The router may refuse it; it never ends anybody.
    through = await made.write_all(PROMPTS[0], top_k=most[1], temperature=1.0, seed=5)
    assert isinstance(through, InvalidRequest) or through == heard.text(0)


async def spell_unknown_tokens(made: Mesh) -> None:
    """A token beyond the embeddings is the caller's mistake."""
    model: Any = made.worker.bench.catalog.writer(VARIANT)._generator
    model.checkpoint.tokenizer.add_tokens(["<tool_call>"])
    error = await made.write_all("please <tool_call> now")
    assert isinstance(error, InvalidRequest)
    assert (error.field, error.message) == ("prompt", "the text holds a token that the model was not made for")
    heard = Heard(await made.worker.opened())
    await heard.call.write(text(1, "please <tool_call> now", variant=VARIANT))
    assert (await heard.last(1)).status.reason == Reason.INVALID_ARGUMENT


async def test_no_prompt_and_no_number_costs_anybody_but_who_sends_it(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        for attack in (raise_in_steps, exceed_integers, spell_unknown_tokens):
            await attack(made)
            assert made.held() == {VARIANT, OTHER}
        assert made.texts.outcomes()["worker-failed"] == 3


async def test_a_model_that_fails_at_everything_goes_alone_and_is_tried_before_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with mesh(tmp_path) as made:
        await made.write_all()
        made.fails.set()

        async def ask() -> SluiceError:
            return await made.texts.ask(PROMPTS[0], max_new_tokens=TOKENS, timeout_s=10).failure()

        errors = await asyncio.gather(*(ask() for _ in range(6)))
        assert {type(error) for error in errors} <= {WorkerFailed, NoEndpoint}
        await until(lambda: made.held() == {OTHER})
        (line,) = [one for one in caplog.records if one.levelno == logging.CRITICAL]
        assert line.message == "A model was taken out of service."
        echoed = made.texts.ask("still here", model="echo")
        assert await echoed.ended() == "still here"
        # It cannot write now, so that it is not taken for ready.
        load_again = made.worker.bench.catalog.load
        with pytest.raises(InvalidRequest, match=r"full cannot serve: .*cu_seq_lens_k") as refused:
            await load_again(model=MODEL, tier=Tier.FULL, checkpoint="full", precision="fp32")
        assert refused.value.field == "checkpoint"
        assert made.held() == {OTHER}
        made.fails.clear()
        await load_again(model=MODEL, tier=Tier.FULL, checkpoint="full", precision="fp32")
        await until(lambda: any(VARIANT in link.texts.variants for link in made.texts.router.pool.links()))
        await made.write_all()

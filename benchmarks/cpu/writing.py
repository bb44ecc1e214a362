"""The generator against plain transformers on the same threads: the demo's chat model, one mail and many at a time."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers import AutoModelForCausalLM

from benchmarks.cpu.bench import MODEL, MODELS, ROOT, Bench
from benchmarks.cpu.speed import rate
from benchmarks.figure import Figure, ratio_figure
from benchmarks.rounds import interleave
from sluice.domain.enums import Tier
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.generation.engine import load_engine
from sluice.engine.generation.prompt_tokenizer import PromptTokenizer
from sluice.runtime.cpu import granted_cores
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, GenerationRequest

MANY = 16
NEW_TOKENS = 48
CHECKPOINT = MODELS / "support-chat-full"
EXAMPLES = ROOT / "examples" / "requests.jsonl"
HOW = (
    f"tokens per second of greedy replies of {NEW_TOKENS} tokens, or fewer where they end, to the demo's mails, fp32 "
    "and on the same threads; plain is transformers' generate, many as one batch padded on the left"
)
Write = Callable[[Sequence[str]], int]
"""Writes a reply to each mail and returns the tokens of all."""


async def measure(bench: Bench) -> list[Figure]:
    """Two figures: one mail at a time, and many."""
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()
    mails = [json.loads(line)["text"] for line in lines[:MANY]]
    plain, ours = await bench.compute(Plain), await bench.compute(Ours)
    try:
        return [
            await _figure(bench, {"ours": ours.write, "plain": plain.write}, mails[:texts]) for texts in (1, len(mails))
        ]
    finally:
        await bench.compute(ours.close)


async def _figure(bench: Bench, writers: dict[str, Write], mails: Sequence[str]) -> Figure:
    stage, total = f"mails at a time: {len(mails)}", len(writers) * bench.scale.rounds
    bench.progress(stage, 0, total)
    legs = {}
    for name, write in writers.items():
        tokens = await bench.compute(partial(write, mails))
        run = partial(rate, partial(write, mails), items=tokens, seconds=bench.scale.seconds)
        legs[f"{name}_tokens_per_s"] = partial(bench.compute, run)
    rounds = await interleave(legs, rounds=bench.scale.rounds, tick=lambda done: bench.progress(stage, done, total))
    return ratio_figure(
        f"texts written / plain transformers, chat model, {stage}",
        None,
        rounds,
        of="ours_tokens_per_s",
        to="plain_tokens_per_s",
        how=HOW,
        notes={"threads": granted_cores()},
    )


class Ours:
    """What a worker writes with, in this process."""

    def __init__(self) -> None:
        spec = ModelSpec(model=MODEL, tier=Tier.FULL, checkpoint=CHECKPOINT)
        device = torch.device("cpu")
        self._heard: queue.SimpleQueue[Sequence[Chunk]] = queue.SimpleQueue()
        self._generator = load_engine(spec, open_checkpoint(CHECKPOINT), device=device, precision="fp32")
        self._generator.warm_up()
        self._generator.start(self._heard.put)

    def write(self, mails: Sequence[str]) -> int:
        """As Write has it. Raises what a text failed by."""
        for key, mail in enumerate(mails):
            self._generator.begin(key, GenerationRequest(text=mail, max_new_tokens=NEW_TOKENS))
        left, tokens = len(mails), 0
        while left:
            for piece in self._heard.get():
                if piece.error is not None:
                    raise piece.error
                if piece.is_last:
                    left, tokens = left - 1, tokens + piece.tokens
        return tokens

    def close(self) -> None:
        """Free its memory."""
        self._generator.close()


class Plain:
    """transformers by itself."""

    def __init__(self) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
        self._reader = PromptTokenizer(open_checkpoint(CHECKPOINT).tokenizer)
        self._end = self._model.generation_config.eos_token_id
        torch.set_num_threads(granted_cores())

    @torch.inference_mode()
    def write(self, mails: Sequence[str]) -> int:
        """As Write has it."""
        prompts = [self._reader.read(mail) for mail in mails]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        out = self._model.generate(ids, attention_mask=seen, max_new_tokens=NEW_TOKENS, do_sample=False)
        replies = out[:, longest:].tolist()
        return sum(reply.index(self._end) + 1 if self._end in reply else len(reply) for reply in replies)

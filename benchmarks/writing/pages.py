"""A layer's attention in a step of single tokens, over pages, against the time that reading keys and values takes."""

from __future__ import annotations

import random
from functools import partial

import torch

from benchmarks.figure import Figure
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.floors import copy_bytes_per_s
from benchmarks.writing.scale import Scale, scale_of
from sluice.engine.generation.attention.paged import PagedCacheView, write_and_attend
from sluice.engine.generation.kv_cache import ACCELERATOR_PAGE

# Those of DeepSeek-R1-Distill-Qwen-1.5B.
QUERY_HEADS, HEADS, WIDTH = 12, 2, 128
TEXTS = (1, 32, 512, 2640)
SMOKE_TEXTS = (1, 3)
REPEATS = 20
LAYER, WASTE = 0, 1


def measure(bench: Bench) -> list[Figure]:
    """Microseconds of a layer for several numbers of texts, and one text as long as they come."""
    scale = scale_of(smoke=bench.smoke)
    dice = random.Random(3)
    crowds = {
        f"texts: {texts}, of {scale.prompt_tokens[0]} to {scale.prompt_tokens[1]} tokens": [
            dice.randint(*scale.prompt_tokens) + dice.randint(1, scale.new_tokens) for _ in range(texts)
        ]
        for texts in (SMOKE_TEXTS if bench.smoke else TEXTS)
    }
    crowds[f"texts: 1, of {scale.long_tokens} tokens"] = [scale.long_tokens]
    speed = copy_bytes_per_s(bench).medians()["per_s"]
    return [_figure(bench, scale, what, lengths, speed) for what, lengths in crowds.items()]


def _figure(bench: Bench, scale: Scale, what: str, lengths: list[int], bytes_per_s: float) -> Figure:
    bench.tell(f"attention over pages: {what}")
    step = bench.captured(_step(bench, scale, lengths))
    times = bench.time_in_turn({"layer_ms": step}, repeats=REPEATS)
    read_bytes = sum(lengths) * 2 * HEADS * WIDTH * torch.bfloat16.itemsize
    layer_us = 1000 * times.medians()["layer_ms"]
    return Figure(
        what=f"attention of a layer, us; {what}",
        target=None,
        measured=layer_us,
        how="12 heads of queries and 2 of keys, 128 wide, bf16, pages strewn over a cache, captured as a graph",
        medians=times.medians(),
        notes={"reading_them_takes_us": round(1e6 * read_bytes / bytes_per_s, 2)},
    )


def _step(bench: Bench, scale: Scale, lengths: list[int]) -> partial[object]:
    dice = random.Random(4)
    tensor = partial(torch.randn, dtype=torch.bfloat16, device=bench.device)
    counts = [-(-length // ACCELERATOR_PAGE) for length in lengths]
    order = dice.sample(range(2, sum(counts) + 2), sum(counts))
    columns = -(-(scale.text_tokens + 1) // ACCELERATOR_PAGE)
    rows = [[order.pop() for _ in range(count)] for count in counts]
    table = torch.tensor([row + [-1] * (columns - len(row)) for row in rows], dtype=torch.int32, device=bench.device)
    ends = torch.tensor([0, *lengths], device=bench.device).cumsum(0).to(torch.int32)
    cache = [tensor(sum(counts) + 2, ACCELERATOR_PAGE, HEADS, WIDTH) for _ in range(2)]
    pages = PagedCacheView({LAYER: (cache[0], cache[1])}, waste=WASTE)
    shared = pages.step(ends, table)
    query, key, value = (tensor(1, heads, len(lengths), WIDTH) for heads in (QUERY_HEADS, HEADS, HEADS))

    def attend(held: PagedCacheView) -> object:
        return write_and_attend(query, key, value, shared, handle=held.handle, layer=LAYER, scale=WIDTH**-0.5)

    # A step knows its pages by a number: something has to hold them.
    return partial(attend, pages)

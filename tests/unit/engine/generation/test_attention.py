"""Attention over texts laid end to end, and over pages, against softmax(QK)V written out in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask
from torch.nn.functional import pad

from sluice.engine.generation.attention.backend import attend
from sluice.engine.generation.attention.paged import PagedCacheView, flex_decode

pytestmark = pytest.mark.torch
MODULE = nn.Module()
SCALE = 0.17
WASTE = 1


@dataclass(frozen=True)
class Heads:
    """Heads of queries, heads of keys, and widths of both."""

    queries: int
    keys: int
    key_width: int
    value_width: int


SHAPES = {
    "grouped": Heads(6, 2, 16, 16),
    "many": Heads(4, 4, 16, 16),
    "one": Heads(4, 1, 8, 8),
    "latent": Heads(4, 4, 24, 16),
}


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One text: q (tokens, heads, width), k and v (more tokens, fewer heads, ...); the last query sees all."""
    q, k, v = q.double(), k.double(), v.double()
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * SCALE
    queries, keys = q.shape[0], k.shape[0]
    seen = torch.arange(keys)[None] <= torch.arange(queries)[:, None] + keys - queries
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


def ends(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def laid(tensor: Tensor) -> Tensor:
    """(tokens, heads, width) as transformers lays it: (1, heads, tokens, width)."""
    return tensor.transpose(0, 1).unsqueeze(0)


class Texts:
    """Random texts of which `queries` are new among `keys`, laid end to end."""

    def __init__(self, shape: Heads, queries: Sequence[int], keys: Sequence[int]) -> None:
        dice = torch.Generator().manual_seed(sum(keys))
        self.shape = shape
        self.q = torch.randn(sum(queries), shape.queries, shape.key_width, generator=dice)
        self.k = torch.randn(sum(keys), shape.keys, shape.key_width, generator=dice)
        self.v = torch.randn(sum(keys), shape.keys, shape.value_width, generator=dice)
        self.cu_q, self.cu_k = ends(queries), ends(keys)
        self.max_q, self.max_k = max(queries), max(keys)

    def expected(self) -> Tensor:
        rows = zip(pairwise(self.cu_q.tolist()), pairwise(self.cu_k.tolist()), strict=True)
        outs = [reference(self.q[a:b], self.k[c:d], self.v[c:d]) for (a, b), (c, d) in rows if b > a]
        return torch.cat(outs)

    def attended(self) -> Tensor:
        out, weights = attend(
            MODULE,
            laid(self.q),
            laid(self.k),
            laid(self.v),
            None,
            scaling=SCALE,
            cu_seq_lens_q=self.cu_q,
            cu_seq_lens_k=self.cu_k,
            max_length_q=self.max_q,
            max_length_k=self.max_k,
        )
        assert weights is None
        assert out.shape == (1, self.q.shape[0], self.shape.queries, self.shape.value_width)
        return out[0]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        ((5, 1, 9), (5, 1, 9)),
        ((5, 1, 9), (21, 16, 9)),
        ((1, 1, 1), (17, 1, 4)),
        ((3, 0, 2), (3, 5, 2)),
        ((40,), (40,)),
    ],
    ids=["whole prompts", "pieces of prompts", "one token each", "one with nothing new", "one text"],
)
def test_texts_see_what_came_before_in_their_own_text(shape: Heads, queries: Any, keys: Any) -> None:
    texts = Texts(shape, queries, keys)
    torch.testing.assert_close(texts.attended().double(), texts.expected(), atol=1e-5, rtol=1e-4)


def test_without_a_scale_it_is_by_the_width_of_the_keys() -> None:
    texts = Texts(SHAPES["many"], (4,), (4,))
    usual = attend(
        MODULE,
        laid(texts.q),
        laid(texts.k),
        laid(texts.v),
        None,
        cu_seq_lens_q=texts.cu_q,
        cu_seq_lens_k=texts.cu_k,
        max_length_q=4,
        max_length_k=4,
    )[0]
    texts.q = texts.q * (16**-0.5 / SCALE)
    torch.testing.assert_close(usual[0].double(), texts.expected(), atol=1e-5, rtol=1e-4)


class Paged:
    """Texts of these lengths, their last tokens new, in pages that are strewn over a cache.

    Page 0 is never written and page 1 is where padding goes, as in the cache of a loop.
    """

    def __init__(
        self,
        shape: Heads,
        lengths: Sequence[int],
        *,
        page: int,
        rows: int = 0,
        columns: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        dice = torch.Generator().manual_seed(sum(lengths))
        self.shape, self.lengths = shape, lengths
        most = -(-max(lengths) // page)
        rows, columns = max(rows, len(lengths)), max(columns, most + 1)
        needed = sum(-(-length // page) for length in lengths)
        order = (torch.randperm(needed, generator=dice) + 2).tolist()
        sizes = (needed + 2, page, shape.keys)
        # As scrubbed pages are: what nobody wrote is 0, but for the page of waste.
        self.k_pages = torch.zeros(*sizes, shape.key_width)
        self.v_pages = torch.zeros(*sizes, shape.value_width)
        self.table = torch.full((rows, columns), -1, dtype=torch.int32)
        self.q = torch.randn(rows, shape.queries, shape.key_width, generator=dice)
        self.k = torch.randn(rows, shape.keys, shape.key_width, generator=dice)
        self.v = torch.randn(rows, shape.keys, shape.value_width, generator=dice)
        texts = []
        for text, length in enumerate(lengths):
            mine = [order.pop() for _ in range(-(-length // page))]
            self.table[text, : len(mine)] = torch.tensor(mine, dtype=torch.int32)
            keys = torch.randn(length, shape.keys, shape.key_width, generator=dice)
            values = torch.randn(length, shape.keys, shape.value_width, generator=dice)
            for place in range(length - 1):
                self.k_pages[mine[place // page], place % page] = keys[place]
                self.v_pages[mine[place // page], place % page] = values[place]
            keys[-1], values[-1] = self.k[text], self.v[text]
            texts.append((keys.to(dtype), values.to(dtype)))
        self.expected = torch.cat([reference(self.q[i : i + 1].to(dtype), k, v) for i, (k, v) in enumerate(texts)])
        self.cu_k = pad(ends(lengths), (0, rows - len(lengths)), value=sum(lengths))
        for name in ("k_pages", "v_pages", "q", "k", "v"):
            setattr(self, name, getattr(self, name).to(device=device, dtype=dtype))
        self.table, self.cu_k = self.table.to(device), self.cu_k.to(device)
        self.pages = PagedCacheView({3: (self.k_pages, self.v_pages)}, waste=WASTE)

    def attended(self) -> Tensor:
        """What the texts' rows come to."""
        kwargs: dict[str, Any] = {}
        keys, values = self.pages.update(laid(self.k), laid(self.v), 3, kwargs)
        out, _ = attend(
            MODULE,
            laid(self.q),
            keys,
            values,
            None,
            scaling=SCALE,
            cu_seq_lens_q=torch.empty(0),
            cu_seq_lens_k=self.cu_k,
            max_length_q=1,
            max_length_k=1,
            page_step=self.pages.step(self.cu_k, self.table),
            **kwargs,
        )
        return out[0, : len(self.lengths)]


PAGE = 16
EDGES = (1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE - 1, 3 * PAGE, 3 * PAGE + 1)


@pytest.mark.parametrize("name", ["grouped", "many", "one"])
def test_a_step_over_pages_at_the_edges_of_pages(name: str) -> None:
    paged = Paged(SHAPES[name], EDGES, page=PAGE)
    torch.testing.assert_close(paged.attended().double(), paged.expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["grouped", "many"])
def test_a_step_writes_the_new_tokens_where_they_are_read_next_and_nothing_else(name: str) -> None:
    paged = Paged(SHAPES[name], EDGES, page=PAGE)
    before = paged.k_pages.clone(), paged.v_pages.clone()
    paged.attended()
    for pages, old, new in ((paged.k_pages, before[0], paged.k), (paged.v_pages, before[1], paged.v)):
        for text, length in enumerate(EDGES):
            place = length - 1
            assert torch.equal(pages[paged.table[text, place // PAGE], place % PAGE], new[text])
        changed = (pages != old).any(-1).any(-1)
        assert changed.sum() == len(EDGES)


@pytest.mark.parametrize("rows", [9, 16])
def test_rows_that_only_pad_a_step_write_to_the_page_of_waste_and_change_nothing(rows: int) -> None:
    paged = Paged(SHAPES["grouped"], EDGES, page=PAGE, rows=rows, columns=9)
    paged.k[len(EDGES) :], paged.v[len(EDGES) :] = torch.nan, torch.nan
    torch.testing.assert_close(paged.attended().double(), paged.expected, atol=1e-5, rtol=1e-4)
    touched = paged.k_pages.isnan().any(-1).any(-1)
    assert touched.sum() == 1
    assert touched[WASTE, 0]


def test_full_tables_are_read_to_the_last_page() -> None:
    paged = Paged(SHAPES["grouped"], (2 * PAGE, 2 * PAGE - 3), page=PAGE, columns=2)
    assert paged.table.shape[1] == 3
    paged.table = paged.table[:, :2]
    torch.testing.assert_close(paged.attended().double(), paged.expected, atol=1e-5, rtol=1e-4)


# Uncompiled it masks what it could leave out, and says so.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("heads", [(12, 2), (6, 2), (7, 1), (8, 2), (4, 4)], ids=str)
def test_groups_of_heads_of_any_size_are_filled_up_and_answer_as_they_are(heads: tuple[int, int]) -> None:
    lengths, width, slots = torch.tensor([1, 5, 16]), 16, 16
    dice = torch.Generator().manual_seed(sum(heads))
    queries = torch.randn(len(lengths), heads[0], 1, width, generator=dice)
    keys, values = (torch.randn(1, heads[1], slots, width, generator=dice) for _ in range(2))
    mask = create_block_mask(
        lambda text, head, query, slot: slot < lengths[text], len(lengths), None, 1, slots, device="cpu"
    )
    out = flex_decode(queries, keys, values, mask, SCALE)
    assert out.shape == queries.shape
    for text, length in enumerate(lengths.tolist()):
        mine = [one[0, :, :length].transpose(0, 1) for one in (keys, values)]
        expected = reference(queries[text].transpose(0, 1), *mine)
        torch.testing.assert_close(out[text].transpose(0, 1).double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [Heads(12, 2, 128, 128), Heads(4, 4, 64, 64)], ids=["grouped", "many"])
def test_an_accelerator_reads_pages_where_they_lie_as_the_cpu_gathers_them(shape: Heads, dtype: torch.dtype) -> None:
    page = 128
    lengths = (1, page - 1, page, page + 1, 3 * page, 3 * page + 77)
    device = torch.accelerator.current_accelerator()
    there = Paged(shape, lengths, page=page, rows=8, columns=6, dtype=dtype, device=str(device))
    bound = 2e-2 if dtype is torch.bfloat16 else 2e-3
    torch.testing.assert_close(there.attended().double().cpu(), there.expected, atol=bound, rtol=bound)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["grouped", "many", "latent"])
def test_an_accelerator_reads_prompts_as_the_cpu_does(name: str) -> None:
    device = torch.accelerator.current_accelerator()
    for dtype in (torch.float32, torch.bfloat16):
        texts = Texts(SHAPES[name], (5, 1, 9), (21, 16, 9))
        expected = texts.expected()
        for field in ("q", "k", "v", "cu_q", "cu_k"):
            tensor = getattr(texts, field).to(device)
            setattr(texts, field, tensor.to(dtype) if tensor.is_floating_point() else tensor)
        bound = 5e-2 if dtype is torch.bfloat16 else 2e-3
        torch.testing.assert_close(texts.attended().double().cpu(), expected, atol=bound, rtol=bound)

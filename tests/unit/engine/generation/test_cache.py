"""The paged cache: each layer's pages side by side, latents whole, and no page that spoils the next text."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching import cache as paged_cache

from sluice.engine.generation.kv_cache import (
    LatentKVAllocator,
    LayeredKVAllocator,
    is_latent,
    use_layered_allocator,
)
from sluice.engine.generation.sampler import NO_TOKEN
from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, model_of, prompt

pytestmark = pytest.mark.torch
PAGES = 12


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest) -> Loop:
    """A loop of each kind of cache."""
    return Loop(model_of(request.param), pages=PAGES)


def holding(loop: Loop, name: str = "a", length: int = 2 * PAGE + 3) -> list[int]:
    """Let text `name` hold pages for `length` tokens."""
    needed = loop.allocator.needs_new_blocks(name, 0, length)
    for _ in range(loop.allocator.needs_new_sectors(name, 0, length)):
        loop.processor.cache.pool.allocate_sector(0)
    loop.allocator.allocate_cache_to_request(name, 0, length)
    assert len(loop.pages_of(name)) == needed
    return loop.pages_of(name)


def views(loop: Loop) -> list[tuple[torch.Tensor, ...]]:
    """Of each layer keys and values, or the rows of latents that are both."""
    found = [loop.allocator.get_cache_for_block_table(layer) for layer in loop.allocator.layer_indices]
    return [(keys,) if keys.data_ptr() == values.data_ptr() else (keys, values) for keys, values in found]


def test_all_pages_of_a_layer_lie_side_by_side_and_no_two_share_memory(loop: Loop) -> None:
    allocator = loop.allocator
    assert isinstance(allocator, LayeredKVAllocator)
    assert allocator.num_blocks == PAGES
    marks = 0
    for layer in views(loop):
        for view in layer:
            assert view.is_contiguous()
            # Two pages more than texts can have: what is read from one is 0, and what is written to the other lost.
            assert view.shape[:2] == (PAGES + 2, PAGE)
            view.copy_(torch.arange(marks, marks + view.numel()).view(view.shape) % 65_521)
            marks += view.numel()
    assert marks == loop.allocator.cache_tensor.numel()
    marks = 0
    for layer in views(loop):
        for view in layer:
            assert torch.equal(view.flatten(), (torch.arange(marks, marks + view.numel()) % 65_521).float())
            marks += view.numel()


def test_slots_and_pages_are_the_same_memory(loop: Loop) -> None:
    pages = holding(loop)
    allocator = loop.allocator
    slots = allocator.get_write_indices("a", PAGE - 1, 3)
    assert slots == [pages[0] * PAGE + PAGE - 1, pages[1] * PAGE, pages[1] * PAGE + 1]
    assert allocator.get_read_indices("a", 0, PAGE + 2)[-3:] == slots
    assert allocator.write_trash_index // PAGE not in pages
    assert allocator.read_trash_index // PAGE not in pages


def test_what_is_written_is_read_back_in_order(loop: Loop) -> None:
    pages = holding(loop)
    assert len(set(pages)) == 3
    allocator, latent = loop.allocator, isinstance(loop.allocator, LatentKVAllocator)
    config = loop.writer.model.config
    sizes = (
        [(1, config.kv_lora_rank), (1, config.qk_rope_head_dim)]
        if latent
        else [(allocator.num_key_value_heads, allocator.head_dim)] * 2
    )
    length = 2 * PAGE + 3
    dice = torch.Generator().manual_seed(3)
    keys, values = (torch.randn(length, *size, generator=dice) for size in sizes)
    for layer in allocator.layer_indices:
        nothing = torch.empty(0, dtype=torch.long)
        new = [torch.tensor(allocator.get_write_indices("a", begin, 7)) for begin in range(0, length, 7)]
        for begin, write in zip(range(0, length, 7), new, strict=True):
            part = slice(begin, begin + 7)
            told = allocator.update(keys[part] + layer, values[part] + layer, layer, nothing, write[: length - begin])
            # Nothing is to be read but what is written: it comes back as it came.
            assert torch.equal(told[0], keys[part] + layer)
            assert torch.equal(told[1], values[part] + layer)
    for layer in allocator.layer_indices:
        read = torch.tensor(allocator.get_read_indices("a", 0, length))
        last = torch.tensor(allocator.get_write_indices("a", length - 1, 1))
        told = allocator.update(keys[-1:] + layer, values[-1:] + layer, layer, read, last)
        assert torch.equal(told[0], keys + layer)
        assert torch.equal(told[1], values + layer)


def test_a_table_has_a_texts_pages_first_and_keeps_the_rest(loop: Loop) -> None:
    pages = holding(loop)
    for table in (torch.full((6,), -1, dtype=torch.int32), torch.full((4, 6), -1, dtype=torch.int32)[2]):
        loop.allocator.fill_block_table("a", 0, 1, table)
        assert table.tolist() == [*pages, -1, -1, -1]


def test_a_latent_row_has_no_padding_and_is_not_expanded() -> None:
    model = model_of("deepseek_v3")
    config = model.config
    loop = Loop(model, pages=PAGES)
    row = config.kv_lora_rank + config.qk_rope_head_dim
    assert loop.allocator.cache_tensor.numel() == config.num_hidden_layers * (PAGES + 2) * PAGE * row
    assert all(len(layer) == 1 for layer in views(loop))


def test_scrubbed_pages_are_zero_and_free_and_others_stay(loop: Loop) -> None:
    for view in chain(*views(loop)):
        view.fill_(torch.nan)
    pages, others = holding(loop, "a"), holding(loop, "b")
    loop.allocator.scrub("a")
    for view in chain(*views(loop)):
        assert view[pages].eq(0).all()
        assert view[others].isnan().all()
    assert loop.pages_of("a") == []
    assert loop.pages_of("b") == others
    assert loop.free_pages == PAGES - len(others)
    loop.allocator.scrub("a")
    loop.allocator.scrub("nobody")
    assert loop.free_pages == PAGES - len(others)


def test_scrubbing_leaves_what_others_share_and_lets_nobody_find_the_rest(loop: Loop) -> None:
    begin, own = prompt(PAGE), prompt(PAGE, 1)
    loop.add("a", begin + own + prompt(3), 9)
    loop.run("a")
    loop.add("b", begin + prompt(5), 9)
    loop.run("b")
    (shared, alone, rest), other = loop.pages_of("a"), loop.pages_of("b")
    assert other[0] == shared
    before = [view.clone() for view in chain(*views(loop))]
    loop.allocator.scrub("a")
    for view, old in zip(chain(*views(loop)), before, strict=True):
        assert view[[alone, rest]].eq(0).all()
        assert torch.equal(view[other], old[other])
    assert loop.processor.cache.search_prefix_match("c", begin + own + prompt(3)) == PAGE
    assert loop.pages_of("c") == [shared]


def test_one_place_is_cleared_unless_others_may_find_it(loop: Loop) -> None:
    tokens = prompt(2 * PAGE)
    pages = holding(loop, "a")
    for view in chain(*views(loop)):
        view.fill_(7)
    loop.allocator.mark_complete_blocks("a", [*tokens, 5], 2)
    for place in (PAGE, 2 * PAGE - 1, -1, 3 * PAGE):
        loop.allocator.forget("a", place)
    loop.allocator.forget("nobody", 0)
    loop.allocator.clear()
    assert all(view.eq(7).all() for view in chain(*views(loop)))
    loop.allocator.forget("a", 2 * PAGE + 1)
    assert all(view.eq(7).all() for view in chain(*views(loop)))
    loop.allocator.clear()
    for view in chain(*views(loop)):
        assert view[pages[2], 1].eq(0).all()
        view[pages[2], 1] = 7
        assert view.eq(7).all()


def test_a_text_that_became_no_number_is_nobodys_prefix(loop: Loop) -> None:
    tokens = prompt(2 * PAGE)
    holding(loop, "a")
    loop.allocator.mark_complete_blocks("a", [*tokens, NO_TOKEN], 2)
    assert loop.processor.cache.search_prefix_match("b", [*tokens, 5]) == 0
    loop.allocator.mark_complete_blocks("a", [*tokens, 5], 2)
    assert loop.processor.cache.search_prefix_match("b", [*tokens, 5]) == 2 * PAGE


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_registry_and_the_configuration_are_as_before(kind: str) -> None:
    config = model_of(kind).config
    before, registry = config.to_dict(), dict(paged_cache.ATTN_TYPE_TO_ALLOCATOR)
    with use_layered_allocator(config):
        assert registry != paged_cache.ATTN_TYPE_TO_ALLOCATOR
    assert registry == paged_cache.ATTN_TYPE_TO_ALLOCATOR
    assert config.to_dict() == before

    def fail(_: Any) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError), use_layered_allocator(config):
        fail(config)
    assert registry == paged_cache.ATTN_TYPE_TO_ALLOCATOR
    assert config.to_dict() == before


def test_a_latent_row_without_halves_is_refused() -> None:
    config = SimpleNamespace(kv_lora_rank=9, qk_rope_head_dim=4, num_key_value_heads=2)
    assert is_latent(config)
    with pytest.raises(ValueError, match="13 numbers has no halves"), use_layered_allocator(config):
        pass

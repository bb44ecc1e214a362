"""The Triton kernels against the same sums in double precision, where there is an accelerator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from sluice.engine.generation.kernels.fused_experts import can_fuse, fused_experts, tilings_for
from sluice.engine.generation.kernels.mla_decode import Shape, mla_decode, splits_for

# What rounding the operands to half of their bits costs.
TOLERANCE = {torch.bfloat16: 6e-3, torch.float16: 1e-3}


def error(found: Tensor, right: Tensor) -> float:
    """The relative one, by Frobenius' norm; NaN is none."""
    return float((found.double() - right).norm() / right.norm())


def attention(queries: Tensor, rows: Tensor, table: Tensor, lengths: list[int], page: int, rank: int) -> Tensor:
    """What `mla_decode` computes with a scale of 0.05."""
    out = torch.zeros(*queries.shape[:2], rank, dtype=torch.float64, device=queries.device)
    for sequence, length in enumerate(lengths):
        if length:
            token = torch.arange(length, device=queries.device)
            context = rows[table[sequence, token // page].long() * page + token % page].double()
            weights = torch.softmax(queries[sequence].double() @ context.T * 0.05, dim=-1)
            out[sequence] = weights @ context[:, :rank]
    return out


def mixture(hidden: Tensor, gate_up: Tensor, down: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """What `fused_experts` computes."""
    out = torch.zeros(hidden.shape, dtype=torch.float64, device=hidden.device)
    for expert in range(gate_up.shape[0]):
        token, place = (chosen == expert).nonzero(as_tuple=True)
        gate, up = (hidden[token].double() @ gate_up[expert].double().T).chunk(2, dim=-1)
        share = shares[token, place].double().unsqueeze(-1)
        out.index_add_(0, token, share * ((silu(gate) * up) @ down[expert].double().T))
    return out


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("heads", "rank", "rope", "page", "lengths"),
    [
        (16, 512, 64, 64, [1, 63, 64, 65, 4096, 0, 777]),
        (16, 512, 64, 256, [255, 256, 257, 1000]),
        (128, 512, 64, 64, [100, 1000]),
        (40, 256, 32, 64, [64, 500]),
        (4, 16, 16, 16, [1, 15, 16, 17, 100]),
        (20, 24, 8, 128, [333]),
    ],
)
def test_latent_attention_reads_each_sequence_and_nothing_behind_it(
    dtype: torch.dtype, heads: int, rank: int, rope: int, page: int, lengths: list[int]
) -> None:
    torch.manual_seed(0)
    blocks = -(-max(lengths) // page)
    like = {"device": "cuda"}
    table = torch.randperm(len(lengths) * blocks, **like).view(len(lengths), blocks).int()
    rows = torch.randn(len(lengths) * blocks * page, rank + rope, **like).to(dtype)
    for sequence, length in enumerate(lengths):
        behind = torch.arange(length, blocks * page, **like)
        rows[table[sequence, behind // page].long() * page + behind % page] = float("nan")
    queries = torch.randn(len(lengths), heads, rank + rope, **like).to(dtype)
    counts = torch.tensor(lengths, dtype=torch.int32, **like)
    found = mla_decode(queries, rows, table, counts, page=page, scale=0.05, rank=rank)
    right = attention(queries, rows, table, lengths, page, rank)
    assert error(found, right) < TOLERANCE[dtype]
    assert all(not found[place].any() for place, length in enumerate(lengths) if not length)


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [1, 7, 64, 300, 2000])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("routing", ["spread", "all to one", "some to none"])
def test_experts_give_what_they_give_one_by_one(tokens: int, dtype: torch.dtype, routing: str) -> None:
    torch.manual_seed(0)
    experts, width, inner, top = 12, 200, 72, 3
    like = {"device": "cuda"}
    hidden = torch.randn(tokens, width, **like).to(dtype)
    gate_up = (torch.randn(experts, 2 * inner, width, **like) * 0.1).to(dtype)
    down = (torch.randn(experts, width, inner, **like) * 0.1).to(dtype)
    shares, chosen = torch.randn(tokens, experts, **like).softmax(-1).topk(top, -1)
    if routing == "all to one":
        chosen = torch.full_like(chosen, experts - 1)
    elif routing == "some to none":
        chosen[::2, 1] = -1
        chosen[1::3, 0] = experts
    shares = shares.to(dtype)
    found = fused_experts(hidden, gate_up, down, chosen, shares)
    assert error(found, mixture(hidden, gate_up, down, chosen, shares)) < TOLERANCE[dtype]


def test_what_no_kernel_takes_is_refused_before_anything_is_launched() -> None:
    rows = torch.zeros(16, 24)
    counts = torch.ones(1, dtype=torch.int32)
    with pytest.raises(ValueError, match="no kernel"):
        mla_decode(torch.zeros(1, 2, 24), rows, torch.zeros(1, 1).int(), counts, page=16, scale=1.0, rank=16)
    with pytest.raises(ValueError, match="no kernel"):
        fused_experts(*(torch.zeros(2, 2) for _ in range(3)), torch.zeros(2, 1).int(), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("changed", "supported"),
    [
        ({}, True),
        ({"rank": 8}, False),
        ({"rank": 1024}, False),
        ({"rope": 0}, False),
        ({"dtype": torch.float32}, False),
    ],
)
def test_a_shape_says_whether_the_kernel_takes_it(changed: dict[str, object], supported: bool) -> None:
    fields: dict[str, object] = {"heads": 16, "rank": 512, "rope": 64, "page": 64, "dtype": torch.bfloat16, **changed}
    assert Shape(**fields).is_supported() is supported  # type: ignore[arg-type]


def test_many_sequences_are_split_less_and_none_less_than_whole() -> None:
    assert [splits_for(sequences, 1) for sequences in (1, 4, 64, 1000)] == [64, 64, 4, 1]


def test_blocks_of_both_products_have_the_same_rows() -> None:
    for tokens in (1, 64, 300, 100_000):
        cut = tilings_for(tokens, 6, 64)
        assert cut.gate_and_up.rows == cut.down.rows


def test_weights_that_lie_otherwise_are_not_fused() -> None:
    hidden, gate_up, down = torch.zeros(2, 4).half(), torch.zeros(3, 8, 4).half(), torch.zeros(3, 4, 4).half()
    assert can_fuse(hidden, gate_up, down)
    assert not can_fuse(hidden, gate_up.transpose(1, 2), down)
    assert not can_fuse(hidden.float(), gate_up, down)

"""The inputs of a step of single tokens by pages, written for all texts at once rather than text by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs, ContinuousBatchingIOs
from transformers.generation.continuous_batching.requests import TMP_TOKEN_ID, FutureRequestState

from sluice.engine.generation.sampling import Samplers

# Of a token that a step is about to make. Shared, as nobody changes it.
_TO_COME = [TMP_TOKEN_ID]


class TokenInputs:
    """In the place of `prepare` of inputs on the host, transformers' own, which goes on to prepare all other steps."""

    def __init__(self, inputs: ContinuousBatchingIOs) -> None:
        self._inputs = inputs
        self._prepare_any: Callable[..., None] = inputs.prepare_batch_tensors
        (self._allocator,) = inputs.cache.cache_allocators.values()
        (self._layers,) = inputs.cumulative_seqlens_k

    def prepare(
        self,
        requests_in_batch: list[FutureRequestState],
        logits_processors: Samplers,
        use_decode_fast_path: bool,
        num_q_tokens: int,
        max_kv_read: int,
        use_padding: bool,
    ) -> None:
        """As transformers has it: `num_q_tokens` and `max_kv_read` are padded sizes."""
        by_pages = use_decode_fast_path and self._inputs.block_table.numel() > 0
        # A prompt may be cut into pieces of one token.
        if not (by_pages and all(one.has_new_token for one in requests_in_batch)):
            self._prepare_any(
                requests_in_batch, logits_processors, use_decode_fast_path, num_q_tokens, max_kv_read, use_padding
            )
            return
        self._begin(requests_in_batch, num_q_tokens)
        self._write(requests_in_batch)
        storage = self._inputs._bulk_input_tensor[self._inputs.static_inputs :]
        logits_processors.prepare_tensor_args(requests_in_batch=requests_in_batch, arg_storage=storage)

    def _begin(self, batch: Sequence[FutureRequestState], padded: int) -> None:
        inputs = self._inputs
        inputs.use_block_table = True
        inputs.num_q_tokens, inputs.max_kv_read = padded, 0
        inputs.num_request_in_batch = len(batch)
        # Of what the step before has left, only what this one may use.
        inputs._reset_static_tensors()
        inputs.true_read_sizes, inputs.true_write_sizes = [0], [0]
        inputs.requests_in_batch = list(batch)
        inputs.req_id_to_new_token_position = {one.state.request_id: place for place, one in enumerate(batch)}

    def _write(self, batch: Sequence[FutureRequestState]) -> None:
        inputs, texts = self._inputs, len(batch)
        states = [one.state for one in batch]
        places = np.fromiter((state.position_offset for state in states), np.int32, texts)
        inputs.input_ids.numpy()[:texts] = [state.tokens_to_process[0] for state in states]
        inputs.position_ids.numpy()[:texts] = places
        inputs.logits_indices.numpy()[:texts] = np.arange(texts)
        for state in states:
            state.position_offset += 1
            state.tokens_to_process = _TO_COME
        # Rows that only pad the batch have no length.
        ends = min(inputs.num_q_tokens, inputs.max_requests_per_batch) + 1
        inputs.cumulative_seqlens_q.numpy()[:ends] = np.minimum(np.arange(ends), texts)
        total = np.cumsum(places + 1)
        lengths = inputs.cumulative_seqlens_k[self._layers].numpy()
        lengths[0], lengths[1 : texts + 1], lengths[texts + 1 : ends] = 0, total, total[-1]
        inputs.max_length_q, inputs.total_seqlen_q = 1, texts
        inputs.max_length_k[self._layers] = int(places.max()) + 1
        inputs.total_seqlen_k[self._layers] = int(total[-1])
        self._write_pages([self._allocator.block_table[state.request_id] for state in states])

    def _write_pages(self, tables: Sequence[Sequence[int]]) -> None:
        counts: NDArray[np.int64] = np.fromiter(map(len, tables), np.int64, len(tables))
        pages = np.fromiter(chain.from_iterable(tables), np.int32, int(counts.sum()))
        rows = np.repeat(np.arange(len(tables)), counts)
        columns = np.arange(len(pages)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._inputs.block_table[self._allocator.index].numpy()[rows, columns] = pages


def write_tokens_at_once(io: Any) -> None:
    """Let the inputs of `io`, transformers' own, be prepared so wherever they lie on the host."""
    pairs = io.io_pairs if isinstance(io, ContinuousBatchingAsyncIOs) else []
    for inputs in [pair.host_io for pair in pairs] or [io]:
        if inputs.device.type == "cpu":
            inputs.prepare_batch_tensors = TokenInputs(inputs).prepare

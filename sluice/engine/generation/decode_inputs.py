"""The inputs of a step of single tokens by pages, written for all texts at once rather than text by text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs, ContinuousBatchingIOs
from transformers.generation.continuous_batching.requests import TMP_TOKEN_ID, FutureRequestState

from sluice.engine.generation.sampler import Sampler

# Of a token that a step is about to make. Shared, as nobody changes it.
_TO_COME = [TMP_TOKEN_ID]


class DecodeInputs(ContinuousBatchingIOs):
    """Inputs on the host, which leave all other steps to transformers."""

    def prepare_batch_tensors(
        self,
        requests_in_batch: list[FutureRequestState],
        logits_processors: Sampler,
        use_decode_fast_path: bool,
        num_q_tokens: int,
        max_kv_read: int,
        use_padding: bool,
    ) -> None:
        """As transformers has it: `num_q_tokens` and `max_kv_read` are padded sizes."""
        by_pages = use_decode_fast_path and self.block_table.numel() > 0
        # A prompt may be cut into pieces of one token.
        if not (by_pages and all(one.has_new_token for one in requests_in_batch)):
            super().prepare_batch_tensors(
                requests_in_batch, logits_processors, use_decode_fast_path, num_q_tokens, max_kv_read, use_padding
            )
            return
        self._begin(requests_in_batch, num_q_tokens)
        self._write(requests_in_batch)
        storage = self._bulk_input_tensor[self.static_inputs :]
        logits_processors.prepare_tensor_args(requests_in_batch=requests_in_batch, arg_storage=storage)

    def _begin(self, batch: Sequence[FutureRequestState], padded: int) -> None:
        self.use_block_table = True
        self.num_q_tokens, self.max_kv_read = padded, 0
        self.num_request_in_batch = len(batch)
        # Of what the step before has left, only what this one may use.
        self._reset_static_tensors()
        self.true_read_sizes, self.true_write_sizes = [0], [0]
        self.requests_in_batch = list(batch)
        self.req_id_to_new_token_position = {one.state.request_id: place for place, one in enumerate(batch)}

    def _write(self, batch: Sequence[FutureRequestState]) -> None:
        texts = len(batch)
        (layers,), (allocator,) = self.cumulative_seqlens_k, self.cache.cache_allocators.values()
        states = [one.state for one in batch]
        places = np.fromiter((state.position_offset for state in states), np.int32, texts)
        self.input_ids.numpy()[:texts] = [state.tokens_to_process[0] for state in states]
        self.position_ids.numpy()[:texts] = places
        self.logits_indices.numpy()[:texts] = np.arange(texts)
        for state in states:
            state.position_offset += 1
            state.tokens_to_process = _TO_COME
        # Rows that only pad the batch have no length.
        ends = min(self.num_q_tokens, self.max_requests_per_batch) + 1
        self.cumulative_seqlens_q.numpy()[:ends] = np.minimum(np.arange(ends), texts)
        total = np.cumsum(places + 1)
        lengths = self.cumulative_seqlens_k[layers].numpy()
        lengths[0], lengths[1 : texts + 1], lengths[texts + 1 : ends] = 0, total, total[-1]
        self.max_length_q, self.total_seqlen_q = 1, texts
        self.max_length_k[layers] = int(places.max()) + 1
        self.total_seqlen_k[layers] = int(total[-1])
        self._write_pages(allocator.index, [allocator.block_table[state.request_id] for state in states])

    def _write_pages(self, group: int, tables: Sequence[Sequence[int]]) -> None:
        counts: NDArray[np.int64] = np.fromiter(map(len, tables), np.int64, len(tables))
        pages = np.fromiter(chain.from_iterable(tables), np.int32, int(counts.sum()))
        rows = np.repeat(np.arange(len(tables)), counts)
        columns = np.arange(len(pages)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.block_table[group].numpy()[rows, columns] = pages


def carry_over_index(before: Iterable[str], after: Mapping[str, int], *, size: int) -> Tensor:
    """Where the tokens of a step, (size,), come from: a number in the step before, or -1 where they are known.

    `before` has the texts of that step in their order, `after` the place of each text in this one.
    """
    places = np.array([after.get(text, -1) for text in before], np.int64)
    numbers = np.flatnonzero(places >= 0)
    sources = np.full(size, -1, np.int32)
    sources[places[numbers]] = numbers
    return torch.from_numpy(sources)


class AsyncDecodeInputs(ContinuousBatchingAsyncIOs):
    """Inputs of steps that are prepared one ahead."""

    def infer_carry_over_ids(self) -> Tensor:
        """As transformers has it."""
        after, before = (self.io_pairs[place].host_io for place in (self.current_pair, 1 - self.current_pair))
        places = after.req_id_to_new_token_position
        return carry_over_index(before.req_id_to_new_token_position, places, size=self.max_batch_tokens)


def vectorize_decode_inputs(io: ContinuousBatchingIOs | ContinuousBatchingAsyncIOs) -> None:
    """Let the inputs of `io`, which transformers made, be prepared so wherever they lie on the host."""
    # transformers asks nobody of what class they shall be, and a method of one's own that is given to each is a cycle:
    # what is frozen is not collected, and so neither is the cache that they know.
    if isinstance(io, ContinuousBatchingAsyncIOs):
        io.__class__ = AsyncDecodeInputs
        on_host = [pair.host_io for pair in io.io_pairs]
    else:
        on_host = [io]
    for inputs in on_host:
        if inputs.device.type == "cpu":
            inputs.__class__ = DecodeInputs

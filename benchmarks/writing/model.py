"""The benchmark's generator: random weights, made on their device, and a tokenizer whose tokens are words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.qwen import make_model
from benchmarks.writing.scale import Scale
from benchmarks.writing.vocabulary import words
from sluice.domain.enums import Task, Tier
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.generation.engine import GenerationEngine
from sluice.engine.generation.kv_cache import kv_cache_config_for
from sluice.worker.execution.backend import ModelSpec

PRECISION = "bf16"
SPEC = ModelSpec(model="random", tier=Tier.FULL, checkpoint=Path("random"))


def generator_of(spec: ModelSpec, scale: Scale, device: torch.device, *, compiles: bool) -> GenerationEngine:
    """The generator that `spec` asks for."""
    model = make_model(Bench(device, smoke=scale.smoke), "mixed")
    model.config.max_position_embeddings = scale.text_tokens
    vocabulary = {word: place for place, word in enumerate(words(model.config.vocab_size))}
    tokens = Tokenizer(WordLevel(vocabulary, unk_token="aaaa"))  # noqa: S106  a word
    tokens.pre_tokenizer = WhitespaceSplit()
    checkpoint = Checkpoint(
        path=Path(spec.checkpoint),
        task=Task.TEXT_GENERATION,
        config=model.config,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokens),
        fingerprint="",
        labels=(),
        max_tokens=scale.text_tokens,
    )
    shape = kv_cache_config_for(
        model.config,
        device_type=device.type,
        dtype=model.dtype,
        texts=scale.texts,
        max_tokens=scale.text_tokens,
        memory_bytes=scale.cache_gb * 1e9,
    )
    return GenerationEngine(
        replace(spec, precision=PRECISION), checkpoint, model, shape, precision=PRECISION, compiles=compiles
    )

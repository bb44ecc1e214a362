"""From a checkpoint to a generator: what is refused, how large its cache is, and in which precisions it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GptOssConfig,
    MistralConfig,
    Qwen2Config,
)

from services.cpu_worker.load import load as cpu_load
from services.gpu_worker.load import load as gpu_load
from sluice.domain.enums import PrecisionMode, Task, Tier
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.generation import engine as loading
from sluice.engine.generation.attention.backend import unsupported_reason
from sluice.engine.generation.engine import GenerationEngine
from sluice.engine.generation.kv_cache import (
    ACCELERATOR_PAGE,
    CPU_PAGE,
    KVCacheConfig,
    kv_cache_config_for,
    token_bytes,
)
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import FinishReason, GenerationLimits, GenerationRequest
from tests.unit.engine import tiny
from tests.unit.engine.generation.ear import Ear
from tests.unit.engine.generation.generators import written
from tests.unit.engine.generation.loops import KINDS, model_of

pytestmark = pytest.mark.torch
PROMPT = "where is my parcel?"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    home = tmp_path_factory.mktemp("writes")
    return {kind: tiny.write_language_model(home / kind, kind, eos_token_id=None) for kind in KINDS}


@contextmanager
def at_work(generator: Any) -> Iterator[Ear]:
    """The generator, started as a worker starts it."""
    assert isinstance(generator, GenerationEngine)
    ear = Ear()
    generator.warm_up()
    generator.start(ear)
    try:
        yield ear
    finally:
        generator.close()


def spec_of(checkpoint: Path, tier: Tier = Tier.FULL, **more: Any) -> ModelSpec:
    return ModelSpec(model="chat", tier=tier, checkpoint=checkpoint, threads=1, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_that_writes_is_opened(checkpoints: dict[str, Path], kind: str) -> None:
    opened = open_checkpoint(checkpoints[kind])
    assert (opened.task, opened.labels, opened.max_tokens) == (Task.TEXT_GENERATION, (), tiny.LONGEST)


def test_its_tokenizer_need_not_pad(tmp_path: Path) -> None:
    home = tiny.write_language_model(tmp_path / "m", "llama")
    tiny.edit(home / "tokenizer_config.json", pad_token=None)
    assert open_checkpoint(home).tokenizer.pad_token is None
    classifier = tiny.write(tmp_path / "c", "llama")
    tiny.edit(classifier / "tokenizer_config.json", pad_token=None)
    with pytest.raises(InvalidRequest, match="no pad token"):
        open_checkpoint(classifier)


def test_a_tokenizer_without_a_file_that_says_how_it_works_is_refused(tmp_path: Path) -> None:
    home = tiny.write_language_model(tmp_path / "m", "llama")
    (home / "tokenizer.json").unlink()
    (home / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    with pytest.raises(InvalidRequest, match=r"tokenizer\.json is missing") as refused:
        open_checkpoint(home)
    assert refused.value.field == "checkpoint"


@pytest.mark.parametrize("name", ["BertLMHeadModel", "BertForMaskedLM", "T5ForConditionalGeneration"])
def test_what_reads_both_ways_does_not_write(tmp_path: Path, name: str) -> None:
    home = tiny.write_base(tmp_path / "m", "bert")
    tiny.edit(home / "config.json", architectures=[name])
    with pytest.raises(InvalidRequest, match=f"names {name}; this release serves .*ForCausalLM"):
        open_checkpoint(home)


SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {**SIZES, "num_key_value_heads": 1, "vocab_size": 50, "head_dim": 16, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (MistralConfig(**SMALL, sliding_window=8), "a window of a text"),
        (Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=8, max_window_layers=1), "a window of a text"),
        (Gemma2Config(**SMALL, layer_types=["full_attention"] * 2), "soft caps"),
        (GptOssConfig(**SMALL, layer_types=["full_attention"] * 2, num_local_experts=2), "sinks"),
        (BloomConfig(vocab_size=50, hidden_size=32, n_layer=2, n_head=2), "of its own"),
        (Qwen2Config(**SMALL, layer_types=["linear_attention"] * 2), "invalid layer type"),
    ],
    ids=["windows", "some windows", "soft caps", "sinks", "positions in attention", "no attention"],
)
def test_attention_that_is_not_known_here_is_told(config: Any, why: str) -> None:
    if why == "invalid layer type":
        model = model_of("qwen2")
        model.config.layer_types = config.layer_types
    else:
        model = AutoModelForCausalLM.from_config(config)
    assert why in unsupported_reason(model)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_hinders_those_that_are_known(kind: str) -> None:
    assert unsupported_reason(model_of(kind)) == ""
    assert unsupported_reason(AutoModelForCausalLM.from_config(MistralConfig(**SMALL, sliding_window=None))) == ""


def test_a_checkpoint_whose_attention_is_not_known_is_refused(tmp_path: Path) -> None:
    words = tiny.tokenizer()
    config = MistralConfig(**{**SMALL, "vocab_size": len(words)}, sliding_window=8)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(InvalidRequest, match="window of a text, which this release does not write") as refused:
        gpu_load(spec_of(tmp_path, precision="fp32"), device_name="cpu")
    assert refused.value.field == "checkpoint"


def room_of(config: Any, **more: Any) -> KVCacheConfig:
    usual: dict[str, Any] = {
        "device_type": "cpu",
        "dtype": torch.float32,
        "texts": 4,
        "max_tokens": 100,
        "memory_bytes": 1e9,
    }
    return kv_cache_config_for(config, **(usual | more))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_holds_all_texts_at_their_longest_if_there_is_room(kind: str) -> None:
    config = model_of(kind).config
    shape = room_of(config)
    # Seven pages hold a hundred tokens.
    assert (shape.page, shape.pages, shape.texts, shape.text_tokens) == (CPU_PAGE, 4 * 7, 4, 100)
    assert shape.cache_tokens == 28 * CPU_PAGE
    there = room_of(config, device_type="anything")
    assert (there.page, there.pages, there.text_tokens) == (ACCELERATOR_PAGE, 4, 100)
    assert there.batch_tokens > shape.batch_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_takes_no_more_memory_than_it_may(kind: str) -> None:
    config = model_of(kind).config
    page_bytes = CPU_PAGE * token_bytes(config, torch.float32)
    shape = room_of(config, memory_bytes=3 * page_bytes)
    assert (shape.pages, shape.text_tokens) == (3, 3 * CPU_PAGE)
    assert room_of(config, memory_bytes=3 * page_bytes - 1).pages == 2
    assert room_of(config, memory_bytes=3 * page_bytes, dtype=torch.bfloat16).pages == 6
    with pytest.raises(MemoryError, match="no page of 16 tokens"):
        room_of(config, memory_bytes=page_bytes - 1)


def test_a_token_takes_what_its_keys_and_values_take() -> None:
    llama, deepseek = model_of("llama").config, model_of("deepseek_v3").config
    assert token_bytes(llama, torch.float32) == 2 * 2 * 1 * 16 * 4
    assert token_bytes(deepseek, torch.float32) == 2 * (8 + 8) * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("worker", ["gpu", "cpu"])
def test_both_workers_load_one_and_write_what_generate_writes(
    checkpoints: dict[str, Path], kind: str, worker: str
) -> None:
    spec = spec_of(checkpoints[kind], Tier.FULL if worker == "gpu" else Tier.LIGHT, precision="fp32")
    made = gpu_load(spec, device_name="cpu") if worker == "gpu" else cpu_load(spec, cache="unused")
    with at_work(made) as ear:
        made.begin(1, GenerationRequest(text=PROMPT, max_new_tokens=20))  # type: ignore[union-attr]
        assert ear.text(1) == written(checkpoints[kind], PROMPT, 20)[0]
    assert made.variant.id == f"chat/{spec.tier.name.lower()}-fp32"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_it_writes_in_half_precision(checkpoints: dict[str, Path], kind: str, precision: str) -> None:
    made = gpu_load(spec_of(checkpoints[kind], precision=precision), device_name="cpu")
    with at_work(made) as ear:
        made.begin(1, GenerationRequest(text=PROMPT, max_new_tokens=20))  # type: ignore[union-attr]
        made.begin(2, GenerationRequest(text="b" * 30, max_new_tokens=20, temperature=1.0))  # type: ignore[union-attr]
        for key in (1, 2):
            assert (ear.last(key).finish, ear.last(key).tokens) == (FinishReason.LENGTH, 20)
        cache = made._writer.batch_processor.cache  # type: ignore[union-attr]
        assert cache.dtype is torch.bfloat16


def test_the_mode_of_the_worker_is_the_precision_of_a_spec_without(checkpoints: dict[str, Path]) -> None:
    made = gpu_load(spec_of(checkpoints["qwen2"]), device_name="cpu", mode=PrecisionMode.MIXED)
    assert made.variant.precision == "mixed"
    made.close()


def test_room_is_shared_as_the_spec_says(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    config = open_checkpoint(checkpoints["qwen2"]).config
    monkeypatch.setattr(loading, "free_memory_bytes", lambda: 40 * CPU_PAGE * token_bytes(config, torch.float32))

    def cache_of(tier: Tier, room: GenerationLimits) -> tuple[int, int]:
        spec = spec_of(checkpoints["qwen2"], tier, precision="fp32", generation=room)
        made = gpu_load(spec, device_name="cpu")
        made.close()
        return made.variant.cache_tokens // CPU_PAGE, made.variant.max_generations

    assert cache_of(Tier.FULL, GenerationLimits(memory_share=0.5)) == (20, 16)
    assert cache_of(Tier.FULL, GenerationLimits(memory_share=0.5, max_texts=3)) == (3 * 4, 3)
    # A copy leaves its full model its room.
    assert cache_of(Tier.LIGHT, GenerationLimits(memory_share=1.0)) == (10, 16)
    with pytest.raises(MemoryError):
        cache_of(Tier.FULL, GenerationLimits(memory_share=0.001))

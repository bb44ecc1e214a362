"""The torch backend against plain transformers, through the loaders of both workers."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import pytest
import torch

from services.gpu_worker.load import load as gpu_load
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest
from sluice.engine.accelerator import pick_device
from sluice.engine.encoder.torch_backend import TorchBackend
from sluice.worker.execution.backend import Backend, Classification, DetectsDeviceLoss, Item, ModelSpec
from tests.unit.engine.conftest import Demo
from tests.unit.engine.loading import full, light, table
from tests.unit.engine.plain import probabilities
from tests.unit.engine.tiny import ARCHITECTURES, LABELS, LONGEST, TEXTS, edit, write

pytestmark = pytest.mark.torch


def load_by(worker: str, checkpoint: Path) -> Backend:
    return light(checkpoint) if worker == "cpu_worker" else full(checkpoint)


@pytest.mark.parametrize("worker", ["cpu_worker", "gpu_worker"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_users_own_checkpoint_answers_as_plain_transformers_does(
    tiny_checkpoints: dict[str, Path], architecture: str, worker: str
) -> None:
    backend = load_by(worker, tiny_checkpoints[architecture])
    expected = probabilities(tiny_checkpoints[architecture], TEXTS)
    for row, wanted in zip(table(backend, TEXTS), expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-4)
    # Answers that hardly differ between texts would agree whatever went wrong.
    assert max(row[0] for row in expected) - min(row[0] for row in expected) > 0.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neither_company_nor_order_changes_an_answer(tiny_checkpoints: dict[str, Path], architecture: str) -> None:
    backend = light(tiny_checkpoints[architecture])
    together = table(backend, TEXTS)
    alone = [table(backend, [text])[0] for text in TEXTS]
    backwards = table(backend, TEXTS[::-1])[::-1]
    for one, other, another in zip(together, alone, backwards, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
        assert one == pytest.approx(another, abs=1e-5)


def test_the_shipped_full_and_light_models_answer_as_plain_transformers_does(models: Path, demo: Demo) -> None:
    texts = demo.texts[:24]
    for load, name in ((full, "support-intent-full"), (light, "support-intent-light")):
        rows = table(load(models / name), texts)
        for row, wanted in zip(rows, probabilities(models / name, texts), strict=True):
            assert row == pytest.approx(wanted, abs=1e-4)


def test_the_variant_says_what_was_loaded(tiny_checkpoints: dict[str, Path]) -> None:
    variant = light(tiny_checkpoints["distilbert"]).variant
    assert (variant.id, variant.model, variant.tier, variant.task) == (
        "mine/light-fp32",
        "mine",
        Tier.LIGHT,
        Task.TEXT_CLASSIFICATION,
    )
    assert (variant.device, variant.precision, variant.labels) == ("cpu", "fp32", LABELS)
    assert (variant.max_tokens, variant.quality, variant.quality_by_complexity) == (LONGEST, None, ())


def test_roberta_has_fewer_places_than_positions(tiny_checkpoints: dict[str, Path]) -> None:
    backend = light(tiny_checkpoints["roberta"])
    assert backend.variant.max_tokens == LONGEST - 1
    assert len(table(backend, ["a" * (LONGEST - 3)])) == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16", "mixed"])
def test_lower_precision_moves_probabilities_only_a_little(tiny_checkpoints: dict[str, Path], precision: str) -> None:
    backend = full(tiny_checkpoints["bert"], precision=precision)
    assert backend.variant.id == f"mine/full-{precision}"
    rows = table(backend, TEXTS)
    expected = probabilities(tiny_checkpoints["bert"], TEXTS)
    pairs = zip(chain(*rows), chain(*expected), strict=True)
    assert 0 < max(abs(one - other) for one, other in pairs) < 0.05


@pytest.mark.parametrize("problem_type", ["multi_label_classification", None])
def test_labels_that_do_not_exclude_each_other_get_a_probability_each(tmp_path: Path, problem_type: str | None) -> None:
    checkpoint = write(tmp_path / "emotions", "bert", problem_type=problem_type)
    rows = table(light(checkpoint), TEXTS)
    several = problem_type is not None
    for row, wanted in zip(rows, probabilities(checkpoint, TEXTS, multi_label=several), strict=True):
        assert row == pytest.approx(wanted, abs=1e-4)
        assert math.isclose(sum(row), 1.0, abs_tol=1e-4) is not several


def test_a_head_with_one_label_answers_by_its_probability(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "spam", "bert", id2label={0: "spam"}, label2id={"spam": 0})
    outputs = light(checkpoint).execute([Item(text) for text in TEXTS])
    wanted = [row[0] for row in probabilities(checkpoint, TEXTS, multi_label=True)]
    assert [one.score for one in outputs if isinstance(one, Classification)] == pytest.approx(wanted, abs=1e-4)


def test_a_decoder_that_names_no_pad_token_is_padded_with_the_tokenizers(
    tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = write(tmp_path / "decoder", "qwen2")
    edit(checkpoint / "config.json", pad_token_id=None)
    rows = table(light(checkpoint), TEXTS)
    for row, wanted in zip(rows, probabilities(tiny_checkpoints["qwen2"], TEXTS), strict=True):
        assert row == pytest.approx(wanted, abs=1e-4)


def test_what_a_tokenizer_gives_beyond_the_models_inputs_is_left_out(
    tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = write(tmp_path / "typed", "distilbert")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    edit(checkpoint / "tokenizer_config.json", model_input_names=names)
    rows = table(light(checkpoint), TEXTS)
    assert rows == table(light(tiny_checkpoints["distilbert"]), TEXTS)


def test_weights_in_shards_are_one_model(tiny_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    checkpoint = write(tmp_path / "shards", "bert")
    AutoModelForSequenceClassification.from_pretrained(checkpoint).save_pretrained(checkpoint, max_shard_size="100KB")
    (checkpoint / "model.safetensors").unlink()
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    assert table(light(checkpoint), TEXTS) == table(light(tiny_checkpoints["bert"]), TEXTS)


def test_an_unknown_precision_is_refused_by_name(tiny_checkpoints: dict[str, Path]) -> None:
    with pytest.raises(
        InvalidRequest, match="precision 'fp12' is none of fp32, bf16, fp16, mixed, fp8, int4"
    ) as caught:
        full(tiny_checkpoints["bert"], precision="fp12")
    assert caught.value.field == "precision"


def test_a_model_that_does_not_fit_is_no_mistake_of_the_checkpoint(
    tiny_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_up(module: torch.nn.Module, device: torch.device) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ...")

    monkeypatch.setattr(torch.nn.Module, "to", full_up)
    with pytest.raises(MemoryError, match="bert does not fit into the memory of cpu"):
        full(tiny_checkpoints["bert"])


@pytest.mark.parametrize("name", ["abacus", "meta:x", "xpu:99"])
def test_an_unusable_device_is_refused_by_name(tiny_checkpoints: dict[str, Path], name: str) -> None:
    spec = ModelSpec(model="mine", tier=Tier.FULL, checkpoint=tiny_checkpoints["bert"])
    with pytest.raises(InvalidRequest, match=f"device '{name}' cannot be used") as caught:
        gpu_load(spec, device_name=name)
    assert caught.value.field == "device"
    assert "\n" not in caught.value.message


def test_auto_takes_the_accelerator_if_there_is_one_and_else_the_cpu() -> None:
    found = torch.accelerator.current_accelerator(check_available=True)
    assert pick_device("auto") == (found or torch.device("cpu"))


class _Falling:
    """Stands for a device's tensors when they can be made no more."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *size: int, **options: object) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 2 GiB."),
        MemoryError(),
    ],
    ids=["device", "host", "python"],
)
def test_memory_that_does_not_suffice_is_told_as_such(
    tiny_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    backend = full(tiny_checkpoints["bert"])
    assert isinstance(backend, TorchBackend)
    monkeypatch.setattr(backend, "forward", _Falling(error))
    with pytest.raises(MemoryError):
        backend.execute([Item("a")])
    monkeypatch.undo()
    (output,) = backend.execute([Item("a")])
    assert isinstance(output, Classification)


def test_any_other_failure_is_told_as_it_is(tiny_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = full(tiny_checkpoints["bert"])
    monkeypatch.setattr(backend, "forward", _Falling(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):
        backend.execute([Item("a")])


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (None, False),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
    ],
    ids=["well", "assert", "launch", "full"],
)
def test_a_device_is_lost_if_it_adds_no_one_and_one(
    tiny_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception | None, is_lost: bool
) -> None:
    backend = full(tiny_checkpoints["bert"])
    assert isinstance(backend, DetectsDeviceLoss)
    if error is not None:
        monkeypatch.setattr(torch, "ones", _Falling(error))
    assert backend.is_device_lost() is is_lost

"""A student keeps the right layers of its teacher, and all that is no layer, in each architecture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AlbertConfig, AutoModelForSequenceClassification

from sluice.distillation.layer_drop import drop_layers, kept_layers
from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.model import load_model
from tests.unit.distillation import teachers
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
LISTS = {
    "bert": "bert.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "mobilebert": "mobilebert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "deberta-v2": "deberta.encoder.layer",
    "deepseek_v3": "model.layers",
    "llama": "model.layers",
    "qwen2": "model.layers",
}


@given(of=st.integers(1, 96), data=st.data())
def test_kept_layers_are_evenly_spaced_from_the_first_to_the_last(of: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, of))
    kept = kept_layers(count, of)
    assert len(set(kept)) == len(kept) == count
    assert kept[0] == 0
    gaps = [later - earlier for earlier, later in pairwise(kept)]
    assert all(gap >= 1 for gap in gaps)
    if count > 1:
        assert kept[-1] == of - 1
        assert max(gaps) - min(gaps) <= 1
    if count == of:
        assert kept == tuple(range(of))


def test_some_layers_of_twelve() -> None:
    assert kept_layers(6, 12) == (0, 2, 4, 7, 9, 11)
    assert kept_layers(2, 4) == (0, 3)
    assert kept_layers(1, 4) == (0,)


def loaded(directory: Path, *, task: Task = Task.TEXT_CLASSIFICATION) -> Any:
    return load_model(directory, dtype=torch.float32, task=task)


def answer(model: Any) -> Any:
    ids = torch.arange(12)[None] + 5
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]


@pytest.mark.parametrize("base", [False, True], ids=["classifier", "embedder"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_student_is_its_teacher_without_the_layers_between(tmp_path: Path, architecture: str, base: bool) -> None:
    directory = teachers.write(tmp_path / "teacher", architecture, base=base)
    teacher = loaded(directory, task=Task.FEATURE_EXTRACTION if base else Task.TEXT_CLASSIFICATION)
    student, kept = drop_layers(teacher, 3)
    assert kept == (0, 2, 4)
    assert (student.config.num_hidden_layers, teacher.config.num_hidden_layers) == (3, teachers.LAYERS)
    prefix = LISTS[architecture]
    prefix = prefix.partition(".")[2] if base else prefix
    for name, tensor in student.state_dict().items():
        if name.startswith(f"{prefix}."):
            place, _, rest = name.removeprefix(f"{prefix}.").partition(".")
            assert torch.equal(tensor, teacher.state_dict()[f"{prefix}.{kept[int(place)]}.{rest}"])
        else:
            assert torch.equal(tensor, teacher.state_dict()[name])
    # The same by other means: the teacher with layers taken out of its list computes what the student computes.
    said = answer(student)
    layers = teacher.get_submodule(prefix)
    for place in (3, 1):
        del layers[place]
    teacher.config.num_hidden_layers = 3
    torch.testing.assert_close(said, answer(teacher), rtol=1e-5, atol=1e-6)


def test_a_student_shares_no_weight_with_its_teacher(teacher: Path) -> None:
    model = loaded(teacher)
    student, _ = drop_layers(model, 2)
    before = answer(model)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert torch.equal(before, answer(model))


def test_layers_without_experts_come_first_in_the_student_too(tmp_path: Path) -> None:
    directory = teachers.write(tmp_path / "teacher", "deepseek_v3", first_k_dense_replace=3)
    student, kept = drop_layers(loaded(directory), 3)
    assert kept == (0, 2, 4)
    assert student.config.first_k_dense_replace == 2


def test_what_is_listed_for_each_layer_is_listed_for_the_kept_ones(tmp_path: Path) -> None:
    teacher = loaded(teachers.write(tmp_path / "teacher", "qwen2"))
    teacher.config.layer_types = ["full_attention"] * 4 + ["sliding_attention"]
    teacher.config.sliding_window = 4
    student, _ = drop_layers(teacher, 2)
    assert student.config.layer_types == ["full_attention", "sliding_attention"]


def refusal(model: Any, count: int) -> str:
    with pytest.raises(InvalidRequest) as caught:
        drop_layers(model, count)
    assert caught.value.field == "layers"
    return caught.value.message


def test_more_layers_than_there_are_are_refused(teacher: Path) -> None:
    assert refusal(loaded(teacher), 6) == "the teacher has 5 layers, fewer than 6"


def test_an_architecture_that_shares_one_layer_is_told(tmp_path: Path) -> None:
    config = AlbertConfig(vocab_size=50, embedding_size=8, hidden_size=16, intermediate_size=16, num_attention_heads=2)
    model = AutoModelForSequenceClassification.from_config(config)
    told = refusal(model, 2)
    assert told.startswith("layers cannot be left out of a model of type albert: no lists of 12 layers were found")
    assert "--student-config" in told

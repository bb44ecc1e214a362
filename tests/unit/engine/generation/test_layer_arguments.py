"""Layers that do not pass on what a batch is laid out by: their model writes as `generate` does all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, NemotronConfig, StableLmConfig

from sluice.engine.generation.attention.layer_arguments import hand_down, withholding
from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.loops import KINDS, SETTINGS, Loop, model_of, prompt, written_by

pytestmark = pytest.mark.torch
TOKENS = 12
LENGTHS = (1, 9, 16, 40)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("ahead", [False, True], ids=["one step after the other", "steps prepared ahead"])
@pytest.mark.parametrize("kind", [NemotronConfig, StableLmConfig], ids=lambda kind: kind.__name__)
def test_they_write_what_generate_writes(kind: Any, *, ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if ahead:
        prepare_ahead(monkeypatch)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**{**SETTINGS, **SIZES, "num_key_value_heads": 1})).eval()
    expected = {f"{length}": written_by(model, prompt(length), TOKENS) for length in LENGTHS}
    assert len(withholding(model)) == SIZES["num_hidden_layers"]
    assert hand_down(model)
    loop = Loop(model)
    for length in LENGTHS:
        loop.add(f"{length}", prompt(length), TOKENS)
    loop.run()
    assert {name: loop.tokens(name) for name in expected} == expected
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_done_to_layers_that_pass_everything_on(kind: str) -> None:
    model = model_of(kind)
    assert not hand_down(model)
    assert not any(module._forward_pre_hooks for module in model.modules())

"""Building, saving and loading chat models: Hugging Face directories that transformers' own chat tools understand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from sluice.training import checkpoint
from sluice.training.recipe import Recipe


def build(recipe: Recipe, tokenizer: Any, *, seed: int) -> Any:
    """Returns an untrained fp32 model of the recipe, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    ends = _ends(tokenizer)
    model = AutoModelForCausalLM.from_config(recipe.config({"vocab_size": len(tokenizer), **ends}), dtype=torch.float32)
    model.generation_config = GenerationConfig(**ends, do_sample=False)
    return model


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Writes config, generation config, fp16 weights and tokenizer with chat template; makes `directory`."""
    checkpoint.save_model(model, directory, stored=torch.float16)
    tokenizer.save_pretrained(directory)


def load(directory: Path) -> tuple[Any, Any]:
    """Returns the fp32 model in evaluation mode and the tokenizer of a checkpoint directory, from local files only."""
    model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(directory, local_files_only=True)


def _ends(tokenizer: Any) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}

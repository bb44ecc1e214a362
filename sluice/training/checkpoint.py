"""Building, saving and loading checkpoints: any Hugging Face directory loads, and ours are one of them.

Ours are stored as fp16 to halve the download, and `config.json` names fp32 as the type to load them in. Routing
biases stay fp32, as transformers asks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sluice.training.recipe import Recipe

_KEPT_WIDE = "e_score_correction_bias"


def build(recipe: Recipe, tokenizer: Any, labels: Sequence[str], *, seed: int) -> Any:
    """Returns an untrained fp32 model of the recipe, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    config = recipe.config(
        {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: place for place, label in enumerate(labels)},
        }
    )
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Writes config, fp16 weights and tokenizer into `directory`, which need not exist."""
    save_model(model, directory, stored=torch.float16)
    tokenizer.save_pretrained(directory)


def save_model(model: Any, directory: Path, *, stored: torch.dtype) -> None:
    """Writes config and weights, stored in type `stored`, into `directory`, which need not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    for weights in directory.glob("*.safetensors"):
        state = {name: _as(stored, name, tensor) for name, tensor in load_file(weights).items()}
        save_file(state, weights, metadata={"format": "pt"})
        weights.chmod(0o644)
    config_file = directory / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(directory: Path) -> tuple[Any, Any]:
    """Returns the fp32 model in evaluation mode and the tokenizer of a checkpoint directory, from local files only."""
    model = AutoModelForSequenceClassification.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(directory, local_files_only=True)


def _as(stored: torch.dtype, name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name.endswith(_KEPT_WIDE) or not tensor.is_floating_point():
        return tensor
    return tensor.to(stored).contiguous()

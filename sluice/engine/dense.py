"""A sentence-transformers Dense module: one linear layer and an activation behind the pooling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sluice.engine.checkpoint.errors import fault
from sluice.engine.checkpoint.json_files import read_settings
from sluice.engine.checkpoint.weights import WEIGHTS, fingerprint, weight_files

_CONFIG = "config.json"
_SENTENCE = "sentence_embedding"
# By the last part of the dotted name that the config writes, so that no name ever leads to an import.
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "GELU": nn.functional.gelu,
    "Identity": lambda values: values,
    "ReLU": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}


class Dense:
    """The module kept in directory `path`. It takes (texts, in_features) in fp32 and gives (texts, out_features)."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidRequest, field `checkpoint`, naming the file that is missing, damaged, pickled or unfit."""
        config = read_settings(path, _CONFIG)
        name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
        activation = _ACTIVATIONS.get(name.rpartition(".")[2])
        if activation is None or not name.startswith("torch.nn."):
            raise fault(path, _CONFIG, f"names activation {name}, none of {', '.join(_ACTIVATIONS)}")
        for key in ("module_input_name", "module_output_name"):
            if (config.get(key) or _SENTENCE) != _SENTENCE:
                raise fault(path, _CONFIG, f"has {key} {config[key]}; this release knows {_SENTENCE} only")
        # Refuses weights that are not whole and finite.
        fingerprint(path)
        state = {key: tensor.float() for file in weight_files(path) for key, tensor in load_file(file).items()}
        weight, bias = state.get("linear.weight"), state.get("linear.bias")
        shape = (config.get("out_features"), config.get("in_features"))
        if weight is None or tuple(weight.shape) != shape:
            raise fault(path, WEIGHTS, f"holds no linear.weight of shape {shape[0]} x {shape[1]}, as {_CONFIG} says")
        if bool(config.get("bias", True)) is not (bias is not None) or (
            bias is not None and tuple(bias.shape) != shape[:1]
        ):
            raise fault(path, WEIGHTS, f"holds no linear.bias that fits {_CONFIG}")
        self.path = path
        self._weight, self._bias, self._activation = weight, bias, activation
        self.out_features, self.in_features = weight.shape

    def __call__(self, vectors: Tensor) -> Tensor:
        """The activated projection of each row."""
        return self._activation(nn.functional.linear(vectors, self._weight, self._bias))

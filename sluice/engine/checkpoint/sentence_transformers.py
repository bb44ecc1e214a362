"""A sentence-transformers directory: what modules.json puts behind the transformer, and how texts come to it.

Module types are matched by name and never imported, so that a checkpoint cannot bring code of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from sluice.engine.checkpoint.errors import checkpoint_error, one_line
from sluice.engine.checkpoint.weights import WEIGHTS, fingerprint, weight_files

# A checkpoint's small JSON files, each of which is a table of settings.


def read_settings(directory: Path, name: str) -> dict[str, Any]:
    """What file `name` of `directory` says. Raises InvalidRequest, field `checkpoint`, when it is no JSON object."""
    try:
        content = json.loads((directory / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise checkpoint_error(directory, name, f"cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise checkpoint_error(directory, name, "is no table of settings")
    return content


# A sentence-transformers Dense module: one linear layer and an activation behind the pooling.


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
            raise checkpoint_error(path, _CONFIG, f"names activation {name}, none of {', '.join(_ACTIVATIONS)}")
        for key in ("module_input_name", "module_output_name"):
            if (config.get(key) or _SENTENCE) != _SENTENCE:
                raise checkpoint_error(path, _CONFIG, f"has {key} {config[key]}; this release knows {_SENTENCE} only")
        # Refuses weights that are not whole and finite.
        fingerprint(path)
        state = {key: tensor.float() for file in weight_files(path) for key, tensor in load_file(file).items()}
        weight, bias = state.get("linear.weight"), state.get("linear.bias")
        shape = (config.get("out_features"), config.get("in_features"))
        if weight is None or tuple(weight.shape) != shape:
            raise checkpoint_error(
                path, WEIGHTS, f"holds no linear.weight of shape {shape[0]} x {shape[1]}, as {_CONFIG} says"
            )
        if bool(config.get("bias", True)) is not (bias is not None) or (
            bias is not None and tuple(bias.shape) != shape[:1]
        ):
            raise checkpoint_error(path, WEIGHTS, f"holds no linear.bias that fits {_CONFIG}")
        self.path = path
        self._weight, self._bias, self._activation = weight, bias, activation
        self.out_features, self.in_features = weight.shape

    def __call__(self, vectors: Tensor) -> Tensor:
        """The activated projection of each row."""
        return self._activation(nn.functional.linear(vectors, self._weight, self._bias))


# Pooling: from one vector per token to one vector per text.
#
# The modes, their names and the order in which several are concatenated are those of sentence-transformers' Pooling
# module; `weightedmean` and `lasttoken` come from SGPT (Muennighoff, arXiv 2202.08904).


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001 - all modes are called alike
    return hidden[:, 0]


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / mask.sum(1, keepdim=True)


def _mean_sqrt_len(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / mask.sum(1, keepdim=True).sqrt()


def _weightedmean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _sum(hidden, weights) / weights.sum(1, keepdim=True)


def _lasttoken(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1).long() - 1]


def _sum(hidden: Tensor, weights: Tensor) -> Tensor:
    # Padding is left out rather than multiplied by nought: what a model computes there need not be finite.
    kept = hidden.masked_fill(weights.unsqueeze(-1) == 0, 0.0)
    return torch.einsum("btw,bt->bw", kept, weights)


MODES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weightedmean,
    "lasttoken": _lasttoken,
}
"""The modes by name, in the order in which sentence-transformers concatenates them."""


def pool(hidden: Tensor, mask: Tensor, modes: Sequence[str]) -> Tensor:
    """One fp32 vector per text, (texts, width x modes), of `hidden`, (texts, tokens, width).

    `mask`, (texts, tokens), is 1 at attended tokens and 0 at the padding, which stands on the right. A text has at
    least one attended token.
    """
    values, attended = hidden.float(), mask.float()
    return torch.cat([MODES[mode](values, attended) for mode in modes], dim=1)


MODULES = "modules.json"
SETTINGS = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"
_LIBRARY = "sentence_transformers."
_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModules:
    """How token vectors become a text's vector: pooled by `modes`, concatenated in that order, then each of `steps`.

    `transformer` is the directory of the transformer and its tokenizer; `max_tokens` bounds a text, if given; with
    `lower_case`, texts are written in small letters first.
    """

    transformer: Path
    modes: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    max_tokens: int | None = None
    lower_case: bool = False


def read_modules(path: Path) -> SentenceModules | None:
    """The modules of directory `path`, or None when it has no modules.json.

    Raises InvalidRequest, field `checkpoint`, naming the file whose module, mode or setting is unknown or unfit.
    """
    if not (path / MODULES).is_file():
        return None
    modules = list_modules(path)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise checkpoint_error(
            path, MODULES, f"begins with {', '.join(kinds[:2]) or 'nothing'}, not with Transformer, Pooling"
        )
    transformer, pooling = modules[0][1], modules[1][1]
    _check_prompt(path)
    settings = read_settings(transformer, SETTINGS) if (transformer / SETTINGS).is_file() else {}
    longest = settings.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or longest < 1):
        raise checkpoint_error(transformer, SETTINGS, f"has max_seq_length {longest!r}, which is no number of tokens")
    return SentenceModules(
        transformer=transformer,
        modes=_modes(pooling),
        steps=tuple(_step(path, kind, directory) for kind, directory in modules[2:]),
        max_tokens=longest,
        lower_case=bool(settings.get("do_lower_case")),
    )


def check_widths(modules: SentenceModules, *, hidden: int) -> None:
    """Raises InvalidRequest, field `checkpoint`, unless each Dense takes what comes out of the step before it.

    `hidden` is the width of the transformer's token vectors.
    """
    width = hidden * len(modules.modes)
    for step in modules.steps:
        if isinstance(step, Dense):
            if step.in_features != width:
                problem = f"takes {step.in_features} values, and {width} come to it"
                raise checkpoint_error(step.path, "config.json", problem)
            width = step.out_features


def list_modules(path: Path) -> list[tuple[str, Path]]:
    """The modules that modules.json of directory `path` lists: each one's type, and the directory inside of `path`.

    Raises InvalidRequest, field `checkpoint`, naming the file, when it is no list, or one leads out of the directory or
    to code of its own.
    """
    try:
        listed = json.loads((path / MODULES).read_text(encoding="utf-8"))
        entries = [(str(entry["type"]), PurePath(entry["path"])) for entry in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checkpoint_error(path, MODULES, f"is no list of modules: {one_line(error)}") from error
    for kind, place in entries:
        if place.is_absolute() or ".." in place.parts:
            raise checkpoint_error(path, MODULES, f"names '{place}', which lies outside of the checkpoint")
        if not kind.startswith(_LIBRARY):
            raise checkpoint_error(path, MODULES, f"names module {kind}, which brings code of its own")
    return [(kind.rpartition(".")[2], path / place) for kind, place in entries]


def _step(path: Path, kind: str, directory: Path) -> Step:
    if kind == "Normalize":
        return normalize
    if kind == "Dense":
        return Dense(directory)
    raise checkpoint_error(
        path, MODULES, f"names module {kind}; behind the pooling this release knows Dense and Normalize"
    )


def _modes(directory: Path) -> tuple[str, ...]:
    config = read_settings(directory, "config.json")
    if not config.get("include_prompt", True):
        raise checkpoint_error(
            directory, "config.json", "leaves the prompt out of the pooling, and this release knows no prompts"
        )
    modes: Sequence[Any]
    if named := config.get("pooling_mode"):
        modes = named if isinstance(named, list) else [named]
    elif any(key in config for key in _KEYS.values()):
        # Where it is not written, sentence-transformers takes the mean to be wanted.
        flags = {_KEYS["mean"]: True, **config}
        modes = [mode for mode in MODES if flags.get(_KEYS[mode])]
    else:
        modes = []
    unknown = [str(mode) for mode in modes if mode not in MODES]
    if unknown or not modes:
        problem = f"names {', '.join(unknown) or 'no pooling mode'}; there are {', '.join(MODES)}"
        raise checkpoint_error(directory, "config.json", problem)
    return tuple(modes)


def _check_prompt(path: Path) -> None:
    if not (path / PROMPTS).is_file():
        return
    name = read_settings(path, PROMPTS).get("default_prompt_name")
    if name:
        problem = f"puts the prompt '{name}' before every text, and this release knows no prompts; set it to null"
        raise checkpoint_error(path, PROMPTS, problem)

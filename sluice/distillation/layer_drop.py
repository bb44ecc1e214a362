"""A student that is its teacher with fewer layers, evenly spaced: a beginning that already knows most of the task.

Source: H. Sajjad et al., "On the Effect of Dropping Layers of Pre-trained Transformer Models" (2020), and V. Sanh et
al., "DistilBERT" (2019), whose student takes every other layer of its teacher.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line

_COUNT = "num_hidden_layers"
_LEADING_DENSE = "first_k_dense_replace"
"""How many layers of a DeepSeek model come before those with experts."""


def kept_layers(count: int, of: int) -> tuple[int, ...]:
    """The places of `count` layers out of `of`, the first and the last among them; one alone is the first."""
    if count == 1:
        return (0,)
    return tuple(round(place * (of - 1) / (count - 1)) for place in range(count))


def drop_layers(teacher: Any, count: int) -> tuple[Any, tuple[int, ...]]:
    """A copy of the transformers model `teacher` with `count` of its layers, and the places that these had.

    Raises InvalidRequest as `keep_layers` does, and when there are not so many.
    """
    _, layers = _layers_of(teacher)
    if count > len(layers):
        raise InvalidRequest(f"the teacher has {len(layers)} layers, fewer than {count}", field="layers")
    kept = kept_layers(count, len(layers))
    return keep_layers(teacher, kept), kept


def keep_layers(teacher: Any, kept: tuple[int, ...]) -> Any:
    """A copy of the transformers model `teacher` with the layers at the places `kept`, which ascend.

    Everything that is not a layer, such as embeddings and head, is copied too. Raises InvalidRequest, field `layers`,
    when the architecture does not keep its layers in one list.
    """
    name, layers = _layers_of(teacher)
    state = _renumbered(teacher.state_dict(), f"{name}.", kept)
    try:
        student = type(teacher)(_shortened(teacher.config, kept, len(layers)))
        for part in [part for part, _ in student.named_children() if getattr(teacher, part) is None]:
            # What was taken out of the teacher, as the pooler of an embedding model is, is not in the student either.
            setattr(student, part, None)
        student.load_state_dict(state)
    except Exception as error:
        raise _unknown(teacher, f"its layers cannot be told apart: {one_line(error)}") from error
    return student.eval()


def _layers_of(teacher: Any) -> tuple[str, nn.ModuleList]:
    """The one list of modules, not inside of another such, that is as long as config.json says."""
    config = teacher.config
    count = getattr(config, _COUNT, None)
    found: dict[str, nn.ModuleList] = {}
    for name, module in teacher.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) == count and not inside:
            found[name] = module
    if len(found) != 1 or config.get_text_config() is not config:
        raise _unknown(teacher, f"{len(found) or 'no'} lists of {count} layers were found, and it takes one")
    return next(iter(found.items()))


def _renumbered(state: dict[str, Tensor], prefix: str, kept: tuple[int, ...]) -> dict[str, Tensor]:
    places = {str(old): str(new) for new, old in enumerate(kept)}
    renamed = {}
    for name, tensor in state.items():
        if not name.startswith(prefix):
            renamed[name] = tensor
            continue
        number, _, rest = name.removeprefix(prefix).partition(".")
        if number in places:
            renamed[f"{prefix}{places[number]}.{rest}"] = tensor
    return renamed


def _shortened(config: Any, kept: tuple[int, ...], of: int) -> Any:
    short = copy.deepcopy(config)
    setattr(short, _COUNT, len(kept))
    for key, value in config.to_dict().items():
        # Such as Qwen2's layer_types: an entry for each layer.
        if "layer" in key and isinstance(value, list) and len(value) == of:
            setattr(short, key, [value[place] for place in kept])
    leading = getattr(config, _LEADING_DENSE, None)
    if leading is not None:
        setattr(short, _LEADING_DENSE, sum(place < leading for place in kept))
    return short


def _unknown(teacher: Any, why: str) -> InvalidRequest:
    problem = f"layers cannot be left out of a model of type {teacher.config.model_type}: {why}"
    return InvalidRequest(f"{problem}; name --student-config instead", field="layers")

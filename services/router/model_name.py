"""Which model a request means, and what is wrong with what it asks of it. Pure, over a view of who serves what."""

from __future__ import annotations

from services.router.scheduling.model_registry import FleetView
from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest, NoEndpoint, UnknownModel


def resolve(model: str, view: FleetView, *, default: str, writes: bool = False) -> str:
    """The name of the model that is meant by `model`; empty means `default`, or the only one.

    `writes` says whether a text is asked for: a default that does otherwise is not meant while one model does it.
    Raises UnknownModel, NoEndpoint when no worker has come yet, or InvalidRequest when no model is named.
    """
    if not view.names:
        raise NoEndpoint("no worker is connected yet")
    name = model or _meant(view, default, frozenset(view.ever_written if writes else view.offered))
    if name not in view.names:
        raise UnknownModel(f"no worker has offered a model named '{name}'", field="model")
    return name


def check_generates(name: str, view: FleetView) -> None:
    """Raise InvalidRequest when a resolved model never wrote a text, and NoEndpoint when nobody knows what it does."""
    if name in view.ever_written:
        return
    tasks = {Task(variant.task) for variant in view.models().get(name, ())}
    if not tasks:
        raise NoEndpoint(f"nobody serves model '{name}' just now")
    done = ", ".join(sorted(task.name.lower().replace("_", "-") for task in tasks))
    raise InvalidRequest(f"model '{name}' does {done} and does not generate text", field="model")


def check_answers(name: str, view: FleetView) -> None:
    """Raise InvalidRequest when a resolved model only ever wrote texts."""
    if name not in view.offered:
        raise InvalidRequest(f"model '{name}' generates text, and answers only Generate", field="model")


def _meant(view: FleetView, default: str, fitting: frozenset[str]) -> str:
    if default and (default in fitting or len(fitting) != 1):
        return default
    names = sorted(fitting or view.names)
    if len(names) > 1:
        raise InvalidRequest(f"several models are served, so name one of: {', '.join(names)}", field="model")
    return names[0]

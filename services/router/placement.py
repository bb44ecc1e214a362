"""Placement: from a request to its assignment, over the newest view of who serves what."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.router.assignment import Assignment, assign
from services.router.fleet_view import FleetView
from services.router.query_class import infer_query_class
from services.router.request import Request
from sluice.errors import InvalidRequest, NoEndpoint, UnknownModel
from sluice.tier import QueryClass, Task
from sluice.variant import Variant


class Placement:
    """Fills in what a request leaves open (model, class) and assigns it. `backlog` measures a variant's queue."""

    def __init__(self, *, default_model: str, backlog: Callable[[str], float]) -> None:
        self.view = FleetView()
        self._default_model = default_model
        self._backlog = backlog

    def update(self, held: Iterable[Iterable[Variant]]) -> None:
        """Connected workers hold `held` now."""
        self.view = self.view.with_workers(held)

    def place(self, request: Request) -> Assignment:
        """The variant that shall answer. Raises NoEndpoint, UnknownModel, or InvalidRequest when no model is named."""
        view = self.view
        request.model = self._resolve(request.model)
        if request.query_class is QueryClass.UNSPECIFIED:
            request.query_class = infer_query_class(request.text)
        assignment = assign(
            request.query_class,
            request.minimum_tier,
            serving=view.serving.get(request.model, {}),
            offered=view.offered[request.model],
            backlog=self._backlog,
        )
        if assignment is None:
            raise NoEndpoint(f"nobody serves model '{request.model}' in an acceptable tier just now")
        return assignment

    def why_not_generate(self, model: str) -> InvalidRequest:
        """What is wrong with asking `model` for text. Raises as `place` when nobody serves it at all."""
        name = self._resolve(model)
        tasks = {Task(variant.task) for variant in self.view.models().get(name, ())}
        if not tasks:
            raise NoEndpoint(f"nobody serves model '{name}' just now")
        done = ", ".join(sorted(task.name.lower().replace("_", "-") for task in tasks))
        return InvalidRequest(f"model '{name}' does {done} and does not generate text", field="model")

    def _resolve(self, model: str) -> str:
        if not self.view.offered:
            raise NoEndpoint("no worker is connected yet")
        name = model or self._only_model()
        if name not in self.view.offered:
            raise UnknownModel(f"no worker has offered a model named '{name}'", field="model")
        return name

    def _only_model(self) -> str:
        if self._default_model:
            return self._default_model
        names = sorted(self.view.offered)
        if len(names) > 1:
            raise InvalidRequest(f"several models are served, so name one of: {', '.join(names)}", field="model")
        return names[0]

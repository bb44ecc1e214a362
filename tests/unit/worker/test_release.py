"""Released is released: nothing of a model stays in memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sluice.domain.enums import Tier
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.registry import release
from tests.unit.worker.bench import ScriptedBackend

MODELS = Path(__file__).resolve().parents[3] / "models"
SPEC = ModelSpec(model="m", tier=Tier.LIGHT, checkpoint=MODELS / "support-intent-light", threads=1)


@pytest.fixture
def frozen() -> Iterator[None]:
    """As in a worker, where the collector never looks again at what was there when it became ready."""
    yield
    gc.unfreeze()


class Weights:
    """Something large that points at itself."""

    def __init__(self) -> None:
        self.itself = self


class Cyclic(ScriptedBackend):
    """Drops its weights when it is closed, as far as counting references goes."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.weights: Weights | None = Weights()

    def close(self) -> None:
        super().close()
        self.weights = None


def test_what_only_cycles_hold_is_freed() -> None:
    backend = Cyclic()
    weights = weakref.ref(backend.weights)
    release(backend)
    assert backend.closed == 1
    assert weights() is None


@pytest.mark.torch
@pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed")
@pytest.mark.usefixtures("frozen")
def test_no_weight_of_a_torch_model_stays_though_the_collector_is_blind_to_it() -> None:
    from services.gpu_worker.load import load

    backend = load(SPEC, device_name="cpu")
    backend.warm_up()
    weights = [weakref.ref(one) for one in backend._model.parameters()]  # type: ignore[attr-defined]
    assert len(weights) > 10
    gc.freeze()
    release(backend)
    assert all(weight() is None for weight in weights)

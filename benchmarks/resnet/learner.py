"""A ResNet that takes steps on batches of one size, each step as one graph where the device records graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from benchmarks.gpu.arithmetic import fp32_products
from benchmarks.gpu.bench import Bench
from sluice.training.precision import AUTO, MixedPrecision, pick_precision

_RESNET_152 = {"layer_type": "bottleneck", "depths": [3, 8, 36, 3], "hidden_sizes": [256, 512, 1024, 2048]}
_SMOKE = {"layer_type": "bottleneck", "depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 8}
_WEIGHT_DECAY = 0.05


@dataclass(frozen=True, slots=True)
class Way:
    """How it is computed: `precision` is one of MixedPrecision's, `products` what fp32 means."""

    precision: str
    products: str = "ieee"
    channels_last: bool = False


def ways(bench: Bench) -> dict[str, Way]:
    """What is compared. Mixed is what training takes on the device by itself; in a smoke, bf16."""
    mixed = "bf16" if bench.smoke else pick_precision(AUTO, bench.device)
    return {
        "fp32": Way("fp32"),
        "fp32_channels_last": Way("fp32", channels_last=True),
        "tf32": Way("fp32", products="tf32", channels_last=True),
        "mixed": Way(mixed, channels_last=True),
    }


def make_model(bench: Bench, *, channels: int, labels: int, seed: int) -> Any:
    """The network with weights drawn from `seed`, on the device."""
    torch.manual_seed(seed)
    with torch.device(bench.device):
        config = ResNetConfig(**(_SMOKE if bench.smoke else _RESNET_152), num_channels=channels, num_labels=labels)
        return ResNetForImageClassification(config).train()


class Learner:
    """`model` learns by AdamW from what lies in `images` and `labels`, batch x channels x height x width and batch."""

    def __init__(self, bench: Bench, model: Any, way: Way, *, images: torch.Tensor, labels: torch.Tensor) -> None:
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        self.model = model.to(memory_format=layout)
        self.images = images.clone(memory_format=layout)
        self.labels = labels.clone()
        self.rate = torch.zeros((), device=bench.device)
        self._way = way
        self._arithmetic = MixedPrecision(way.precision, bench.device)
        on_device = bench.device.type != "cpu"
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.rate, weight_decay=_WEIGHT_DECAY, fused=on_device, capturable=on_device
        )

    def step(self) -> None:
        """One step, launched operation by operation."""
        with fp32_products(self._way.products):
            with self._arithmetic.autocast():
                logits = self.model(pixel_values=self.images).logits.float()
                loss = functional.cross_entropy(logits, self.labels)
            self._arithmetic.step(loss, self.model, self._optimizer)

    def restart(self, weights: dict[str, torch.Tensor]) -> None:
        """Begin anew from these weights, in the same tensors, as a graph knows them."""
        self.model.load_state_dict(weights)
        for state in self._optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """The label of each image, computed as the learner learns."""
        self.model.eval()
        try:
            with fp32_products(self._way.products), self._arithmetic.autocast():
                answer: torch.Tensor = self.model(pixel_values=images).logits.argmax(1)
        finally:
            self.model.train()
        return answer

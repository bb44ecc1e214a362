"""Who plays: the devices of a mesh, how fast they are, and whether the mechanism under test is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.overload.speed import Speed, mean_tokens, per_second
from sluice.domain.enums import QueryClass
from sluice.load.text import Text, read_texts

ROOT = Path(__file__).resolve().parents[2]
MODEL = "demo"
STAND_INS = "stand-ins that wait instead of computing, for as long as a device of their speed would take"
# With the mechanism off, the mesh places by tier and admits by caps, and nobody degrades anything.
OFF: Mapping[str, Mapping[str, Any]] = {
    "router": {"admission": "caps", "assignment": "preference"},
    "governor": {"automatic": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A worker, of kind `gpu_worker` or `cpu_worker`: a stand-in with a speed for each tier, by the tier's label.

    With `checkpoints` it is the real worker, and serves these.
    """

    name: str
    kind: str
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """A mesh of stand-ins. `settings` are more keys for `router` and `governor`."""

    devices: tuple[Device, ...]
    mechanism: bool = True
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def with_mechanism(self, on: bool) -> Cast:
        """The same devices, with the mechanism on or off."""
        return replace(self, mechanism=on)

    def section(self, name: str) -> dict[str, Any]:
        """The settings of `router` or `governor`."""
        switches = {} if self.mechanism else dict(OFF[name])
        return {**switches, **self.settings.get(name, {})}

    def described(self) -> dict[str, Any]:
        """For the results: who stood for what."""
        real = all(one.checkpoints for one in self.devices)
        return {
            "models": "the demo's own" if real else STAND_INS,
            "mechanism": self.mechanism,
            "settings": {name: self.section(name) for name in ("router", "governor")},
            "devices": {
                one.name: {
                    "kind": one.kind,
                    **one.checkpoints,
                    **{tier: of.to_json() for tier, of in one.speeds.items()},
                }
                for one in self.devices
            },
        }


def texts(*, labelled: bool = False) -> tuple[Text, ...]:
    """The demo's requests; stand-ins do not know their labels."""
    found = read_texts(ROOT / "examples" / "requests.jsonl")
    return found if labelled else tuple(one.model_copy(update={"label": ""}) for one in found)


def four_devices(capacity: float, *, full_share: float = 0.35, **settings: Mapping[str, Any]) -> Cast:
    """Two accelerators with the full tier and two CPUs with the others: together about `capacity` texts a second.

    `full_share` of that is the full tier's. With 0.35, which is the share of complex questions among the demo's
    requests, all devices are busy at the same offered load, with the mechanism or without.
    """
    complex_ones = [one.text for one in texts() if one.query_class is QueryClass.COMPLEX]
    others = [one.text for one in texts() if one.query_class is not QueryClass.COMPLEX]
    full = per_second(capacity * full_share / 2, tokens=mean_tokens(complex_ones), base_s=0.008)
    light = per_second(capacity * (1 - full_share) / 2, tokens=mean_tokens(others), base_s=0.004)
    accelerators = [Device(name=f"gpu-{number}", kind="gpu_worker", speeds={"full": full}) for number in (1, 2)]
    cpus = [
        Device(name=f"cpu-{number}", kind="cpu_worker", speeds={"light": light, "quantized": light})
        for number in (1, 2)
    ]
    return Cast(devices=(*accelerators, *cpus), settings=settings)


def demo_models(**settings: Mapping[str, Any]) -> Cast:
    """The demo's three models on this machine's own cores: the full one on one worker, the others on another."""
    names = {tier: f"support-intent-{tier}" for tier in ("full", "light", "quantized")}
    devices = (
        Device(name="gpu-1", kind="gpu_worker", checkpoints={"full": names["full"]}),
        Device(name="cpu-1", kind="cpu_worker", checkpoints={tier: names[tier] for tier in ("light", "quantized")}),
    )
    return Cast(devices=devices, settings=settings)

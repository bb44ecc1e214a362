"""7: what is it worth that the mesh picks the model, and not the client?

The demo's own models on this machine's cores, and the demo's own requests in bursts, at a mean rate that the full model
can just bear alone. Always the full model, always the light one, and switching between them by a threshold on latency
are what clients do that ask for a tier by themselves, of a mesh that only does as it is told: its own mechanism is off.
Accuracy is over what was answered, and effective accuracy is its ratio to that of the full model when it is calm.
Hardware time is the workers' CPU time for each answer. A request that is not answered counts as a deadline's wait.
"""

from __future__ import annotations

from typing import Any

from benchmarks.overload.cast import Cast, demo_models, texts
from benchmarks.overload.check import Check, at_least, at_most, holds
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.reading import availability
from benchmarks.overload.stage import Stage
from sluice.load.histogram import Histogram
from sluice.load.kind import POOLS
from sluice.load.policy import Policy
from sluice.plot.series import Results

TITLE = "the mesh's choice against a client's"
DEADLINE_S = 1.0
POLICIES = {
    "mesh": Policy(),
    "always full": Policy(kind="full"),
    "always light": Policy(kind="light"),
    "switching": Policy(kind="switch", above_ms=500.0),
}
QUICK_POLICIES = ("mesh", "always full")
MULTIPLE = 0.85
SECONDS, QUICK_SECONDS = 60.0, 4.0
# More than the full model answers in a second, for so long; and all the time it takes to answer that.
PUSHED, PUSH_S, PATIENCE_S = 400.0, 3.0, 60.0
QUICK_CAPACITY = 40.0


async def run(stage: Stage) -> Outcome:
    """The same arrivals under each policy, each in a scene of its own."""
    cast = demo_models()
    labelled: dict[str, Any] = {"texts": texts(labelled=True), "deadline_s": DEADLINE_S}
    outcome = Outcome(title=TITLE, cast=cast.described())
    capacity, accuracy = await _full_alone(stage, cast, labelled)
    outcome.figures = {"full_capacity": capacity, "full_accuracy": accuracy}
    seconds = QUICK_SECONDS if stage.quick else stage.long(SECONDS)
    found: dict[str, dict[str, Any]] = {}
    for name in QUICK_POLICIES if stage.quick else POLICIES:
        stage.say(name)
        async with stage.scene(cast.with_mechanism(name == "mesh")) as scene:
            used_s = scene.cpu_s(*scene.workers())
            plan = labelled | {"arrivals": "gamma:3", "policy": POLICIES[name]}
            results = await stage.offer(scene, capacity * MULTIPLE, seconds, **plan)
            used_s = scene.cpu_s(*scene.workers()) - used_s
        found[name] = _figures(results, used_s=used_s, full_accuracy=accuracy)
        outcome.pictures.setdefault("", []).append((name, results))
    outcome.figures["policies"] = found
    outcome.checks = _checks(found)
    return outcome


def _checks(found: dict[str, dict[str, Any]]) -> list[Check]:
    mesh, full = found["mesh"], found["always full"]
    checks = [
        at_least("mean response lower than always-full by", 1 - mesh["mean_ms"] / full["mean_ms"], 0.65),
        at_least("effective accuracy", mesh["effective_accuracy"], 0.98),
        at_most("hardware time more than always-full by", mesh["hardware_ms"] / full["hardware_ms"] - 1, 0.15),
        holds("the mesh answers sooner than always-full", mesh["mean_ms"] < full["mean_ms"]),
    ]
    if "switching" in found:
        # One miss of the mesh at least, so that a short run without any claims no more than it saw.
        least = 1 / mesh["offered"]
        fewer = found["switching"]["missed"] / max(mesh["missed"], least)
        checks.append(at_least("deadline misses of threshold switching, times the mesh's", fewer, 4.0))
    return checks


def _figures(results: Results, *, used_s: float, full_accuracy: float) -> dict[str, Any]:
    totals = results["totals"]["all"]
    return {
        "offered": totals["offered"],
        "mean_ms": mean_ms(results),
        "missed": 1.0 - availability(results),
        "effective_accuracy": (results["accuracy"] or 0.0) / full_accuracy,
        "hardware_ms": used_s * 1000 / max(1, totals["ok"] + totals["late"]),
        "tiers": results["tiers"],
        "latency_ms": totals["latency_ms"],
        "problems": results["problems"],
    }


def mean_ms(results: Results) -> float:
    """Mean time until the answer; a request without one counts as a deadline's wait."""
    total = Histogram()
    for pool in POOLS:
        total.merge(Histogram.from_json(results["histograms"].get(f"{pool}.latency", {})))
    offered = results["totals"]["all"]["offered"]
    unanswered_ms = (offered - total.count) * float(results["plan"]["deadline_s"]) * 1000
    return float((total.count * (total.mean_ms() or 0.0) + unanswered_ms) / max(1, offered))


async def _full_alone(stage: Stage, cast: Cast, labelled: dict[str, Any]) -> tuple[float, float]:
    """How many of the demo's requests the full model answers in a second, and how many of those rightly."""
    if stage.quick:
        return QUICK_CAPACITY, 1.0
    plan = labelled | {"policy": POLICIES["always full"], "deadline_s": PATIENCE_S, "window_s": 0.1}
    async with stage.scene(cast.with_mechanism(False)) as scene:
        results = await stage.offer(scene, PUSHED, PUSH_S, **plan)
    totals = results["totals"]["all"]
    took_s = max(float(row["at_s"]) for row in results["windows"] if row["hot"]["ok"] + row["cold"]["ok"]) + 0.1
    return float(totals["ok"] + totals["late"]) / took_s, float(results["accuracy"] or 1.0)

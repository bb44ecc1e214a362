"""3: how soon the mesh reacts to a load that jumps, and the governor to a signal that crosses its threshold.

The queue's part is played by a scene under load. The governor's is played with members that report signals of a known
course, since only then the instant of the true crossing is known.
"""

from __future__ import annotations

from benchmarks.overload.cast import Cast, four_devices
from benchmarks.overload.check import at_most, holds
from benchmarks.overload.course import CROSSING_S, EPISODE_S, Course, crossing, edge, episode
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.puppet import Puppets, first_s, transitions
from benchmarks.overload.stage import Stage
from sluice.load.rate import Rate, Spike
from sluice.plot.series import Results

TITLE = "steps, a spike, and signals at the edge"
EXPECTED = 800.0
DEADLINE_S = 1.0
# The admission law aims at a queue that leaves a request three quarters of its time.
TARGET_MS = 250.0
WINDOW_S = 0.2
# Hot work alone, at the height of the spike, is half of the capacity.
HOT = 0.1
LATE_S = 8.0
EDGE_S = 120.0


async def run(stage: Stage) -> Outcome:
    """Step and spike with the mechanism on and off, then the governor alone."""
    cast = four_devices(EXPECTED)
    capacity = await stage.capacity(cast, EXPECTED)
    outcome = Outcome(title=TITLE, cast=cast.described(), figures={"capacity": capacity})
    for name, rate, change_s, until_s in _shapes(capacity, quick=stage.quick):
        runs = {}
        for mechanism in ("on", "off"):
            async with stage.scene(cast.with_mechanism(mechanism == "on")) as scene:
                runs[mechanism] = await stage.offer(
                    scene, rate, until_s, deadline_s=DEADLINE_S, window_s=WINDOW_S, connections=2, hot=HOT
                )
        settled = {one: settled_s(results, change_s, capacity=capacity) for one, results in runs.items()}
        outcome.checks.append(at_most(f"{name}: queue back under {TARGET_MS:.0f} ms, s", settled["on"], 1.0))
        outcome.checks.append(holds(f"{name}: the control is no sooner", settled["on"] <= settled["off"]))
        outcome.figures[name] = {"settled_s": settled}
        outcome.pictures[name] = list(runs.items())
    await _governor_alone(stage, cast, outcome)
    return outcome


def settled_s(results: Results, change_s: float, *, capacity: float) -> float:
    """Seconds from a change of the load to the last moment of the next LATE_S at which the queue was beyond the target.

    The queue is what waits in the router by the seconds it takes to serve that, as the admission law sees it.
    """
    rows = [row for row in results["fleet"] if change_s <= row["at_s"] < change_s + LATE_S and "hot_queued" in row]
    queues_ms = [(row["at_s"], (row["hot_queued"] + row["cold_queued"]) / capacity * 1000) for row in rows]
    return max((float(at_s) - change_s for at_s, queue_ms in queues_ms if queue_ms > TARGET_MS), default=0.0)


def _shapes(capacity: float, *, quick: bool) -> list[tuple[str, Rate, float, float]]:
    """Name, rate, the instant of the change, and the end."""
    before_s, held_s, after_s = (3.0, 3.0, 2.0) if quick else (10.0, 10.0, 10.0)
    low = Rate(((0.0, 0.8 * capacity),))
    up = Rate(((0.0, 0.8 * capacity), (before_s, 1.4 * capacity), (before_s + held_s, 0.8 * capacity)))
    spike = low.with_spikes([Spike(factor=5.0 / 0.8, at_s=before_s, length_s=held_s)])
    end_s = before_s + held_s + after_s
    shapes = [("spike", spike, before_s, end_s), ("step", up, before_s, end_s)]
    return shapes[:1] if quick else shapes


async def _governor_alone(stage: Stage, cast: Cast, outcome: Outcome) -> None:
    crossed = await _rows(stage, cast, crossing, CROSSING_S + 4.0)
    for level, name, bound in (
        (1, "utilization crosses 0.90: level 1, s", 1.5),
        (2, "memory crosses 0.85: level 2, s", 1.0),
    ):
        at_s = first_s(crossed, level)
        outcome.checks.append(at_most(name, None if at_s is None else at_s - CROSSING_S, bound))
        outcome.checks.append(holds(f"level {level} comes after its crossing", at_s is not None and at_s > CROSSING_S))
    outcome.figures["crossing"] = transitions(crossed)
    if stage.quick:
        return
    edge_s = stage.long(EDGE_S)
    for name, course, seconds, bound in (
        ("transitions of an episode", episode, EPISODE_S, 4),
        (f"transitions in {edge_s:.0f} s at the edge", edge, edge_s, 2),
    ):
        found = transitions(await _rows(stage, cast, course, seconds))
        outcome.checks.append(at_most(name, len(found), bound))
        outcome.figures[name] = found


async def _rows(stage: Stage, cast: Cast, course: Course, seconds: float) -> list[Results]:
    """What the fleet looked like while members reported `course` to a governor of their own."""
    async with stage.scene(cast, only=("governor",)) as scene, Puppets(scene.governor, course) as puppets:
        await puppets.until(seconds)
        return puppets.rows

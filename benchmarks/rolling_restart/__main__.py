"""python -m benchmarks.rolling_restart [--against DIRECTORY] [--seconds N] [--output FILE]

Each client calls 100 times a second while both routers are restarted, at no round trip and at one of 10 ms.
Prints a line for each and writes benchmarks/results/rolling_restart.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rolling_restart.routers import SPREAD_ONLY, health_without_retries, lost_in_restarts, two_routers
from benchmarks.stock_clients import Missing
from sluice.client.options import service_config

RESULTS = Path(__file__).parents[1] / "results" / "rolling_restart.json"
ROUND_TRIPS_S = (0.0, 0.01)
# What the client checks or tries again, its language, its service config, and whether it goes through Envoy.
CLIENTS = (
    ("health and retries", "python", service_config(), False),
    ("health", "python", health_without_retries(), False),
    ("neither", "python", SPREAD_ONLY, False),
    ("health and retries", "go", service_config(), False),
    ("health", "go", health_without_retries(), False),
    ("neither", "go", SPREAD_ONLY, False),
    ("retries", "node", service_config(), False),
    ("neither", "node", SPREAD_ONLY, False),
    ("envoy, health and retries", "python", "", True),
)


async def measure(seconds: float, tree: Path | None) -> list[dict[str, Any]]:
    """One row for each client and round trip."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as logs:
        async with two_routers(Path(logs), transport={"max_connection_age_s": 2}, tree=tree) as routers:
            for round_trip_s in ROUND_TRIPS_S:
                for checks, language, config, through in CLIENTS:
                    row: dict[str, Any] = {"client": language, "checks": checks, "round_trip_ms": round_trip_s * 1000}
                    try:
                        ends, stops_s = await lost_in_restarts(
                            routers,
                            language,
                            config,
                            seconds=seconds,
                            round_trip_s=round_trip_s,
                            through_envoy=through,
                        )
                    except Missing as why:
                        row["missing"] = str(why)
                    else:
                        row |= {"calls": ends.calls, "lost": ends.lost, "codes": ends.codes, "said": ends.said}
                        row |= {"slowest_ms": round(ends.slowest_ms), "stops_s": [round(one, 1) for one in stops_s]}
                    print(json.dumps(row), flush=True)
                    rows.append(row)
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--against", type=Path, help="a checkout of another revision whose routers are restarted instead"
    )
    parser.add_argument("--seconds", type=float, default=13.0, help="of calls for each client (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="(default: %(default)s)")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.seconds, options.against.resolve() if options.against else None))
    options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""`make faults`: the promises that have a figure, measured on live servers, as a table; exit 1 when one is missed.

pytest proves the outcomes of the same scenarios and never looks at seconds. Some promises are kept when all cases of
some tests pass: these are run, and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]
EGRESS = Path(tempfile.mkdtemp()) / "egress"
os.environ["PYTHONPATH"] = str(TESTS)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_TEST_EGRESS"] = str(EGRESS)

import sitecustomize  # noqa: E402, F401  # the watch begins here
from faults.figure import Figure, exactly  # noqa: E402
from faults.scenarios.figures_of_faults import leaving_figures, recovery_figures, shutdown_figures  # noqa: E402
from faults.scenarios.figures_of_grammars import grammar_figures  # noqa: E402
from faults.scenarios.figures_of_inputs import fuzz_figures, proof_figures, row_figures  # noqa: E402
from faults.scenarios.figures_of_load import (  # noqa: E402
    body_figures,
    fairness_figures,
    file_figures,
    memory_figures,
    other_server_figures,
    overload_figures,
    slow_client_figures,
)
from faults.scenarios.figures_of_models import model_figures  # noqa: E402
from faults.scenarios.figures_of_privacy import privacy_figures  # noqa: E402
from faults.scenarios.figures_of_start import setting_figures, start_figures  # noqa: E402

MUTATIONS = 5_000
PARTS: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "start": start_figures,
    "settings": setting_figures,
    "overload": overload_figures,
    "leaving": leaving_figures,
    "recovery": recovery_figures,
    "shutdown": shutdown_figures,
    "bodies": body_figures,
    "memory": memory_figures,
    "fairness": fairness_figures,
    "files": file_figures,
    "slow": slow_client_figures,
    "others": other_server_figures,
    "models": model_figures,
    "grammars": grammar_figures,
    "privacy": privacy_figures,
    "rows": row_figures,
    "proofs": proof_figures,
}
FUZZ = "fuzz"


def figures(parts: list[str], mutations: int) -> Iterator[Figure]:
    """The figures of some parts as they come; and whether anything tried to leave this machine meanwhile."""
    for part in parts:
        yield from asyncio.run(fuzz_figures(mutations) if part == FUZZ else PARTS[part]())
    tries = EGRESS.read_text().splitlines() if EGRESS.exists() else []
    yield exactly(39, "tries to reach beyond this machine, in all of these", len(tries), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the promises that have a figure.")
    names = [*PARTS, FUZZ]
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--mutations", type=int, default=MUTATIONS, help="how many `fuzz` sends; `make fuzz`: 50,000")
    options = parser.parse_args()
    print(
        f"on {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print(f"{'#':>2}  {'promise':<62} {'asked':>14} {'reached':>14}")
    missed = 0
    for figure in figures(options.parts or names, options.mutations):
        mark = "" if figure.met else "   MISSED"
        print(f"{figure.promise:>2}  {figure.what:<62} {figure.asked:>14} {figure.reached:>14}{mark}", flush=True)
        missed += not figure.met
    print(f"\n{missed} missed" if missed else "\nall reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

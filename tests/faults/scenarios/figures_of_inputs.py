"""Figures of bad input, and of promises whose figure is how many cases of pytest pass."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from faults import fuzz
from faults.figure import Figure, all_of, exactly

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Proof:
    """A promise that tests prove.

    Args:
        promise: its number.
        what: what a case is, for the table.
        name: what the tests are called, behind the name of their file.
        least: how many cases there must be.
    """

    promise: int
    what: str
    name: str
    least: int


ROWS = (
    Proof(1, "bad files and bodies of rows 1 to 87: their answer", r"test_rows_\w+[.]test_rows?_", 150),
    Proof(31, "cases of those tests without anything internal", r"test_rows_", 150),
)
PROOFS = (
    Proof(17, "routes and methods with 12 tricks each, probes open", "test_promise_17", 40),
    Proof(27, "2,000 random steps in the life of models", "TestPromise27", 1),
    Proof(30, "codes: produced, documented, read by openai", "promises?_30|every_code_that_a_route", 50),
    Proof(31, "keys and pictures not in the log", "promise_31", 1),
    Proof(39, "ways out of the machine: the watch sees each", "promise_39", 4),
    Proof(40, "versions above their floors, hashes in the locks", "promise_40", 10),
    Proof(43, "codes: counted once, logged once", "promises_30_and_43", 50),
)
FILES_OF_PROOFS = (
    "tests/faults/test_access_has_no_side_door.py",
    "tests/faults/test_dependencies.py",
    "tests/faults/test_egress.py",
    "tests/faults/test_every_code.py",
    "tests/runtime/test_lifecycle_machine.py",
    "tests/unit/test_docs.py::test_every_code_that_a_route_can_answer_is_in_the_openapi_file",
)


async def row_figures() -> list[Figure]:
    files = [str(path.relative_to(ROOT)) for path in sorted(Path(__file__).parents[1].glob("test_rows_*.py"))]
    return await asyncio.to_thread(_proven, files, ROWS)


async def proof_figures() -> list[Figure]:
    return await asyncio.to_thread(_proven, FILES_OF_PROOFS, PROOFS)


def _proven(files: Sequence[str], proofs: Sequence[Proof]) -> list[Figure]:
    cases = _run(files)
    figures = []
    for proof in proofs:
        asked = {name: passed for name, passed in cases.items() if re.search(proof.name, name)}
        figures.append(all_of(proof.promise, proof.what, sum(asked.values()), len(asked), proof.least))
    return figures


def _run(files: Sequence[str]) -> dict[str, bool]:
    """Whether each case has passed, by file and name; what fails is shown on standard error."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if answer.returncode:
            print(answer.stdout[-5000:], file=sys.stderr)
        cases = list(ElementTree.parse(report).iter("testcase"))
    return {f"{case.get('classname')}.{case.get('name')}": not list(case) for case in cases}


async def fuzz_figures(count: int) -> list[Figure]:
    found = await asyncio.to_thread(fuzz.run, count)
    if not found.is_good:
        print(fuzz.report(found), file=sys.stderr)
    good = count - len(found.faults)
    return [
        all_of(1, "mutations: answered as declared (make fuzz: 50,000)", good, count, count),
        exactly(1, "dropped connections", found.statuses[0], 0),
        exactly(1, "tracebacks; same process", (found.tracebacks, found.has_survived), (0, True)),
        exactly(31, "of these answers, with something internal", len(found.leaks), 0),
        exactly(31, "keys and pictures in the log", found.secrets_in_log, 0),
    ]

"""Chaos: kill and stop real processes at random, then check the outcome of every call.

Exits with 0 if no rule was violated, 1 if one was (the data are kept), 130 if interrupted. See
docs/chaos.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from tests.chaos import ledger, one_broker, several_brokers
from tests.chaos.recovery import deeds
from tests.chaos.verdict import Evidence, Verdict, judge

#: Violations that are printed; the file has all of them.
SHOWN_MAX = 20


def run(folder: Path, seed: int, seconds: float, setting: ModuleType = one_broker) -> Verdict:
    """Run chaos with all data in `folder`; return the verdict."""
    setting.run(folder, seed, seconds)
    return judged(folder, seed, setting)


def judged(folder: Path, seed: int, setting: ModuleType = one_broker) -> Verdict:
    """Judge the data in `folder`."""
    evidence = Evidence(ledger.read(folder.glob("*.log")), setting.rows(folder), seed)
    verdict = judge(evidence, setting.violations(evidence))
    verdict.figures |= {"done to processes": deeds(evidence.world)} | setting.figures(evidence)
    (folder / "verdict.json").write_text(
        json.dumps({"figures": verdict.figures, "violations": verdict.violations}, indent=1)
    )
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="length of the run [default: 10]"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="decides which faults come when [default: 1]"
    )
    parser.add_argument(
        "--brokers", action="store_true", help="several brokers that share one PostgreSQL"
    )
    parser.add_argument(
        "--judge",
        type=Path,
        metavar="FOLDER",
        help="judge the data of an earlier run again, and run nothing",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the data of a run without violations"
    )
    options = parser.parse_args()
    # The broker is killed on purpose, so clients need not log that it is unreachable.
    logging.getLogger("understudy").addHandler(logging.NullHandler())
    setting, target = (
        (several_brokers, "chaos-brokers") if options.brokers else (one_broker, "chaos")
    )
    folder = options.judge or Path(tempfile.mkdtemp(prefix=f"understudy-chaos-{options.seed}-"))
    print(f"chaos: {options.minutes:g} min, seed {options.seed}, data in {folder}", flush=True)
    if options.judge:
        verdict = judged(folder, options.seed, setting)
    else:
        try:
            verdict = run(folder, options.seed, options.minutes * 60, setting)
        except KeyboardInterrupt:
            print(f"interrupted; the data are in {folder}")
            return 130
    for name, value in verdict.figures.items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{key}: {number}" for key, number in value.items())
        print(f"  {name:<54} {shown}")
    for text in verdict.violations[:SHOWN_MAX]:
        print(f"VIOLATION {text}")
    if verdict.violations:
        again = f"make {target} MINUTES={options.minutes:g} SEED={options.seed}"
        print(f"{len(verdict.violations)} violations; the data are in {folder}; {again}")
        return 1
    if not options.keep and not options.judge:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Try mutants: put each fault into a copy of the code, and report the ones that no test notices.

Exits with 0 if all were killed, 1 if some survived, 2 if some could not be tried, shown or placed.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutants import (
    of_absent_ids,
    of_audit,
    of_between_slots,
    of_broker,
    of_clocks,
    of_dispatch,
    of_hardening,
    of_interpreter,
    of_journal,
    of_keys,
    of_link,
    of_membership,
    of_metrics,
    of_native_api,
    of_node,
    of_postgres,
    of_progress,
    of_promises,
    of_relay,
    of_repairs,
    of_replays,
    of_rights,
    of_routing,
    of_schedules,
    of_sdk,
    of_seals,
    of_sharing,
    of_slot_moves,
    of_slot_stores,
    of_slots,
    of_sources,
    of_sqlite,
    of_store,
    of_stored_tasks,
    of_tasks,
    of_tokens,
    of_transports,
    of_values,
    of_workers,
)
from tests.mutants.mutant import Mutant, Unfit
from tests.mutants.places import Tree
from tests.mutants.refresh import refresh
from tests.mutants.trials import Copy, Trial

_LISTS: Final = (
    of_promises,
    of_relay,
    of_repairs,
    of_replays,
    of_stored_tasks,
    of_schedules,
    of_store,
    of_slot_moves,
    of_slots,
    of_between_slots,
    of_journal,
    of_sources,
    of_sqlite,
    of_absent_ids,
    of_postgres,
    of_progress,
    of_sharing,
    of_broker,
    of_dispatch,
    of_clocks,
    of_membership,
    of_keys,
    of_audit,
    of_tokens,
    of_rights,
    of_link,
    of_routing,
    of_slot_stores,
    of_native_api,
    of_node,
    of_tasks,
    of_transports,
    of_hardening,
    of_interpreter,
    of_workers,
    of_metrics,
    of_sdk,
    of_seals,
    of_values,
)
MUTANTS: Final[tuple[Mutant, ...]] = tuple(mutant for each in _LISTS for mutant in each.MUTANTS)


def chosen(patterns: Sequence[str]) -> list[Mutant]:
    """Return the mutants whose name, target or file matches a pattern; all if there is none."""
    if not patterns:
        return list(MUTANTS)
    tree = Tree()
    return [
        mutant
        for mutant in MUTANTS
        if any(fnmatchcase(text, p) for p in patterns for text in _titles(mutant, tree))
    ]


def _titles(mutant: Mutant, tree: Tree) -> tuple[str, ...]:
    found = tree.split(mutant.target)
    return (mutant.name, mutant.target, *(found[:1] if found else ()))


def tests_of(mutants: Sequence[Mutant]) -> list[str]:
    """Return the tests of all `mutants`, each once."""
    return list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))


@contextmanager
def trials(mutants: Sequence[Mutant], workers: int, *, wide: bool) -> Iterator[Iterator[Trial]]:
    """Try the mutants, `workers` at a time; yield the trials as they end.

    Raises
    ------
    RuntimeError
        A test fails without any fault.
    """
    waiting = deque(mutants)
    done: SimpleQueue[Trial] = SimpleQueue()
    workers = max(1, min(workers, len(mutants)))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [Copy(Path(folder) / str(number)) for number in range(workers)]
        wrong = copies[0].check(tests_of(mutants))
        if wrong is not None:
            raise RuntimeError(f"a test fails without any fault:\n{wrong}")

        def work(copy: Copy) -> None:
            while waiting:
                try:
                    mutant = waiting.popleft()
                except IndexError:
                    return
                try:
                    done.put(copy.attempt(mutant, wide=wide))
                except Exception as error:
                    done.put(Trial(mutant, "unfit", repr(error), 0.0))

        threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
        for thread in threads:
            thread.start()
        try:
            yield (done.get() for _ in mutants)
        finally:
            waiting.clear()
            for thread in threads:
                thread.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        help="names, targets or files of mutants; * matches any text [default: all]",
    )
    parser.add_argument(
        "-j", "--workers", type=int, default=1, help="mutants tried at a time [default: 1]"
    )
    parser.add_argument("--list", action="store_true", help="list the mutants, and try none")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="run only the tests named with each mutant, not all tests if those notice nothing",
    )
    parser.add_argument(
        "--show", action="store_true", help="print the diff of each mutant, and try none"
    )
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="rewrite the rows of the lists whose code has moved or been renamed, and try none",
    )
    options = parser.parse_args(arguments)
    mutants = chosen(options.names)
    if not mutants:
        parser.error(f"no mutant is named {' or '.join(options.names)}: --list shows all names")
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name:42} {_property(mutant):11} {mutant.breaks}")
        return 0
    if options.show:
        return _show(mutants)
    if options.refresh:
        return _refresh(mutants)
    began = time.monotonic()
    print(f"{len(mutants)} mutants; first, their tests without any fault", flush=True)
    try:
        with trials(mutants, options.workers, wide=not options.quick) as ended:
            results = [_print_trial(trial) for trial in ended]
    except RuntimeError as error:
        print(error)
        return 2
    return _report(results, time.monotonic() - began)


def _show(mutants: Sequence[Mutant]) -> int:
    tree = Tree()
    code = 0
    for mutant in mutants:
        try:
            print(f"# {mutant.name}: {mutant.breaks}\n{mutant.applied(tree).diff()}")
        except Unfit as error:
            print(f"# {error}\n")
            code = 2
    return code


def _refresh(mutants: Sequence[Mutant]) -> int:
    lists = sorted(Path(__file__).parent.glob("of_*.py"))
    results = refresh(mutants, lists, Tree())
    lost = [each for each in results if each.fresh is None]
    for each in results:
        if each.fresh is not None:
            print(f"{each.mutant.name}: {each.told}")
    for each in lost:
        print(f"NOT PLACED {each.told}")
    print(f"{len(results) - len(lost)} of {len(mutants)} rewritten, {len(lost)} not placed")
    return 2 if lost else 0


def _property(mutant: Mutant) -> str:
    return "" if mutant.property is None else f"property {mutant.property}"


def _print_trial(trial: Trial) -> Trial:
    mutant = trial.mutant
    by = trial.by if trial.verdict == "killed" else mutant.breaks
    if trial.wide:
        by += "; add it to the tests of this mutant"
    print(f"{trial.verdict:8} {mutant.name:42} {trial.seconds:5.1f} s  {by}", flush=True)
    return trial


def _report(results: list[Trial], seconds: float) -> int:
    killed = sum(trial.verdict == "killed" for trial in results)
    print(f"{killed} of {len(results)} killed in {seconds / 60:.1f} min")
    for trial in results:
        mutant = trial.mutant
        if trial.verdict == "survived":
            print(f"\nSURVIVED {mutant.name}: {mutant.breaks}")
            print(f"  {mutant.target}: a test is missing. Write it, and name it with the mutant")
        elif trial.verdict == "unfit":
            print(f"\nCOULD NOT BE TRIED {mutant.name}\n{trial.by}")
    verdicts = {trial.verdict for trial in results}
    return 2 if "unfit" in verdicts else 1 if "survived" in verdicts else 0

"""Benchmarks of understudy beside the bare pipeline and other systems.

`make bench`, `make bench-guard` and `make bench-peers` run these commands.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks import charts, guard, profile, publish, report
from benchmarks.brokers import BROKER_WORKLOADS, Brokers
from benchmarks.brokers import WARM_UP as BROKER_WARM_UP
from benchmarks.harness import Figures, Harness, Journal, Subject, Workload, read, write
from benchmarks.host import BUSY_MAX, busy_cores
from benchmarks.peers.adapters import peers as all_peers
from benchmarks.subjects import BarePipeline, Understudy
from benchmarks.workloads import WORKLOADS

RESULTS: Final = Path(__file__).with_name("results")
CHARTS: Final = RESULTS / "charts"
ROUNDS: Final = 3
MINUTES: Final = 4.5
WARM_UP: Final = {"fan_out": 2_000, "chain": 20, "chains": 200, "steps": 100}


#: The guard's exit code if the machine is too busy to judge.
INCONCLUSIVE: Final = 3

#: Workloads and sizes for other systems: none for which the slowest would need many minutes.
PEER_SIZES: Final = {"fan_out": 10_000, "chain": 200, "chains": 1_000, "memory": 0}
PEER_WARM_UP: Final = {"fan_out": 200, "chain": 10, "chains": 50}

#: The type that argparse returns from `add_subparsers`.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PROFILE_HELP: Final = """\
Show where the processor time of a call goes, in µs.

By thread: starts a broker on SQLite, two nodes and a client, as `run` does. One
durable parent makes no-op calls, and the system's counters of every thread are
read directly before and after (Linux only). "Waited for a core" is time in which
a thread could have run but no core was free. The counters show how many calls
are possible and what limits them. The same is done for chains of three calls,
one after the other, with the number of times that each thread slept: latency.

By stage: the cores of a broker and of two nodes exchange their frames in this
process, without sockets and threads, 512 calls at a time. Their commits are then
written by the product's statements. This is processor time too, except for the
sync of a commit, which is waiting.

examples:
  python -m benchmarks profile
  python -m benchmarks profile --calls 5000 --rounds 1 --best-of 1   # a quick look
  python -m benchmarks publish --profile benchmarks/results/profile.json
"""


PEERS_HELP: Final = """\
Measure understudy, the bare pipeline and {names}.

Each system gets a virtual environment of its own in benchmarks/peers/.envs, made
at the first run (about 800 MB in all). Redis and PostgreSQL are taken from the
path; Redis may also come from a Python package. Systems that cannot be installed
are named and left out. A round of all takes about seven minutes. After an
interruption, the same command goes on where it stopped.

examples:
  make bench-peers
  make bench-peers ARGS="--only ray --only celery --rounds 1"
"""


BROKERS_HELP: Final = """\
Measure one broker and several, over SQLite and over PostgreSQL, taking turns.

A PostgreSQL is started for each deployment that needs one, on this machine, with
its files on a disk. Beside each figure stand the processor time of all processes
for each durable call, in µs, that of the database alone, and the bytes of WAL.

One function's calls are all at one broker, so brokers share `fan_outs`, `chain`
and `chains`, and not `fan_out` and `steps`.

examples:
  make bench-brokers
  make bench-brokers ARGS="--counts 2 3 --no-polling --only fan_outs --only chains"
  python -m benchmarks publish --brokers benchmarks/results/brokers.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, 1 if the guard fails."""
    options = _parser().parse_args(arguments)
    code: int = options.do(options)
    return code


def run(options: argparse.Namespace) -> int:
    """Measure understudy and the bare pipeline."""
    names = options.only or list(WORKLOADS)
    whole = not options.only and not options.sizes
    out = options.out or RESULTS / ("latest.json" if whole else "part.json")
    busy = _busy_cores()
    if busy > BUSY_MAX:
        print(f"· {_others(busy)}: the figures will be lower", file=sys.stderr)
    chosen: list[tuple[Workload, Sequence[int]]] = [
        (WORKLOADS[name], options.sizes or WORKLOADS[name].sizes) for name in names
    ]
    harness = Harness(
        chosen, [[Understudy(), BarePipeline()]], warm_up=WARM_UP, on_run=Progress().show
    )
    harness.busy_before = busy
    harness.rounds_within(options.rounds, options.minutes * 60)
    result = harness.result()
    write(out, result)
    report.show(result)
    folder = out.with_name("charts" if whole else "charts-part")
    if options.out is None:
        # Charts of workloads that are gone would stay. Only our own folder is emptied, because a
        # folder beside --out may contain other files.
        shutil.rmtree(folder, ignore_errors=True)
    drawn = charts.draw(result, folder)
    print(f"\n{out} and {len(drawn)} charts in {folder}")
    return 0


def check_guard(options: argparse.Namespace) -> int:
    """Compare the ratios to the bare pipeline with the recorded ones."""
    busy = _busy_cores()
    harness = guard.harness()
    harness.on_run = Progress().show
    for _ in range(options.rounds):
        harness.round()
    result = harness.result()
    report.show(result)
    found = guard.ratios(result)
    again = "make bench-guard ARGS=--record"
    busy = max(busy, _busy_cores())
    if options.record and busy > BUSY_MAX:
        print(
            f"\nnot recorded: {_others(busy)}. Run this on a quiet machine: {again}",
            file=sys.stderr,
        )
        return INCONCLUSIVE
    if options.record:
        guard.record(found)
        print(f"\nrecorded in {guard.PATH}: commit it with the change that made the difference")
        return 0
    if not guard.PATH.exists():
        print(f"\nno ratio is recorded yet. Run this on a quiet machine: {again}", file=sys.stderr)
        return 1
    lost = guard.losses(found, guard.recorded())
    if lost:
        print("· slower than recorded; measuring as many rounds again to be sure", file=sys.stderr)
        for _ in range(options.rounds):
            harness.round()
        result = harness.result()
        found = guard.ratios(result)
        report.show(result)
        lost = guard.losses(found, guard.recorded())
    if not lost:
        print(
            f"\npassed: every ratio to the bare pipeline is at least {guard.KEPT:.0%} of the one "
            "recorded"
        )
        return 0
    print(
        "\nslower than recorded, relative to the bare pipeline in the same run:\n  "
        + "\n  ".join(lost),
        file=sys.stderr,
    )
    busy = max(busy, _busy_cores())
    if busy > BUSY_MAX:
        print(f"inconclusive: {_others(busy)}. Run it again on a quiet machine", file=sys.stderr)
        return INCONCLUSIVE
    print(f"If this is intended: {again}", file=sys.stderr)
    return 1


def _busy_cores() -> float:
    return busy_cores() or 0.0


def _others(busy: float) -> str:
    return f"other work uses {busy:.1f} cores of this machine"


def peers(options: argparse.Namespace) -> int:
    """Measure understudy, the bare pipeline and other systems; name those that are absent."""
    journal = Journal(options.out.with_suffix(".journal"))
    if options.fresh:
        journal.done()
        journal = Journal(journal.path)
    if len(journal):
        print(f"going on after {len(journal)} runs (to start over: ARGS=--fresh)", file=sys.stderr)
    chosen = [p for p in all_peers() if not options.only or p.name in options.only]
    workloads = [
        (WORKLOADS[name], (size and (options.size or size),)) for name, size in PEER_SIZES.items()
    ]
    harness = Harness(
        workloads,
        [[Understudy(), BarePipeline()], *([peer] for peer in chosen)],
        warm_up=PEER_WARM_UP,
        on_run=Progress().show,
        journal=journal,
    )
    harness.busy_before = _busy_cores()
    for _ in range(options.rounds):
        harness.round()
        for name, why in harness.absent.items():
            print(f"· without {name}: {why}", file=sys.stderr, flush=True)
    result = harness.result()
    write(options.out, result)
    journal.done()
    report.show(result)
    drawn = charts.draw(result, options.out.with_name("charts-peers"))
    print(f"\n{options.out} and {len(drawn)} charts in {options.out.with_name('charts-peers')}")
    return 0


def brokers(options: argparse.Namespace) -> int:
    """Measure one broker and several, over SQLite and over PostgreSQL."""
    busy = _busy_cores()
    if busy > BUSY_MAX:
        print(f"· {_others(busy)}: the figures will be lower", file=sys.stderr)
    poll_us = 0 if options.no_polling else None
    subjects: list[Subject] = [
        Brokers(count, on_postgres, poll_us)
        for count in dict.fromkeys([1, *options.counts])
        for on_postgres in (False, True)
    ]
    chosen = [BROKER_WORKLOADS[name] for name in options.only or BROKER_WORKLOADS]
    harness = Harness(
        chosen,
        [subjects],
        warm_up=BROKER_WARM_UP,
        on_run=Progress().show,
        reference=subjects[0].name,
    )
    harness.busy_before = busy
    for _ in range(options.rounds):
        harness.round()
    result = harness.result()
    write(options.out, result)
    report.show(result)
    print(f"\n{options.out}")
    return 0


def draw(options: argparse.Namespace) -> int:
    """Draw the charts of a stored result."""
    for path in charts.draw(read(options.result), options.folder):
        print(path)
    return 0


def table(options: argparse.Namespace) -> int:
    """Print the table of a stored result."""
    report.show(read(options.result))
    return 0


def publish_results(options: argparse.Namespace) -> int:
    """Write results into docs/performance.md."""
    for name in ("ours", "peers", "brokers"):
        path = getattr(options, name)
        if path is not None:
            drawn = publish.publish(name, read(path))
            print(f"{publish.PAGE}: {name}, with {len(drawn)} charts")
    if options.profile is not None:
        publish.publish_profile(profile.read(options.profile))
        print(f"{publish.PAGE}: where the time goes")
    return 0


def show_profile(options: argparse.Namespace) -> int:
    """Show where the time of a call goes."""
    print("· measuring by thread, then by stage: about a minute with the defaults", file=sys.stderr)
    result = profile.measure(
        options.calls, options.rounds, options.stage_calls, options.best_of, options.chains
    )
    write(options.out, result)
    profile.show(result)
    print(f"\n{options.out}")
    print(f"To publish it: python -m benchmarks publish --profile {options.out}")
    return 0


class Progress:
    """Prints a line for each run, on standard error."""

    def __init__(self) -> None:
        self.count = 0

    def show(
        self, workload: Workload, size: int, subject: str, figures: Figures | None, took_s: float
    ) -> None:
        if figures is None:
            return
        self.count += 1
        value = report.worded(workload.figure, figures[workload.figure], workload.name)
        label = f"{workload.name} {workload.label(size)}".strip()
        line = f"{self.count:4} {label:<32} {subject:<14} {value:>18}  ({took_s:.1f} s)"
        print(line, file=sys.stderr, flush=True)


def _count(text: str) -> int:
    """Parse a number of calls or runs."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _size(text: str) -> int:
    """Parse the size of a workload; it may be 0, because a store may be empty."""
    return int(text) if text.strip() == "0" else _count(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_run(commands)
    _add_guard(commands)
    _add_peers(commands)
    _add_brokers(commands)
    _add_charts(commands)
    _add_publish(commands)
    _add_profile(commands)
    _add_table(commands)
    return parser


def _add_run(commands: Commands) -> None:
    command = commands.add_parser("run", help="measure understudy and the bare pipeline")
    command.add_argument(
        "--only",
        action="append",
        choices=WORKLOADS,
        metavar="WORKLOAD",
        help="measure only this workload; may be repeated [default: all]",
    )
    command.add_argument(
        "--sizes", type=_size, nargs="+", help="sizes to measure [default: the workload's own]"
    )
    command.add_argument(
        "--rounds", type=_count, default=ROUNDS, help="rounds to measure [default: %(default)s]"
    )
    command.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="begin no round that would end after this time [default: %(default)s]",
    )
    command.add_argument(
        "--out",
        type=Path,
        help="file for the result [default: latest.json in benchmarks/results, or part.json with "
        "--only or --sizes]",
    )
    command.set_defaults(do=run)


def _add_guard(commands: Commands) -> None:
    command = commands.add_parser(
        "guard", help="compare the ratios to the bare pipeline with the recorded ones"
    )
    command.add_argument(
        "--rounds",
        type=_count,
        default=guard.ROUNDS,
        help="rounds to measure [default: %(default)s]",
    )
    command.add_argument("--record", action="store_true", help="record the ratios of this run")
    command.set_defaults(do=check_guard)


def _add_peers(commands: Commands) -> None:
    names = [peer.name for peer in all_peers()]
    command = commands.add_parser(
        "peers",
        help="measure understudy, the bare pipeline and other systems",
        description=PEERS_HELP.format(names=", ".join(names)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="PEER",
        help="measure only this system; may be repeated [default: all]",
    )
    command.add_argument("--size", type=_count, help="calls of each workload [default: its own]")
    command.add_argument(
        "--rounds", type=_count, default=ROUNDS, help="rounds to measure [default: %(default)s]"
    )
    command.add_argument("--fresh", action="store_true", help="start over after an interruption")
    command.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "peers.json",
        help="file for the result [default: %(default)s]",
    )
    command.set_defaults(do=peers)


def _add_brokers(commands: Commands) -> None:
    command = commands.add_parser(
        "brokers",
        help="measure one broker and several, over SQLite and over PostgreSQL",
        description=BROKERS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--only",
        action="append",
        choices=BROKER_WORKLOADS,
        metavar="WORKLOAD",
        help="measure only this workload; may be repeated [default: all]",
    )
    command.add_argument(
        "--counts",
        type=_count,
        nargs="*",
        default=[2],
        metavar="N",
        help="measure deployments of N brokers too [default: 2]",
    )
    command.add_argument(
        "--no-polling",
        action="store_true",
        help="set busy_poll_us = 0: where cores are few, a broker that polls takes what another "
        "one needs",
    )
    command.add_argument(
        "--rounds", type=_count, default=ROUNDS, help="rounds to measure [default: %(default)s]"
    )
    command.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "brokers.json",
        help="file for the result [default: %(default)s]",
    )
    command.set_defaults(do=brokers)


def _add_charts(commands: Commands) -> None:
    command = commands.add_parser("charts", help="draw the charts of a result")
    command.add_argument("result", type=Path, help="result file")
    command.add_argument(
        "--folder", type=Path, default=CHARTS, help="folder for the charts [default: %(default)s]"
    )
    command.set_defaults(do=draw)


def _add_publish(commands: Commands) -> None:
    command = commands.add_parser("publish", help="write results into docs/performance.md")
    command.add_argument("--ours", type=Path, help="result file of `run`")
    command.add_argument("--peers", type=Path, help="result file of `peers`")
    command.add_argument("--brokers", type=Path, help="result file of `brokers`")
    command.add_argument("--profile", type=Path, help="result file of `profile`")
    command.set_defaults(do=publish_results)


def _add_table(commands: Commands) -> None:
    command = commands.add_parser("table", help="print the table of a result")
    command.add_argument("result", type=Path, help="result file")
    command.set_defaults(do=table)


def _add_profile(commands: Commands) -> None:
    command = commands.add_parser(
        "profile",
        help="show where the time of a call goes, by thread and by stage",
        description=PROFILE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--calls",
        type=_count,
        default=profile.CALLS,
        help="calls of the fan-out on processes [default: %(default)s]",
    )
    command.add_argument(
        "--chains",
        type=_count,
        default=profile.CHAINS,
        help="chains of three calls, one after the other [default: %(default)s]",
    )
    command.add_argument(
        "--rounds",
        type=_count,
        default=profile.ROUNDS,
        help="runs on processes; the one with the median processor time counts "
        "[default: %(default)s]",
    )
    command.add_argument(
        "--stage-calls",
        type=_count,
        default=profile.STAGE_CALLS,
        help="calls of the fan-out in the pure cores [default: %(default)s]",
    )
    command.add_argument(
        "--best-of",
        type=_count,
        default=profile.BEST_OF,
        help="runs in the pure cores; the best of each stage counts [default: %(default)s]",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "profile.json",
        help="file for the result [default: %(default)s]",
    )
    command.set_defaults(do=show_profile)


if __name__ == "__main__":
    # Clients start before the broker answers, which is expected here.
    logging.getLogger("understudy").setLevel(logging.ERROR)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; `make bench-peers` goes on from here when it is run again", file=sys.stderr)
        sys.exit(130)

"""``python -m benchmarks``: what `make bench`, `make bench-guard` and `make bench-peers` run."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks import charts, guard, profile, publish, report
from benchmarks.harness import Figures, Harness, Journal, Workload, read, write
from benchmarks.machine import BUSY_MAX, busy_cores
from benchmarks.peers.adapters import peers as all_peers
from benchmarks.subjects import Floor, Understudy
from benchmarks.workloads import WORKLOADS

RESULTS: Final = Path(__file__).with_name("results")
CHARTS: Final = RESULTS / "charts"
ROUNDS: Final = 3
MINUTES: Final = 4.5
WARM_UP: Final = {"fan_out": 2_000, "chain": 20, "chains": 200, "steps": 100}


#: the guard's exit code where it cannot know
INCONCLUSIVE: Final = 3

#: what peers are asked for too: no size for which the slowest would need many minutes
PEER_SIZES: Final = {"fan_out": 10_000, "chain": 200, "chains": 1_000, "memory": 0}
PEER_WARM_UP: Final = {"fan_out": 200, "chain": 10, "chains": 50}

#: what argparse gives for `add_subparsers`, for type checkers
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PROFILE_HELP: Final = """\
Where the processor time of a call goes, in µs.

By thread: a broker on SQLite, two nodes and a client are started as `run` does;
one durable parent makes no-op calls, and the system's counters of every thread
are read directly before and after (Linux only). "Waited for a core" is time in
which a thread could have run, and no core was free. From these follows how many
calls are possible, and what is in the way of more. Then the same for chains of
three calls, one after the other, with how often each thread slept: latency.

By stage: the cores of a broker and of two nodes hand their frames to one another
in this process, without sockets and threads, 512 calls at a time; what they
commit is then written by the statements of the product. Processor time too, but
for the sync of a commit, which is waiting.

examples:
  python -m benchmarks profile
  python -m benchmarks profile --calls 5000 --rounds 1 --best-of 1   # a quick look
  python -m benchmarks publish --profile benchmarks/results/profile.json
"""


PEERS_HELP: Final = """\
Ours, the floor and {names}.

Each gets a virtual environment of its own in benchmarks/peers/.envs, made at the
first run (it takes about 800 MB there). Redis and PostgreSQL are taken from the path,
Redis else from a Python package; what cannot be had is named and left out. A
round of all takes about seven minutes. One that is interrupted goes on where it
stopped when it is called again.

examples:
  make bench-peers
  make bench-peers ARGS="--only ray --only celery --rounds 1"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if the guard fails."""
    options = _parser().parse_args(arguments)
    code: int = options.do(options)
    return code


def run(options: argparse.Namespace) -> int:
    """Ours and the floor."""
    names = options.only or list(WORKLOADS)
    whole = not options.only and not options.sizes
    out = options.out or RESULTS / ("latest.json" if whole else "part.json")
    busy = _busy_cores()
    if busy > BUSY_MAX:
        print(f"· {_others(busy)}: what is measured will be lower", file=sys.stderr)
    chosen: list[tuple[Workload, Sequence[int]]] = [
        (WORKLOADS[name], options.sizes or WORKLOADS[name].sizes) for name in names
    ]
    harness = Harness(chosen, [[Understudy(), Floor()]], warm_up=WARM_UP, on_run=Progress().show)
    harness.busy_before = busy
    harness.rounds_within(options.rounds, options.minutes * 60)
    result = harness.result()
    write(out, result)
    report.show(result)
    folder = out.with_name("charts" if whole else "charts-part")
    if options.out is None:
        # those of what is measured no longer would stay; elsewhere it may be anybody's folder
        shutil.rmtree(folder, ignore_errors=True)
    drawn = charts.draw(result, folder)
    print(f"\n{out} and {len(drawn)} charts in {folder}")
    return 0


def keep(options: argparse.Namespace) -> int:
    """The guard."""
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
        print(f"\nnot recorded: {_others(busy)}. On a quiet machine: {again}", file=sys.stderr)
        return INCONCLUSIVE
    if options.record:
        guard.record(found)
        print(f"\nrecorded in {guard.PATH}: commit it together with what made the difference")
        return 0
    if not guard.PATH.exists():
        print(f"\nnothing is recorded yet; on a quiet machine: {again}", file=sys.stderr)
        return 1
    lost = guard.losses(found, guard.recorded())
    if lost:
        print("· slower than recorded; as many rounds again, to be sure", file=sys.stderr)
        for _ in range(options.rounds):
            harness.round()
        result = harness.result()
        found = guard.ratios(result)
        report.show(result)
        lost = guard.losses(found, guard.recorded())
    if not lost:
        print(f"\nkept: every ratio to the floor is at least {guard.KEPT:.0%} of the recorded one")
        return 0
    print(
        "\nslower than recorded, compared with the floor in the same run:\n  " + "\n  ".join(lost),
        file=sys.stderr,
    )
    busy = max(busy, _busy_cores())
    if busy > BUSY_MAX:
        print(f"inconclusive: {_others(busy)}. Run it again on a quiet machine", file=sys.stderr)
        return INCONCLUSIVE
    print(f"If it is meant to be so: {again}", file=sys.stderr)
    return 1


def _busy_cores() -> float:
    return busy_cores() or 0.0


def _others(busy: float) -> str:
    return f"other work uses {busy:.1f} cores of this machine"


def peers(options: argparse.Namespace) -> int:
    """Ours, the floor and the others; those that cannot be had are named."""
    journal = Journal(options.out.with_suffix(".journal"))
    if options.fresh:
        journal.done()
        journal = Journal(journal.path)
    if len(journal):
        print(f"going on after {len(journal)} runs (anew: ARGS=--fresh)", file=sys.stderr)
    chosen = [p for p in all_peers() if not options.only or p.name in options.only]
    workloads = [
        (WORKLOADS[name], (size and (options.size or size),)) for name, size in PEER_SIZES.items()
    ]
    harness = Harness(
        workloads,
        [[Understudy(), Floor()], *([peer] for peer in chosen)],
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


def draw(options: argparse.Namespace) -> int:
    """Charts of a result that is there."""
    for path in charts.draw(read(options.result), options.folder):
        print(path)
    return 0


def table(options: argparse.Namespace) -> int:
    """The table of a result that is there."""
    report.show(read(options.result))
    return 0


def into_docs(options: argparse.Namespace) -> int:
    """Results into docs/performance.md."""
    for name in ("ours", "peers"):
        path = getattr(options, name)
        if path is not None:
            drawn = publish.publish(name, read(path))
            print(f"{publish.PAGE}: {name}, with {len(drawn)} charts")
    if options.profile is not None:
        publish.publish_profile(profile.read(options.profile))
        print(f"{publish.PAGE}: where the time goes")
    return 0


def look(options: argparse.Namespace) -> int:
    """Where the time goes."""
    print("· by thread, then by stage: about a minute with the defaults", file=sys.stderr)
    result = profile.measure(
        options.calls, options.rounds, options.stage_calls, options.best_of, options.chains
    )
    write(options.out, result)
    profile.show(result)
    print(f"\n{options.out}; into the page: python -m benchmarks publish --profile {options.out}")
    return 0


class Progress:
    """A line for each run, on standard error."""

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
    """A number of calls or runs, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: it must be 1 or more")
    return number


def _size(text: str) -> int:
    """One of a workload's sizes: a store to grow may be empty."""
    return int(text) if text.strip() == "0" else _count(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("run", help="ours and the floor")
    command.add_argument("--only", action="append", choices=WORKLOADS, metavar="WORKLOAD")
    command.add_argument("--sizes", type=_size, nargs="+", help="instead of the workload's own")
    command.add_argument("--rounds", type=_count, default=ROUNDS)
    command.add_argument(
        "--minutes", type=float, default=MINUTES, help="no round is begun that would take longer"
    )
    command.add_argument(
        "--out",
        type=Path,
        help="results/latest.json beside this program, or part.json with --only or --sizes",
    )
    command.set_defaults(do=run)

    command = commands.add_parser("guard", help="the ratio to the floor against the recorded one")
    command.add_argument("--rounds", type=_count, default=guard.ROUNDS)
    command.add_argument("--record", action="store_true", help="make this the recorded one")
    command.set_defaults(do=keep)

    names = [peer.name for peer in all_peers()]
    command = commands.add_parser(
        "peers",
        help="ours, the floor and other systems",
        description=PEERS_HELP.format(names=", ".join(names)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--only", action="append", choices=names, metavar="PEER", help="may be repeated"
    )
    command.add_argument("--size", type=_count, help="calls of each workload, instead of its own")
    command.add_argument("--rounds", type=_count, default=ROUNDS, help="%(default)s by default")
    command.add_argument("--fresh", action="store_true", help="forget what was interrupted")
    command.add_argument("--out", type=Path, default=RESULTS / "peers.json")
    command.set_defaults(do=peers)

    command = commands.add_parser("charts", help="draw the charts of a result")
    command.add_argument("result", type=Path)
    command.add_argument("--folder", type=Path, default=CHARTS)
    command.set_defaults(do=draw)

    command = commands.add_parser("publish", help="put results into docs/performance.md")
    command.add_argument("--ours", type=Path, help="what `run` wrote")
    command.add_argument("--peers", type=Path, help="what `peers` wrote")
    command.add_argument("--profile", type=Path, help="what `profile` wrote")
    command.set_defaults(do=into_docs)

    _add_profile(commands)

    command = commands.add_parser("table", help="show a result")
    command.add_argument("result", type=Path)
    command.set_defaults(do=table)
    return parser


def _add_profile(commands: Commands) -> None:
    command = commands.add_parser(
        "profile",
        help="where the time of a call goes: by thread and by stage",
        description=PROFILE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--calls",
        type=_count,
        default=profile.CALLS,
        help="of the fan-out on processes (default: %(default)s)",
    )
    command.add_argument(
        "--chains",
        type=_count,
        default=profile.CHAINS,
        help="of three calls each, one after the other (default: %(default)s)",
    )
    command.add_argument(
        "--rounds",
        type=_count,
        default=profile.ROUNDS,
        help="runs of it; the one whose processor time is in the middle counts "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--stage-calls",
        type=_count,
        default=profile.STAGE_CALLS,
        help="of the fan-out in the pure cores (default: %(default)s)",
    )
    command.add_argument(
        "--best-of",
        type=_count,
        default=profile.BEST_OF,
        help="runs of it; each stage counts as in its best (default: %(default)s)",
    )
    command.add_argument(
        "--out", type=Path, default=RESULTS / "profile.json", help="(default: %(default)s)"
    )
    command.set_defaults(do=look)


if __name__ == "__main__":
    # that a broker is not there yet is no news here
    logging.getLogger("understudy").setLevel(logging.ERROR)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; `make bench-peers` would go on from here", file=sys.stderr)
        sys.exit(130)

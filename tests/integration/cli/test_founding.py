"""Brokers that begin: new ones wait for each other, stores say who has which slots."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from tests.integration.cli.deployments import Brokers
from tests.integration.cli.programs import Forked, run_forked, wait_until
from tests.integration.cli.test_brokers import ids_of
from tests.support import free_url
from understudy_broker.protocol.placement import owners, shared_out
from understudy_broker.server.placement import runs_text


def test_new_brokers_wait_for_all_others_and_then_have_one_map(tmp_path: Path) -> None:
    with Brokers(tmp_path, "abc") as brokers:
        first = brokers.launch("a")
        first.wait_for(
            f"not started: the broker 'a' is new and waits for 'b' (no broker answers at "
            f"{brokers.urls['b']}); 'c' (no broker answers at {brokers.urls['c']}). a new broker "
            "must hear from each of the others that nobody has its slots"
        )
        # Peers are told what it still waits for, and Ctrl-C works.
        brokers.launch("b")
        for name in "ab":
            _wait_for_refusal(
                brokers,
                name,
                f"the broker '{name}' is new and waits for 'c' (no broker answers at ",
            )
        assert "listening on" not in first.output
        assert brokers.running.pop("b").stop(signal.SIGINT) == 0
        brokers.start("cb")
        brokers.running["a"].wait_for("listening on")
        assert run_forked("slots", "--url", brokers.urls["b"], cwd=tmp_path).returncode == 0
        output = brokers.stop("abc")
        assert output.count("all brokers are new; this one shares the slots out") == 1
        assert output.count("this broker is new; the others say which slots it has") == 2
        # A broker that stops in order is no cause for a warning.
        assert "a link to a broker has ended" in output
        assert '"level": "warning"' not in output.partition("link to a broker")[2]
        expected = tuple(owners(shared_out(list(brokers.urls.items()))))
        assert {brokers.placement(name).owners for name in "abc"} == {expected}
        # Each knows what it has by now.
        brokers.start("b")


def _wait_for_refusal(brokers: Brokers, name: str, text: str) -> None:
    wait_until(lambda: text in _refusal(brokers, name), lambda: _refusal(brokers, name))


def _refusal(brokers: Brokers, name: str) -> str:
    """Return what a command is told by a broker that does not work yet."""
    ran = run_forked("slots", "--url", brokers.urls[name], cwd=brokers.directory)
    assert ran.returncode == 4, ran.stdout
    return ran.stderr


def test_a_single_broker_grows(tmp_path: Path) -> None:
    url = free_url()
    single = ("broker", "--listen", url, "--store", "sqlite:///old.db")
    with Forked(*single, cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        for number in range(8):
            ran = run_forked("promises", "create", f"order-{number}", "--url", url, cwd=tmp_path)
            assert ran.returncode == 0, ran.stderr
        assert broker.stop() == 0
    with Brokers(tmp_path, "ab") as brokers:
        brokers.write(a="sqlite:///old.db")
        new = brokers.launch("b")
        new.wait_for("is new and waits for 'a'")
        brokers.start("a")
        new.wait_for("listening on")
        ran = run_forked("slots", "--url", brokers.urls["b"], cwd=tmp_path)
        assert [line.split() for line in ran.stdout.splitlines()[1:]] == [
            ["a", "256", "0-255"],
            ["b", "0"],
        ]
        brokers.stop("ab")
        moved = brokers.move("128-255", "--to", "b")
        assert "Start the brokers again" in moved
        brokers.start("ab")
        for number in range(8):
            ran = run_forked(
                "promises", "get", f"order-{number}", "--url", brokers.url, cwd=tmp_path
            )
            assert ran.returncode == 0, ran.stderr
        brokers.stop("ab")
    # Neither of the two goes on alone.
    for store in ("old.db", "understudy-b.db"):
        ran = run_forked("broker", "--listen", url, "--store", store, cwd=tmp_path)
        assert ran.returncode == 1
        assert "of the deployment 'a,b', and has the slots" in ran.stderr
        assert "start it with the [[broker]] tables of all brokers, or first move" in ran.stderr


def test_brokers_come_and_go(tmp_path: Path) -> None:
    with Brokers(tmp_path, "ab") as brokers:
        brokers.start("ab")
        brokers.stop("a")
        brokers.add("c")
        # One of the two that have slots is enough, also if it has not heard of the new one.
        brokers.start("c")
        brokers.stop("bc")
        assert brokers.placement("c").own == []
        own = brokers.placement("a").own
        brokers.move(runs_text(own[:40]).replace(" ", ""), "--to", "c")
        assert brokers.placement("c").own == own[:40]
        brokers.start("abc")
        ran = run_forked("slots", "--url", brokers.urls["b"], cwd=tmp_path)
        assert [line.split()[:2] for line in ran.stdout.splitlines()[1:]] == [
            ["a", str(len(own) - 40)],
            ["b", "128"],
            ["c", "40"],
        ]
        brokers.stop("abc")
        # The name of a broker that has slots must stay; without slots it may go.
        gone = brokers.urls.pop("c")
        brokers.write()
        # The other one has not heard that this one ever had slots.
        brokers.start("b")
        refused = brokers.launch("a")
        assert refused.wait_for_exit() == 1
        assert "the broker 'c' has the slots" in refused.output
        assert "understudy slots move --all --from c --to NAME" in refused.output
        brokers.stop("b")
        brokers.urls["c"] = gone
        brokers.write()
        brokers.move("--all", "--from", "c", "--to", "b")
        del brokers.urls["c"]
        brokers.write()
        # This one has not heard of the move: it asks, and does not take the other for new.
        waiting = brokers.launch("a")
        waiting.wait_for("the broker 'a' is not up to date and waits for 'b'")
        brokers.start("b")
        waiting.wait_for("listening on")
        ran = run_forked("slots", "--url", brokers.urls["a"], cwd=tmp_path)
        assert len(ran.stdout.splitlines()) == 3


def test_the_last_broker_goes_on_by_itself(tmp_path: Path) -> None:
    with Brokers(tmp_path, "ab") as brokers:
        brokers.start("ab")
        [id_] = ids_of("b", 1)
        assert (
            run_forked("promises", "create", id_, "--url", brokers.url, cwd=tmp_path).returncode
            == 0
        )
        brokers.stop("ab")
        brokers.move("--all", "--from", "b", "--to", "a")
        del brokers.urls["b"]
        brokers.write()
        brokers.start("a")
        assert (
            run_forked("promises", "get", id_, "--url", brokers.url, cwd=tmp_path).returncode == 0
        )
        brokers.stop("a")
        assert brokers.placement("a").brokers == ("a",)


def test_a_copy_of_a_store_from_before_a_move_stops(tmp_path: Path) -> None:
    with Brokers(tmp_path, "ab") as brokers:
        brokers.start("ab")
        brokers.stop("ab")
        shutil.copy(brokers.store("a"), tmp_path / "copy.db")
        own = brokers.placement("a").own
        brokers.move(f"{own[0]},{own[1]}", "--to", "b")
        shutil.copy(tmp_path / "copy.db", brokers.store("a"))
        brokers.start("b")
        stopped = brokers.launch("a")
        assert stopped.wait_for_exit() == 1
        assert f"'a', has the slots {runs_text(own[:2])}, but the broker 'b'" in stopped.output
        assert brokers.running["b"].process.poll() is None


def test_two_stores_of_single_brokers_do_not_become_one_deployment(tmp_path: Path) -> None:
    with Brokers(tmp_path, "ab") as brokers:
        for name in "ab":
            url = free_url()
            store = f"understudy-{name}.db"
            with Forked("broker", "--listen", url, "--store", store, cwd=tmp_path) as broker:
                broker.wait_for("listening on")
                ran = run_forked("promises", "create", "p", "--url", url, cwd=tmp_path)
                assert ran.returncode == 0
                broker.stop()
        for program in [brokers.launch(name) for name in "ab"]:
            # The first one to notice stops; the other one stops too, or is left alone.
            program.wait_for("listening on")
        wait_until(
            lambda: any(
                "has the slots 0-255, but the broker" in each.output
                for each in brokers.running.values()
            ),
            lambda: brokers.running["a"].output,
        )


def test_a_store_of_another_broker_is_refused(tmp_path: Path) -> None:
    with Brokers(tmp_path, "ab") as brokers:
        brokers.start("ab")
        brokers.stop("ab")
        brokers.store("b").rename(tmp_path / "x.db")
        brokers.write(a="sqlite:///x.db")
        refused = brokers.launch("a")
        assert refused.wait_for_exit() == 1
        assert "the store is that of the broker 'b'" in refused.output

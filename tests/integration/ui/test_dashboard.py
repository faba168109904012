"""The dashboard in a real browser: each screen, each kind of deed, live, and with hostile texts."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks import prepared_stores
from tests.integration.cli.programs import Program, run
from tests.integration.ui.deployment import HOSTILE, Deployment, deployment
from tests.services.chromium import chromium
from understudy.bench.deployment import free_port
from understudy.testing import record

AXE = Path(__file__).parent / "axe" / "axe-4.14.1.min.js"
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)

SCREENS = {
    "/": "problem",
    "/calls": "Calls",
    "/call?id=order-7": "checkout",
    "/call?id=order-7&tab=graph": "Slowest path",
    "/call?id=order-7&tab=steps": "receipt-39",
    "/call?id=refund-1": "the card was declined",
    "/call?id=print-1&tab=attempts": "out of paper",
    "/call?id=order-7&tab=logs": "somebody buys 3 things",
    "/call?id=order-7&tab=raw": '"state": "resolved"',
    "/groups": "shop",
    "/group?name=shop": "checkout",
    "/builds": "3f2a1c",
    f"/query?sql={quote('select id, state, param_data from promise order by id')}": "order-7.1",
    "/waiting": "trip-1",
    "/schedules": "nightly",
    "/brokers": "tcp://",
    "/do/cancel?id=remind-1": "Cancels 1 call in group shop",
    "/do/resolve?id=trip-1.1": "Value, as JSON",
    "/do/pause-group?id=shop": "Its calls are taken and wait",
    "/many/restart?id=refund-1": "This restarts 1 call in 1 group: shop 1",
    "/call?id=nobody": "There is no call",
    f"/call?id={quote(HOSTILE)}": "approval",
}


#: screens with all colors
DARK = ("/", "/calls", "/call?id=refund-1", "/call?id=order-7&tab=graph", "/do/cancel?id=remind-1")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with calls of all kinds."""
    with deployment(tmp_path_factory.mktemp("ui")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, shop: Deployment) -> Iterator[Page]:
    """A page that reports errors of scripts, and what the browser has refused."""
    context = browser.new_context(base_url=shop.base)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: problems.append(said.text) if "Security Policy" in said.text else None,
    )
    yield page
    context.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_screen_shows_what_it_should_and_axe_finds_nothing(
    browser: Browser, shop: Deployment, scheme: str
) -> None:
    context = browser.new_context(base_url=shop.base, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    source = AXE.read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for path, text in SCREENS.items():
        if scheme == "dark" and path not in DARK:
            continue
        page.goto(path)
        expect(page.locator("main")).to_contain_text(text)
        page.evaluate(source)
        result = page.evaluate("axe.run()")
        found[path] = [
            f"{each['id']}: {[node['html'][:90] for node in each['nodes']][:2]}"
            for each in result["violations"]
        ]
    context.close()
    assert {path: texts for path, texts in found.items() if texts} == {}


def test_pages_fit_a_phone_and_need_no_mouse(browser: Browser, shop: Deployment) -> None:
    context = browser.new_context(base_url=shop.base, viewport={"width": 360, "height": 740})
    page = context.new_page()
    for path in SCREENS:
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, path
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("/")
    page.keyboard.type("order-7")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("order-7")
    context.close()


def test_ids_and_values_are_only_ever_text(page: Page) -> None:
    for path in (f"/call?id={quote(HOSTILE)}", "/calls", "/waiting", "/"):
        page.goto(path)
        assert page.locator("img").count() == 0
        assert page.evaluate("document.body.id") == ""
    page.goto(f"/call?id={quote(HOSTILE)}&tab=steps")
    expect(page.locator("main")).to_contain_text(r"\u202e\u001b[31m")
    page.goto(f"/call?id={quote(HOSTILE)}&tab=logs")
    expect(page.locator("#logs")).to_contain_text("needs an approval")
    assert page.locator("img").count() == 0
    page.goto("/call?id=large-1&tab=steps")
    expect(page.locator("main")).to_contain_text("too large for a page")


def test_an_open_page_follows_and_survives_a_restart_of_the_broker(
    page: Page, shop: Deployment
) -> None:
    page.goto("/waiting")
    expect(page.locator("#waiting")).to_contain_text("trip-1.1")
    shop.call("trip-2", "approval", 7)
    expect(page.locator("#waiting")).to_contain_text("trip-2.1")
    shop.stop("broker")
    expect(page.locator("#state .banner")).to_contain_text("No broker answers")
    shop.start("broker")
    expect(page.locator("#state .banner")).to_have_count(0)
    shop.runtime.promises.resolve("trip-2.1", True)
    expect(page.locator("#waiting")).not_to_contain_text("trip-2.1")


def test_a_waterfall_grows_row_by_row(page: Page, shop: Deployment) -> None:
    shop.call("trip-3", "approval", 7)
    page.goto("/call?id=trip-3")
    row = page.locator("#rows tr")
    expect(row).to_have_count(2)
    page.evaluate("document.querySelector('#rows tr:nth-child(2)').dataset.mark = 'mine'")
    shop.runtime.promises.resolve("trip-3.1", True)
    expect(page.locator("#rows tr").nth(0)).to_contain_text("resolved")
    expect(page.locator("#head")).to_contain_text("resolved")


def test_logs_follow_a_call_and_lead_to_the_system_of_the_team(
    page: Page, shop: Deployment
) -> None:
    page.goto("/call?id=refund-1&tab=logs")
    expect(page.locator("#logs tr")).to_have_count(4)
    expect(page.locator("#logs")).to_contain_text("attempt 1 of 3 failed")
    page.get_by_text("Traceback").first.click()
    expect(page.locator("#logs pre").first).to_contain_text("is over the limit")
    link = page.get_by_role("link", name="Open in the log system")
    assert link.get_attribute("href") == "https://logs.example/?q=refund-1"
    page.get_by_role("link", name="Show this call alone").click()
    expect(page.locator("#logs tr")).to_have_count(1)
    with (shop.folder / "shop.log").open("a", encoding="utf-8") as log:
        log.write('{"understudy.id": "refund-1", "event": "<b>more</b>", "timestamp": "9"}\n')
    expect(page.locator("#logs tr").nth(1)).to_contain_text("<b>more</b>")


def test_a_query_is_answered_saved_in_the_address_and_downloaded(
    page: Page, shop: Deployment
) -> None:
    page.goto("/query")
    page.get_by_role("link", name="The slowest functions").click()
    expect(page.locator("#answer")).to_contain_text("checkout")
    page.fill("textarea", "select id, state, param_data from promise where id = 'order-7'")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#answer tr")).to_have_count(1)
    expect(page.locator("#answer")).to_contain_text(re.compile(r"order-7resolved\(\d+ bytes\)"))
    assert "param_data" in page.url
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.path().read_text().startswith("id,state,param_data\norder-7,resolved,(")
    found = httpx.get(f"{shop.base}/query.json", params={"sql": "select 1 as a, null as b"}).json()
    assert found == {"columns": ["a", "b"], "rows": [[1, None]], "is_whole": True}
    page.fill("textarea", "delete from promise")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("only reading is permitted here")
    refused = httpx.get(f"{shop.base}/query.csv", params={"sql": "delete from promise"})
    assert refused.status_code == 400
    assert httpx.get(f"{shop.base}/query.xml").status_code == 404


def test_folded_children_open_on_demand(page: Page) -> None:
    page.goto("/call?id=stock-1")
    expect(page.locator("#rows tr")).to_have_count(7)
    page.get_by_role("link", name=re.compile("more price")).click()
    expect(page.locator("#rows tr")).to_have_count(61)


def test_huge_lists_and_graphs_come_in_pieces_by_the_keyboard(
    browser: Browser, tmp_path: Path
) -> None:
    prepared_stores.shop(tmp_path / "shop.db", 10_000, 100_000, 10_000)
    huge = "i" * 500
    with closing(sqlite3.connect(tmp_path / "shop.db")) as store, store:
        store.execute(
            "UPDATE promise SET id = ?, origin = ?, function = ?, group_name = ?, target = ?, "
            "state = 'rejected', error = ? WHERE id = 'order-0009999'",
            (huge, huge, "f" * 200, "g" * 120, f"poll://any@{'g' * 120}", "E" * 200),
        )
    base = f"http://127.0.0.1:{free_port()}"
    where = ("--store", "shop.db", "--listen", base.removeprefix("http://"))
    context = browser.new_context(base_url=base, viewport={"width": 360, "height": 740})
    page = context.new_page()

    def press(link: str) -> None:
        page.get_by_role("link", name=link).focus()
        page.keyboard.press("Enter")

    with Program("ui", *where, cwd=tmp_path) as program:
        program.wait_for("understudy ui: http")
        page.goto("/calls")
        expect(page.locator("#counts")).to_contain_text("Of the newest 10,000")
        expect(page.locator("#calls tr")).to_have_count(100)
        assert page.locator("#calls tr").first.bounding_box()["height"] < 500  # type: ignore[index]
        for path in ("/calls", *(f"/call?id={huge}&tab={tab}" for tab in ("waterfall", "graph"))):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page.goto("/calls?function=function_7")
        first = page.locator("#calls th").all_text_contents()
        press("Older calls")
        expect(page.get_by_role("link", name="Newest calls")).to_be_visible()
        second = page.locator("#calls th").all_text_contents()
        assert len({*first, *second}) == 200
        expect(page.get_by_role("link", name="Older calls")).to_have_count(0)
        press("Newest calls")
        expect(page.locator("#calls th").first).to_have_text(first[0])
        page.goto("/waiting")
        press("Next page")
        expect(page.locator("#waiting th").first).to_contain_text("question-00199")
        page.goto("/call?id=wide")
        rows, fold = page.locator("#rows tr"), page.locator("#rows .foldrow a")
        expect(fold).to_have_text(re.compile("at least .* more price"))
        count = rows.count()
        assert count < 30
        for opened in (100, 200):
            fold.focus()
            page.keyboard.press("Enter")
            expect(rows).to_have_count(count + opened)
            expect(fold).to_have_count(1)
            expect(page.locator("#rows tr").nth(count + opened - 101).locator("a")).to_be_focused()
        links = page.locator("#rows tr:not(.foldrow) th a")
        assert links.count() == len(set(links.evaluate_all("all => all.map(a => a.href)")))
    fold.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#rows .foldrow")).to_contain_text("could not be read just now")
    context.close()


def test_a_person_answers_by_a_form(page: Page, shop: Deployment) -> None:
    shop.call("trip-4", "approval", 9)
    page.goto("/waiting")
    page.locator("tr", has_text="trip-4.1").get_by_role("link", name="Resolve").click()
    page.fill("textarea", "yes")
    page.get_by_role("button", name="Resolve").click()
    expect(page.get_by_role("alert")).to_contain_text("this is no JSON")
    page.fill("textarea", '{"by": "ann"}')
    page.get_by_role("button", name="Resolve").click()
    expect(page.get_by_role("status").first).to_contain_text("Done: Resolve")
    assert shop.runtime.get("trip-4").result(timeout=10)["answer"] == {"by": "ann"}


def test_calls_are_halted_continued_and_canceled_from_their_page(
    page: Page, shop: Deployment
) -> None:
    page.goto("/call?id=remind-1")
    for deed, state in (("Halt", "halted"), ("Continue", "waiting"), ("Cancel", "canceled")):
        page.get_by_role("link", name=deed, exact=True).click()
        page.get_by_role("button", name=deed).click()
        expect(page.locator("#head .badge")).to_contain_text(state)


def test_many_calls_are_chosen_and_canceled(page: Page, shop: Deployment) -> None:
    page.goto("/calls?prefix=bulk-")
    expect(page.locator("main")).to_contain_text("No call matches.")
    for number in range(3):
        shop.call(f"bulk-{number}", "transfer", 1, target="bank")
    expect(page.locator("#calls tr")).to_have_count(3)
    expect(page.locator(".empty")).to_be_hidden()
    assert page.get_by_role("button", name="Cancel").is_disabled()
    page.get_by_label("Choose all").check()
    expect(page.locator(".chosen")).to_have_text("3 chosen")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".summary").first).to_have_text("Cancels 3 calls in group bank.")
    page.get_by_role("button", name="Cancel 3 calls").click()
    page.goto("/calls?prefix=bulk-&state=canceled")
    expect(page.locator("#calls tr")).to_have_count(3)


def test_all_that_match_are_canceled_and_what_failed_is_restarted(
    page: Page, shop: Deployment
) -> None:
    for number in range(120):
        shop.call(f"many-{number}", "transfer", 1, target="bank")
    page.goto("/calls?prefix=many-")
    expect(page.locator("#calls tr")).to_have_count(100)
    page.get_by_role("link", name="Cancel all").click()
    expect(page.locator(".summary")).to_have_text(
        "This cancels 120 calls, with what they called, in 1 group: bank 120."
    )
    shop.call("many-later", "transfer", 1, target="bank")
    page.get_by_role("button", name="Cancel 120 calls").click()
    expect(page.locator("#job .summary")).to_have_text("Canceled 120 of 120 calls.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    page.reload()
    expect(page.locator("#job .summary")).to_have_text("Canceled 120 of 120 calls.")
    page.goto("/call?id=many-later")  # Only what was shown is canceled.
    expect(page.locator("#head .badge")).to_contain_text("queued")

    page.goto("/call?id=refund-1")
    page.get_by_role("link", name="Restart").click()
    page.get_by_role("button", name="Restart 1 call").click()
    expect(page.locator("#job .summary")).to_have_text("Restarted 1 of 1 call.")
    page.get_by_role("link", name="refund-1-2").click()
    expect(page.locator("#head .badge")).to_contain_text("rejected")
    page.goto("/many/retry?state=failed")
    expect(page.locator("main")).to_contain_text("so there is nothing to retry")


def test_a_group_and_a_function_are_paused_and_resumed(page: Page, shop: Deployment) -> None:
    page.goto("/group?name=shop")
    page.get_by_role("link", name="Pause checkout").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#why")).to_contain_text("function checkout of group shop is paused")
    page.get_by_role("link", name="Pause", exact=True).click()
    page.fill("input[name=reason]", "the bank is down")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#why")).to_contain_text("(the bank is down)")
    shop.call("paused-1", "checkout", ["pen"])
    page.goto("/call?id=paused-1")
    expect(page.locator("#why")).to_contain_text("group shop is paused")
    page.goto("/group?name=shop")
    for name in ("Resume", "Resume checkout"):
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("button", name="Resume").click()
    page.goto("/call?id=paused-1")
    expect(page.locator("#head .badge")).to_contain_text("resolved")


def test_a_schedule_is_paused_run_and_resumed(page: Page) -> None:
    page.goto("/schedules")
    page.get_by_role("link", name="Pause").click()
    page.fill("input[name=reason]", "stocktaking")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#schedules")).to_contain_text("paused: stocktaking")
    page.get_by_role("link", name="Run now").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#schedules a.id")).to_contain_text("nightly")
    page.get_by_role("link", name="Resume").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#schedules")).not_to_contain_text("paused")


def test_other_sites_and_forged_forms_are_refused(shop: Deployment) -> None:
    with httpx.Client(base_url=shop.base) as client:
        answer = client.get("/do/cancel?id=remind-2")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        found = re.search('name="form" value="([0-9a-f]+)"', answer.text)
        assert found is not None
        form = {"form": found[1], "at": "1"}
        path = "/do/cancel?id=remind-2"
        elsewhere = {"sec-fetch-site": "cross-site"}
        assert client.post(path, data=form, headers=elsewhere).status_code == 403
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        assert client.post(path, data={"form": "0" * 64}).status_code == 403
        assert client.post(path, content=b"x" * 5_000_000).status_code in (403, 413)
        assert httpx.post(f"{shop.base}{path}", data=form).status_code == 403
        assert client.get("/static/..%2fapp.py").status_code == 404
        assert client.post("/", data=form).status_code == 405
        assert shop.runtime.get("remind-2").done() is False
        assert client.post(path, data=form).status_code == 303
        assert client.post(path, data=form).status_code == 303  # canceled already: as asked for


def test_files_are_shown_without_a_broker_and_never_changed(
    shop: Deployment, tmp_path: Path
) -> None:
    record("order-7", shop.runtime).save(tmp_path / "order-7.json")
    copied = tmp_path / "copy.db"
    with closing(sqlite3.connect(shop.store)) as source, closing(sqlite3.connect(copied)) as target:
        source.backup(target)
    for option, file in (("--store", copied), ("--history", tmp_path / "order-7.json")):
        base = f"http://127.0.0.1:{free_port()}"
        listen = ("--listen", base.removeprefix("http://"))
        with Program("ui", option, str(file), *listen, cwd=tmp_path) as program:
            program.wait_for("understudy ui: http")
            with httpx.Client(base_url=base, follow_redirects=True) as client:
                assert client.get("/").status_code == 200
                for tab in ("waterfall", "graph", "steps", "attempts", "logs", "raw"):
                    answer = client.get(f"/call?id=order-7&tab={tab}")
                    assert answer.status_code == 200
                    assert "A file, read only" in answer.text
                    assert "/do/" not in answer.text
                assert client.get("/do/cancel?id=order-7").status_code == 404
                for path in ("/calls", "/waiting", "/schedules"):
                    assert client.get(path).status_code == 200
                answer = client.get("/query", params={"sql": "select count(*) as n from promise"})
                assert ("1 row" if option == "--store" else "ui --store FILE") in answer.text


def test_beyond_this_machine_people_log_in(shop: Deployment, tmp_path: Path) -> None:
    refused = run("ui", "--url", shop.url, "--listen", "0.0.0.0:0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--tokens" in refused.stderr
    made = run("tokens", "new", "ann", "--file", "tokens.toml", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip().splitlines()[-1].split()[-1]
    base = f"http://127.0.0.1:{free_port()}"
    where = ("--listen", base.removeprefix("http://"), "--tokens", "tokens.toml")
    with Program("ui", "--url", shop.url, *where, cwd=tmp_path) as program:
        program.wait_for("understudy ui: http")
        with httpx.Client(base_url=base, follow_redirects=True) as client:
            answer = client.get("/calls")
            assert answer.url.path == "/login"
            assert client.get("/events/calls").status_code == 401

            def log_in(given: str) -> httpx.Response:
                found = re.search('name="form" value="([0-9a-f]+)"', client.get("/login").text)
                assert found is not None
                return client.post("/login", data={"form": found[1], "token": given})

            assert log_in("understudy_wrong").status_code == 401
            assert "Log out" in log_in(token).text
            assert "order-7" in client.get("/calls?prefix=order").text

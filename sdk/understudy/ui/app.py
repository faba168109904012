"""The ASGI application of a dashboard: its paths, who may ask, and what browsers may do with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.edge.address import is_own
from understudy.edge.asker import ASKER
from understudy.edge.sites import ANY_NAME, OwnSite
from understudy.edge.tokens.bearer import RefusedError as TokenRefusedError
from understudy.ui.deeds import DEEDS, done_text
from understudy.ui.pages.brokers import brokers
from understudy.ui.pages.builds import builds
from understudy.ui.pages.call import call, opened
from understudy.ui.pages.calls import calls
from understudy.ui.pages.deeds import Done, confirmation, perform
from understudy.ui.pages.groups import group, groups
from understudy.ui.pages.many import begin, choice, job, no_question, stop
from understudy.ui.pages.now import now
from understudy.ui.pages.query import answered, query
from understudy.ui.pages.schedules import schedules
from understudy.ui.pages.waiting import waiting
from understudy.ui.ports import AwayError, HistoryPort, RefusedError
from understudy.ui.query_text import csv_text, json_text
from understudy.ui.row_changes import Region
from understudy.ui.sessions import COOKIE, is_session_id
from understudy.ui.streams import stream
from understudy.ui.ui import Ui
from understudy.ui.view import View, message
from understudy_store.errors import StoreError
from understudy_store.inquiry.base import Answer

#: bytes of a form
FORM_BYTES_MAX: Final = 4 * 1024 * 1024
#: how long a form may take to come
_FORM_S: Final = 20.0

#: reads what a page shows
Page: TypeAlias = Callable[[Ui, Any], Awaitable[View]]

#: says what something will do, and does it, given its name
Show: TypeAlias = Callable[[Ui, str, Any], Awaitable[View]]
Act: TypeAlias = Callable[[Ui, str, Any, Mapping[str, str]], Awaitable[View | Done]]

#: forms by the first part of their paths: what asks, and what is done
_FORMS: Final[Mapping[str, tuple[Show, Act]]] = {
    "do": (confirmation, perform),
    "many": (choice, begin),
    "job": (no_question, stop),
}
#: pages that need brokers
_OF_BROKERS: Final[Mapping[str, Page]] = {
    "/": now,
    "/groups": groups,
    "/builds": builds,
    "/group": group,
    "/brokers": brokers,
    "/job": job,
}
_OF_ALL: Final[Mapping[str, Page]] = {
    "/call": call,
    "/calls": calls,
    "/waiting": waiting,
    "/schedules": schedules,
}
#: Pages that do not change while they are open.
_STILL: Final[Mapping[str, Page]] = {"/query": query}
_NAV: Final = (
    ("/", "Now"),
    ("/calls", "Calls"),
    ("/groups", "Groups"),
    ("/builds", "Builds"),
    ("/waiting", "Waiting"),
    ("/schedules", "Schedules"),
    ("/brokers", "Brokers"),
    ("/query", "Query"),
)
_CSP: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SECURITY: Final = (
    (b"content-security-policy", _CSP),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def page_paths() -> list[str]:
    """Return the paths of all pages of a dashboard of brokers, those that ask for deeds aside.

    Examples
    --------
    >>> "/calls" in page_paths()
    True
    """
    return [*_OF_BROKERS, *_OF_ALL]


def make_app(ui: Ui) -> ASGIApp:
    """Return the application."""
    pages = dict(_OF_ALL) if ui.is_offline else {**_OF_BROKERS, **_OF_ALL}
    handlers = Handlers(ui, [each for each in _NAV if each[0] in {**pages, **_STILL}])
    routes = [
        *(Route(path, handlers.page(page)) for path, page in pages.items()),
        *(Route(f"/events{path}", handlers.events(page)) for path, page in pages.items()),
        *(Route(path, handlers.page(page)) for path, page in _STILL.items()),
        Route("/query.{kind}", handlers.download),
        Route("/call/rows", handlers.rows),
        *(
            Route(f"/{kind}/{{name}}", handlers.form(show, act), methods=["GET", "POST"])
            for kind, (show, act) in _FORMS.items()
        ),
        Route("/login", handlers.login, methods=["GET", "POST"]),
        Route("/logout", handlers.logout, methods=["POST"]),
        Route("/static/{name}", handlers.static),
        Route("/health", handlers.health),
    ]
    if ui.is_offline:
        routes.append(Route("/", handlers.start))
    app = Starlette(routes=routes, exception_handlers={HTTPException: handlers.missing})
    names = frozenset(ui.settings.names) if is_own(ui.settings.host) else ANY_NAME
    return _Secured(OwnSite(app, names=names))


class _Secured:
    """An application whose answers say what browsers may do with them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_SECURITY]
            await send(message)

        await self._app(scope, receive, send_secured)


class Handlers:
    """Answer requests of browsers.

    Parameters
    ----------
    nav
        Paths and names of the pages in the navigation.
    """

    def __init__(self, ui: Ui, nav: list[tuple[str, str]]) -> None:
        self._ui = ui
        self._nav = nav

    # Pages ---------------------------------------------------------------------------------------

    def page(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler that shows a page."""

        async def handle(request: Request) -> Response:
            session, who = _session_of(request), None
            if self._ui.gate is not None:
                try:
                    who = await self._who(session)
                except TokenRefusedError:
                    return self._to_login(request)
            view = await self._read(lambda: page(self._ui, request.query_params))
            return self._answer(request, view, session, who)

        return handle

    def events(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler that keeps a page up to date."""

        async def handle(request: Request) -> Response:
            session = _session_of(request)

            async def draw() -> list[Region] | None:
                if self._ui.gate is not None:
                    try:
                        await self._who(session)
                    except TokenRefusedError:
                        return None
                return list((await page(self._ui, request.query_params)).regions)

            if self._ui.gate is not None:
                try:
                    await self._who(session)
                except TokenRefusedError as error:
                    return Response(str(error), error.status)
            if self._ui.streams >= self._ui.settings.streams_max:
                return Response("too many pages are open", 503, {"retry-after": "10"})
            shown = self._ui.seen(request.query_params.get("seen", ""))
            return stream(self._ui, shown, draw)

        return handle

    async def rows(self, request: Request) -> Response:
        """Answer with the rows in the place of a folded one."""
        if self._ui.gate is not None:
            try:
                await self._who(_session_of(request))
            except TokenRefusedError:
                return self._to_login(request)
        if "hx-request" not in request.headers:
            id_ = request.query_params.get("id", "")
            return RedirectResponse(f"/call?{urlencode({'id': id_})}", 303)
        try:
            html = await opened(self._ui, request.query_params)
        except (AwayError, RefusedError) as error:
            return Response(str(error), 503)
        return HTMLResponse(html or "", 404 if html is None else 200)

    async def download(self, request: Request) -> Response:
        """Answer a question in SQL with a file."""
        kind = request.path_params["kind"]
        if kind not in _FILES:
            return Response(status_code=404)
        if self._ui.gate is not None:
            try:
                await self._who(_session_of(request))
            except TokenRefusedError:
                return self._to_login(request)
        try:
            answer = await answered(self._ui, request.query_params)
        except RefusedError as error:
            return Response(str(error), error.status)
        except (AwayError, StoreError) as error:
            return Response(str(error), 503 if isinstance(error, AwayError) else 400)
        media_type, text_of = _FILES[kind]
        headers = {
            "content-disposition": f'attachment; filename="query.{kind}"',
            "cache-control": "no-store",
        }
        content = text_of(answer).encode("utf-8", "backslashreplace")
        return Response(content, 200, headers, media_type)

    async def start(self, _request: Request) -> Response:
        """Go to the first page of a file."""
        port = self._ui.port
        path = "/calls"
        if isinstance(port, HistoryPort):
            path = f"/call?{urlencode({'id': port.id})}"
        return RedirectResponse(path, 303)

    async def missing(self, request: Request, error: Exception) -> Response:
        """Answer a request for a path that there is not."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        headline = "There is no such page" if status == 404 else HTTPStatus(status).phrase
        view = message(headline, back="/", status=status)
        return self._answer(request, view, _session_of(request), None)

    # Deeds ---------------------------------------------------------------------------------------

    def form(self, show: Show, act: Act) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler that says what something will do, and does it once it is sent back."""

        async def handle(request: Request) -> Response:
            name = request.path_params["name"]
            if request.method == "POST":
                return await self._do(
                    request, lambda fields: act(self._ui, name, request.query_params, fields)
                )
            return await self.page(lambda ui, query: show(ui, name, query))(request)

        return handle

    async def _do(
        self, request: Request, act: Callable[[Mapping[str, str]], Awaitable[View | Done]]
    ) -> Response:
        session, who = _session_of(request), None
        if self._ui.gate is not None:
            try:
                who = await self._who(session)
            except TokenRefusedError:
                return self._to_login(request)
        fields = await _form(request)
        if not self._is_own_form(session, fields):
            return self._answer(request, _NOT_OURS, session, who)
        found: list[Done] = []

        async def perform_it() -> View:
            result = await act(fields or {})
            if isinstance(result, Done):
                found.append(result)
                return message("Done", status=200)
            return result

        view = await self._read(perform_it, is_deed=True)
        if found:
            return RedirectResponse(found[0].path, 303)
        return self._answer(request, view, session, who)

    # Login ---------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        """Show the form for a token, or take one."""
        gate, session = self._ui.gate, _session_of(request)
        if gate is None:
            return RedirectResponse("/", 303)
        wrong = ""
        if request.method == "POST":
            fields = await _form(request)
            if not self._is_own_form(session, fields):
                wrong = "the form was too old: try again"
            else:
                token = (fields or {}).get("token", "").strip()
                try:
                    await gate.bearer([f"Bearer {token}"])
                except TokenRefusedError as error:
                    wrong = error.detail
                else:
                    response = RedirectResponse("/", 303)
                    self._set_cookie(response, self._ui.sessions.log_in(token))
                    return response
        view = View(
            "login.html",
            "Log in",
            {"wrong": wrong},
            is_live=False,
            status=401 if wrong else 200,
        )
        return self._answer(request, view, session, None, has_nav=False)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        session = _session_of(request)
        if self._is_own_form(session, await _form(request)) and session is not None:
            self._ui.sessions.log_out(session)
        return RedirectResponse("/login", 303)

    async def _who(self, session: str | None) -> str:
        """Return who asks, and ask the brokers in that name from now on.

        Raises
        ------
        TokenRefusedError
        """
        gate = self._ui.gate
        assert gate is not None
        token = None if session is None else self._ui.sessions.token(session)
        bearer = await gate.bearer([] if token is None else [f"Bearer {token}"])
        ASKER.set(bearer.identity)
        return bearer.identity

    def _to_login(self, request: Request) -> Response:
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"hx-redirect": "/login"})
        return RedirectResponse("/login", 303)

    # Files ---------------------------------------------------------------------------------------

    async def static(self, request: Request) -> Response:
        """Answer with a file that pages need."""
        found = self._ui.static.files.get(request.path_params["name"])
        if found is None:
            return Response(status_code=404)
        content, kind = found
        headers = {"cache-control": "public, max-age=31536000, immutable", "content-type": kind}
        return Response(content, 200, headers)

    async def health(self, _request: Request) -> Response:
        """Answer that the loop turns."""
        return Response("ok\n", 200, {"content-type": "text/plain"})

    # Answers -------------------------------------------------------------------------------------

    async def _read(self, read: Callable[[], Awaitable[View]], *, is_deed: bool = False) -> View:
        """Read what a page shows; a page that says why, if that cannot be."""
        try:
            return await read()
        except AwayError as error:
            return message(
                "No broker answers",
                # What is said of a deed, that it may be done yet, is not to be said of a page.
                f"Asked at {self._ui.port.name}{f': {error}' if is_deed else '.'}",
                "This page tries again by itself.",
                advice="understudy brokers",
                level="bad",
                status=503,
            )
        except RefusedError as error:
            return message(
                "The broker refuses it", str(error), level="bad", back="/", status=error.status
            )

    def _answer(
        self,
        request: Request,
        view: View,
        session: str | None,
        who: str | None,
        *,
        has_nav: bool = True,
    ) -> Response:
        ui = self._ui
        is_new = session is None
        if session is None:
            session = ui.sessions.new_id()
        events = ""
        if view.is_live and not ui.is_offline:
            query = [
                (name, text) for name, text in request.query_params.multi_items() if name != "done"
            ]
            query.append(("seen", ui.remember(view.regions)))
            events = f"/events{request.url.path}?{urlencode(query)}"
        deed = DEEDS.get(request.query_params.get("done", ""))
        html = ui.templates.get_template(view.template).render(
            {
                "title": view.title,
                "nav": self._nav if has_nav else [],
                "here": view.here,
                "who": who,
                "form": ui.sessions.form_secret(session),
                "offline": ui.port.name if ui.is_offline else "",
                "notice": "" if deed is None else done_text(deed, 1),
                "events": events,
                "refresh_s": 3 if view.status == 503 else 0,
                "rows": view.rows,
                **view.context,
            }
        )
        response = HTMLResponse(html, view.status, {"cache-control": "no-store"})
        if is_new:
            self._set_cookie(response, session)
        return response

    def _set_cookie(self, response: Response, session: str) -> None:
        response.set_cookie(
            COOKIE,
            session,
            httponly=True,
            samesite="strict",
            secure=self._ui.settings.is_secure,
            path="/",
        )

    def _is_own_form(self, session: str | None, fields: Mapping[str, str] | None) -> bool:
        if session is None or fields is None:
            return False
        return self._ui.sessions.is_form_of(session, fields.get("form", ""))


#: kind of a file to its type, and what makes it
_FILES: Final[Mapping[str, tuple[str, Callable[[Answer], str]]]] = {
    "csv": ("text/csv; charset=utf-8", csv_text),
    "json": ("application/json", json_text),
}
_NOT_OURS: Final = message(
    "This form is not of this session",
    "It is too old, or of another page. Load the page again, and send it once more.",
    back="/",
    status=403,
)


def _session_of(request: Request) -> str | None:
    found = request.cookies.get(COOKIE, "")
    return found if is_session_id(found) else None


async def _form(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; None if it is none, too large, or does not come."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    body = bytearray()
    with trio.move_on_after(_FORM_S) as scope:
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES_MAX:
                return None
    if scope.cancelled_caught:
        return None
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return None
    return dict(fields)

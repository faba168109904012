"""Sessions are bounded and end; a form is taken only from its own session."""

from __future__ import annotations

from understudy.ui.sessions import IDLE_S, SESSIONS_MAX, Sessions, is_session_id


def test_a_form_is_of_one_session_of_one_process() -> None:
    one, other = Sessions(), Sessions()
    first, second = one.new_id(), one.new_id()
    assert one.is_form_of(first, one.form_secret(first))
    assert not one.is_form_of(second, one.form_secret(first))
    assert not other.is_form_of(first, one.form_secret(first))
    assert not one.is_form_of(first, "ü")


def test_sessions_end_when_nobody_uses_them() -> None:
    now = 0.0
    sessions = Sessions(lambda: now)
    session = sessions.log_in("token")
    now = IDLE_S
    assert sessions.token(session) == "token"
    now += IDLE_S + 1
    assert sessions.token(session) is None
    assert sessions.token("nobody's") is None


def test_the_oldest_session_gives_way() -> None:
    sessions = Sessions()
    first = sessions.log_in("t")
    others = [sessions.log_in("t") for _ in range(SESSIONS_MAX)]
    assert sessions.token(first) is None
    assert sessions.token(others[0]) == "t"
    sessions.log_out(others[0])
    assert sessions.token(others[0]) is None


def test_only_our_own_cookies_are_looked_up() -> None:
    assert is_session_id(Sessions().new_id())
    assert not is_session_id("x")
    assert not is_session_id("ä" * 43)

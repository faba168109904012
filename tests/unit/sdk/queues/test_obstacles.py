"""What a log says of a queue that cannot be used."""

from __future__ import annotations

import pytest

from understudy.queues.obstacles import trouble


@pytest.mark.parametrize(
    "reason",
    [
        "ProbableAuthenticationError: ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login'",
        "Error: nats: 'Authorization Violation'",
        "AuthenticationError: WRONGPASS invalid username-password pair or user is disabled.",
        "AuthenticationError: Authentication required.",
        "An error occurred (InvalidClientTokenId) when calling the GetQueueUrl operation",
    ],
)
def test_a_user_who_is_refused(reason: str) -> None:
    text = trouble("the queue", reason)
    assert text.startswith("the queue refuses this user: ")
    assert "Check user and password" in text
    assert "away" not in text


@pytest.mark.parametrize(
    "reason",
    [
        "NotFoundError: code=404 err_code=10059 description='stream not found'",
        "ChannelClosedByBroker: (404) \"NOT_FOUND - no queue 'orders' in vhost '/'\"",
        "Broker: Unknown topic or partition",
        "An error occurred (AWS.SimpleQueueService.NonExistentQueue)",
    ],
)
def test_a_queue_that_is_missing(reason: str) -> None:
    text = trouble("the queue", reason)
    assert text.startswith("the queue is missing: ")
    assert "Make it, or correct its name" in text
    assert "away" not in text


def test_what_else_it_says_is_one_line() -> None:
    assert trouble("q", "TimeoutError: \x1b[2Jno\nanswer.") == (
        "q is away: TimeoutError: \\x1b[2Jno\\nanswer. Trying again"
    )

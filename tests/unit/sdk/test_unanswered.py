"""The advice about a broker that does not answer fits what is known."""

from __future__ import annotations

import pickle

import pytest

from understudy import BrokerUnavailableError, unanswered
from understudy.cli.errors import explain


@pytest.mark.parametrize(
    ("url", "others_answer", "said"),
    [
        ("tcp://127.0.0.1:5577", False, "Start one with: understudy broker ("),
        ("tcp://[::1]:5577", False, "Start one with: understudy broker ("),
        ("ipc:///run/calls", False, "Start one with: understudy broker ("),
        ("tcp://10.0.0.5:5577", False, "Start the broker there ("),
        ("tcp://127.0.0.1:1,tcp://127.0.0.1:2", False, "Start these brokers, or one of them ("),
        ("tcp://127.0.0.1:5577", True, "Other brokers answer, so only calls at this one wait: "),
    ],
)
def test_the_advice(url: str, others_answer: bool, said: str) -> None:
    advice = unanswered.advice(url, others_answer=others_answer)
    assert advice.startswith(said)
    assert "waits for its database does not answer: see its log" in advice
    error = BrokerUnavailableError(url, "", others_answer)
    assert said in str(error)
    assert said in explain(error)[0]
    assert ("Runtime.local()" in str(error)) is not others_answer
    assert ("give its address" in str(error)) is not others_answer


def test_it_travels() -> None:
    error = BrokerUnavailableError("tcp://a:1", "why", True)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.url, copy.reason, copy.others_answer) == ("tcp://a:1", "why", True)

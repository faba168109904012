"""The advice on a broker that does not answer, for all who give it."""

from __future__ import annotations

from understudy_broker.address import is_reachable_by_others, split_addresses


def advice(url: str, *, others_answer: bool = False) -> str:
    """Return what a person should do about a broker that does not answer.

    Parameters
    ----------
    url
        The address at which nothing answers, or several with commas between them.
    others_answer
        Other brokers of the same deployment do answer.

    Examples
    --------
    >>> advice("tcp://127.0.0.1:5577").partition(" (")[0]
    'Start one with: understudy broker'
    """
    addresses = split_addresses(url)
    if others_answer:
        todo = "Other brokers answer, so only calls at this one wait: look at it"
    elif len(addresses) > 1:
        todo = "Start these brokers, or one of them"
    elif is_reachable_by_others(url):
        todo = "Start the broker there"
    else:
        todo = "Start one with: understudy broker"
    return (
        f"{todo} (one that has ended, as at a full disk, or that waits for its database does not "
        "answer: see its log)"
    )


def text(
    url: str, given_with: str, *, others_answer: bool = False, while_waiting: bool = False
) -> str:
    """Return the message that no broker answers, with what to do.

    Parameters
    ----------
    url, others_answer
        As for `advice`.
    given_with
        How this program is told another address.
    while_waiting
        It is still being tried.
    """
    todo = advice(url, others_answer=others_answer)
    still = " (still trying)" if while_waiting else ""
    if others_answer:
        # They have told the address.
        return f"the broker at {url} does not answer{still}. {todo}"
    return f"no broker answers at {url}{still}. {todo}; or give its address with {given_with}"

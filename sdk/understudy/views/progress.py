"""The progress of running functions, as text and as JSON data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from understudy_store.commands import Reply
from understudy_store.progress import ProgressRecord
from understudy_store.records import TAG_BRANCH, PromiseRecord


def progress_json(progress: ProgressRecord | None) -> dict[str, Any] | None:
    """Return a progress as JSON data; None if there is none."""
    if progress is None:
        return None
    return {"fraction": progress.fraction, "text": progress.text, "at": progress.at}


def progress_text(progress: ProgressRecord | None) -> str:
    """Return a progress for people; empty if there is none.

    Examples
    --------
    >>> progress_text(ProgressRecord("x", 0.4, "page 12", 0))
    '40 % page 12'
    """
    if progress is None:
        return ""
    if progress.fraction is None:
        return progress.text
    # Rounded down, because what is not done is not 100 %.
    return f"{int(progress.fraction * 100)} % {progress.text}".rstrip()


def progress_of_task(reply: Reply) -> ProgressRecord | None:
    """Return how far a task is: its own word, or the latest of its steps.

    Parameters
    ----------
    reply
        To `TaskGet`.
    """
    if reply.task is None or not reply.progress:
        return None
    own = (each for each in reply.progress if reply.task.id == each.id)
    return next(own, reply.progress[0])


def progress_of_promises(
    records: Mapping[str, PromiseRecord], replies: Iterable[Reply]
) -> dict[str, ProgressRecord]:
    """Return the progress of calls and steps by the id of their promise.

    A node can only speak for the steps of the tasks that it holds.

    Parameters
    ----------
    records
        The promises, by id.
    replies
        To `TaskGet`, for those that have tasks.
    """
    found = {}
    for reply in replies:
        for each in reply.progress or ():
            record = records.get(each.id)
            if record is None or record.settled or reply.task is None:
                continue
            if reply.task.id in (each.id, record.tags.get(TAG_BRANCH)):
                found[each.id] = each
    return found

"""Rows whose tags are in order, to compare what different engines return."""

from __future__ import annotations

import msgspec

from understudy_store.pending_row import PendingRow, texts_from_json, texts_to_json


def tags_in_order(row: PendingRow) -> PendingRow:
    """Return the same row with its tags in the order of their names: tables do not keep theirs."""
    tags = texts_to_json(dict(sorted(texts_from_json(row.tags).items())))
    return msgspec.structs.replace(row, tags=tags)

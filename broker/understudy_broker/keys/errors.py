"""Errors of files of keys and rights."""

from __future__ import annotations

from understudy_broker.errors import BrokerError


class RightsError(BrokerError):
    """The file of the rights is wrong; the message says where."""

"""The build of the program that runs here, as its operator names it."""

from __future__ import annotations

import os
from typing import Final

from understudy.errors import ConfigurationError
from understudy_broker.protocol.messages import BUILD_CHARS_MAX

#: the environment variable that names it
BUILD_ENV: Final = "UNDERSTUDY_BUILD"


def own_build() -> str:
    """Return the build that the environment names, such as a commit; empty if it names none.

    Raises
    ------
    ConfigurationError
        It is too long, or has characters that are not seen.
    """
    build = os.environ.get(BUILD_ENV, "").strip()
    if len(build) > BUILD_CHARS_MAX or not build.isprintable():
        raise ConfigurationError(
            f"{BUILD_ENV}={build[:40]!r}: use at most {BUILD_CHARS_MAX} characters that are seen, "
            "such as a commit or the tag of an image"
        )
    return build

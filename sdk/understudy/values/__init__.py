"""Values: arguments, results and errors to bytes and back (docs: semantics, objects).

======================== ==========================================================
`codec`                  `Codec`, which everybody else uses
`lowering`, `lifting`    values to msgpack without loss, and back
`hints`, `plans`         what annotations say, and rebuilding the classes they name
`calls`                  the same for a function's parameters
`failures`               exceptions
======================== ==========================================================
"""

from understudy.values.calls import CallTypes
from understudy.values.codec import PAYLOAD_BYTES_MAX, Codec

__all__ = ["CallTypes", "Codec", "PAYLOAD_BYTES_MAX"]

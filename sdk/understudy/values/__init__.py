"""Values: arguments, results and errors to bytes and back (see docs/values.md).

=================== ===========================================================================
`codec`             `Codec`, the one entry for other packages
`encoding`          conversion of values into ones that msgpack holds without loss
`decoding`          msgpack's extension types back to Python values
`extension_types`   the numbers of those extension types, which are part of the wire format
`structure`         which builder an annotation asks for
`builders`          rebuilding dataclasses, enums, models and other classes
`hints`             annotations, evaluated at run time
`calls`             builders of a function's parameters
`errors`            exceptions to bytes and back
`pickles`           cloudpickle, imported on first use
`seals`             encryption of encoded values, each for its place
`class_kinds`       predicates on classes that several of these need
`paths`             the place of a fault inside a value, for messages
=================== ===========================================================================
"""

from understudy.values.calls import CallTypes
from understudy.values.codec import PAYLOAD_BYTES_MAX, Codec

__all__ = ["CallTypes", "Codec", "PAYLOAD_BYTES_MAX"]

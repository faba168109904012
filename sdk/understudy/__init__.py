"""Durable async RPC between actor processes.

``Runtime`` joins a group and calls functions by name; ``Context`` is what a durable function gets.

What is exported is imported when the first of it is asked for: so the command line, which lives
below this package, is there at once, and answers a Ctrl-C while the rest is still loaded.
"""

#: as in `typing`, which takes milliseconds to import
TYPE_CHECKING = False

if TYPE_CHECKING:
    from understudy._public import *  # noqa: F403
else:

    def __getattr__(name):
        # what else Python looks for in a module is not worth loading everything
        if name in __all__ or not name.startswith("__"):
            from importlib import import_module

            public = import_module("understudy._public")
            globals().update({name: getattr(public, name) for name in public.__all__})
            # one of those, or one of the modules that came with them
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [  # noqa: F405
    "BrokerUnavailableError",
    "CanceledError",
    "CommandError",
    "ConfigurationError",
    "Constant",
    "Context",
    "DeadlineExceededError",
    "DecodingError",
    "EncodingError",
    "Exponential",
    "Handle",
    "Info",
    "Linear",
    "NameInUseError",
    "Never",
    "NonDeterminismError",
    "NonRetryableError",
    "PayloadTooLargeError",
    "Promise",
    "RemoteError",
    "Retry",
    "Runtime",
    "UnderstudyError",
    "UnknownFunctionError",
    "__version__",
    "poll",
]

"""The version, where everything that names it finds it."""

__version__ = "0.1.0"

"""Engines: where the promises are kept. One implementation per file beside `base`."""

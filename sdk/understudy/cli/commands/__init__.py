"""The commands of the command line, one module each.

Each module has a Typer app named `app`. Its functions import what they need when they run, so that
``--help`` is quick and a broker or a node does not load the others' dependencies.
"""

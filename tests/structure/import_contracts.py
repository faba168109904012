"""A contract that import-linter does not have; see pyproject.toml."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class PackageCircleContract(Contract):
    """No module imports a package that contains it and that imports it in turn."""

    type_name = "package_circle"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the imports that break this contract."""
        found = sorted(
            (module, imported)
            for module in graph.modules
            for imported in graph.find_modules_directly_imported_by(module)
            if module.startswith(f"{imported}.") and graph.chain_exists(imported, module)
        )
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the imports that break this contract."""
        for module, imported in check.metadata["found"]:
            output.print_error(f"{module} -> {imported}")

"""A contract that import-linter does not have; see pyproject.toml."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output
from importlinter.application import contract_utils
from importlinter.application.contract_utils import AlertLevel
from importlinter.domain import fields


class PackageCircleContract(Contract):
    """No module imports a package that contains it and that imports it in turn."""

    type_name = "package_circle"

    ignore_imports = fields.SetField(subfield=fields.ImportExpressionField(), required=False)
    unmatched_ignore_imports_alerting = fields.EnumField(AlertLevel, default=AlertLevel.ERROR)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the imports that break this contract."""
        contract_utils.remove_ignored_imports_and_report(
            graph=graph,
            ignore_imports=self.ignore_imports,  # type: ignore[arg-type]  # the field's value
            unmatched_alerting=self.unmatched_ignore_imports_alerting,  # type: ignore[arg-type]  # same
        )
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

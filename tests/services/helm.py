"""Helm, and what checks its output by Kubernetes's own schemas."""

from __future__ import annotations

from pathlib import Path

from tests.services.go import built
from tests.services.packages import python_with

#: the version of Kubernetes by whose schemas is checked
KUBERNETES = "1.34"


def helm() -> str:
    """Return the path of the program; raises as `go.built`."""
    return built("helm", "helm.sh/helm/v3/cmd/helm@v3.19.5")


def kubernetes_validate() -> list[str]:
    """Return a command that checks the objects in a file strictly, by their schemas.

    Raises
    ------
    UnavailableError
    """
    python = python_with("kubernetes-validate-1.37.0", "kubernetes-validate==1.37.0")
    return [
        str(Path(python)),
        *("-m", "kubernetes_validate", "--strict", "--kubernetes-version", KUBERNETES),
    ]

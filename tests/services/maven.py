"""Programs of Java, whose jars Maven fetches into the cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.services.cache import UnavailableError, fetched

#: seconds that Maven may take
_PATIENCE_S = 400
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_PROJECT: Final = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>jars</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
      <scope>runtime</scope>
    </dependency>
  </dependencies>
</project>
"""


def java() -> str:
    """Return Java's program; raises `UnavailableError`."""
    found = shutil.which("java")
    if found is None:
        raise UnavailableError("no Java: install a runtime, such as Debian's default-jre-headless")
    return found


def jars(group: str, artifact: str, version: str) -> Path:
    """Return a folder with an artifact and all that it needs.

    Raises
    ------
    UnavailableError
    """

    def fetch(folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise UnavailableError(f"{artifact} is to be fetched by Maven, which is not installed")
        project = folder / "pom.xml"
        project.write_text(_PROJECT.format(group=group, artifact=artifact, version=version))
        done = subprocess.run(
            [maven, "-q", "-B", "-f", project, _PLUGIN, f"-DoutputDirectory={folder}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise UnavailableError(f"Maven cannot fetch {artifact}: {done.stdout[-2000:]}")

    return fetched(f"{artifact}-{version}", fetch)

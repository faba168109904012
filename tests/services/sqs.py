"""ElasticMQ, a server that speaks the protocol of SQS, from Maven's jars; its messages are kept."""

from __future__ import annotations

from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.services.maven import jars, java
from tests.services.server import Server
from tests.support import eventually

_VERSION: Final = "1.6.14"
_JAVA: Final = ("-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
REGION: Final = "elasticmq"
#: The server checks no keys, but the library wants some.
KEYS: Final = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_SETTINGS: Final = """
include classpath("application.conf")
generate-node-address = false
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1" }}
rest-stats {{ enabled = false }}
queues-storage {{ enabled = true, path = "{folder}/queues.conf" }}
messages-storage {{
  enabled = true
  driver-class = "org.h2.Driver"
  uri = "jdbc:h2:{folder}/messages"
  username = ""
  password = ""
  prune-data-on-init = false
}}
"""


class SqsServer(Server):
    """An ElasticMQ server."""

    def __init__(self) -> None:
        self._java = java()
        self._jars = jars("org.elasticmq", "elasticmq-server_2.13", _VERSION)
        super().__init__("sqs")
        self._file = self.folder / "elasticmq.conf"
        self._file.write_text(_SETTINGS.format(port=self.port, folder=self.folder))

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """Return a client of the library."""
        return boto3.client(
            "sqs",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=40),
        )

    def start(self) -> None:
        """Start the server, and return when it answers."""
        self.run(
            [
                *(self._java, *_JAVA, f"-Dconfig.file={self._file}"),
                *("-cp", f"{self._jars}/*", "org.elasticmq.server.Main"),
            ]
        )
        self.wait_until_it_listens()
        eventually(self._answers, 60.0)

    def _answers(self) -> bool:
        try:
            self.client().list_queues()
        except (BotoCoreError, ClientError):
            return False
        return True

"""``understudy connector``: put tasks into the queues of a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from understudy.cli.log_options import LogFormat, LogLevel, follow
from understudy.cli.options import Url

#: the environment variable for the server, which may hold a password
SERVER_VARIABLE: Final = "UNDERSTUDY_CONNECTOR_SERVER"

_AGAIN_MS_MIN: Final = 1_000

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def connector(
    server: Annotated[
        str | None,
        typer.Argument(
            metavar="[SERVER]",
            show_default=False,
            help="The server: amqp://, amqps://, nats://, redis:// or rediss://. With a user and a "
            "password, give it in a file or in the environment instead. "
            f"[default: {SERVER_VARIABLE}]",
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="The queues that may be put into: a name, or a pattern with * and ?. May be "
            "repeated. Required.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Another name under which targets name the server. May be repeated.",
        ),
    ] = None,
    server_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the URL of the server, for a secret."),
    ] = None,
    again: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="A task whose message is in a queue and that nobody has taken is put there again "
            "after this time, and then after twice as long each time.",
        ),
    ] = "10m",
    edge_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The address of an edge, for receivers that are no runtimes of understudy.",
        ),
    ] = "",
    url: Url = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> int:
    """Run a connector: it puts calls whose targets are queues into these queues.

    A call with the target amqp://mq.internal/orders waits until a connector for mq.internal puts a
    small message into the queue "orders", which names the call. A Runtime with that queue as its
    task_source takes the message, and performs the call. Anyone who may call can name a target, so
    a connector delivers to its own server only, and there only to the queues of --queue.

    \b
    Targets:
      amqp://HOST[:PORT]/QUEUE     RabbitMQ; amqp://HOST/VHOST/QUEUE in another virtual host than /
      nats://HOST[:PORT]/SUBJECT   NATS JetStream: the stream that has the subject
      redis://HOST[:PORT]/STREAM   Redis; redis://HOST/2/STREAM in another database than 0

    HOST is that of SERVER, or another --name. Queues that do not exist are made. A connector is for
    one virtual host or database, the one of SERVER; run one for each. It keeps nothing, so any
    number of them may run, and any of them may be killed. Without the server, or without a broker,
    it waits. Needs the extra [rabbitmq], [nats] or [redis].

    The first SIGTERM, SIGINT or SIGHUP lets what is under way finish for 5 s; the second SIGTERM or
    SIGINT stops it at once.

    \b
    Examples:
      understudy connector amqp://127.0.0.1 --queue 'service-*'
      UNDERSTUDY_CONNECTOR_SERVER=amqp://me:secret@mq.internal understudy connector --queue orders
      understudy connector --server-file mq.url --name mq.internal --queue '*'

    \b
    Exit codes:
      0  stopped in order
      1  a broker has refused it
      2  wrong usage
    """
    from understudy.cli.errors import UsageError
    from understudy.cli.times import parse_seconds
    from understudy.client.address import broker_address

    follow(log_format, log_level)
    if server is not None and server_file is not None:
        raise UsageError("give the server or --server-file, not both")
    if not queue:
        raise UsageError(
            "--queue is missing: name the queues that may be put into, as in --queue 'service-*', "
            "or --queue '*' for all of the server"
        )
    text = server or _read(server_file) or os.environ.get(SERVER_VARIABLE, "")
    if not text:
        raise UsageError(f"no server is given: name it, or set {SERVER_VARIABLE}")
    again_ms = int((parse_seconds(again, "--again") or 0) * 1000)
    if again_ms < _AGAIN_MS_MIN:
        raise UsageError(f"--again {again}: at least a second")
    return _run(text, tuple(queue), tuple(name or ()), again_ms, edge_url, broker_address(url))


def _read(file: Path | None) -> str | None:
    from understudy.cli.errors import UsageError

    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"--server-file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--server-file {file} is no text") from None


def _run(
    text: str, queues: tuple[str, ...], names: tuple[str, ...], again_ms: int, edge_url: str,
    url: str,
) -> int:  # fmt: skip
    from understudy import extras, logs
    from understudy.cli.errors import CliError
    from understudy.queues.addresses import EXTRAS, LIBRARIES, parse_server
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output

    server = parse_server(text, names)
    extra = EXTRAS[server.scheme]
    if missing := extras.missing(LIBRARIES[extra]):
        raise CliError(extras.advice(f"a connector for {server.scheme}://", missing, extra))
    from understudy.connectors.process import ConnectorSettings, make_server, run_connector

    protect_output()
    logs.configure()
    settings = ConnectorSettings(
        server=server, queues=queues, url=url, edge_url=edge_url, again_ms=again_ms
    )
    queues_of = make_server(server)
    return run_connector(settings, queues_of, lambda stop: watch_lifeline(stop, on_stop=stop))

"""``understudy source``: feed calls from a queue."""

from __future__ import annotations

import logging
import platform
import secrets
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from understudy.cli.options import Url
from understudy.options import PRIORITY_MAX

if TYPE_CHECKING:
    from understudy.queues.port import Source
    from understudy.sources.process import SourceSettings

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

#: the environment variable for the server, which may hold a password
SERVER_VARIABLE: Final = "UNDERSTUDY_SOURCE_SERVER"

#: servers on this machine, as they are installed
RABBITMQ_SERVER: Final = "amqp://guest:guest@127.0.0.1:5672/%2F"
KAFKA_SERVER: Final = "127.0.0.1:9092"
NATS_SERVER: Final = "nats://127.0.0.1:4222"
REDIS_SERVER: Final = "redis://127.0.0.1:6379/0"
#: the consumer group of all sources, unless the user names another one
GROUP: Final = "understudy"

Call = Annotated[
    str, typer.Option(metavar="GROUP/FUNCTION", help="The function that each message calls.")
]
Group = Annotated[
    str,
    typer.Option(metavar="NAME", help="The consumer group, whose members share the messages."),
]
Version = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="The function's version. [default: the highest]"),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="The deadline of each call, from the moment its message is taken: 90 (seconds), "
        "10m, 2h. [default: 30d]",
    ),
]
Priority = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=-PRIORITY_MAX,
        max=PRIORITY_MAX,
        help="Queued calls of a higher priority start first. [default: 0]",
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=TEXT", help="A tag of each call. May be repeated."),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME",
        help="A header of the message that becomes a tag of its call. May be repeated.",
    ),
]
InFlight = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        max=16_384,
        help="The most messages that are taken and not acknowledged.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the progress as lines of JSON, for programs.")
]


@app.callback()
def source() -> None:
    """Feed calls from a queue: each message becomes a call.

    The body of a message is JSON: an array has the positional arguments, an object the arguments by
    name. The id of the call is made of the message's position, so a message that the queue delivers
    again is the same call. A message is acknowledged once its call is stored.

    A message that becomes no call (no JSON, too large, an id that is none) does not stop the
    others: a promise is created and rejected under its id, with what is wrong, and the message is
    acknowledged. To list those: understudy promises search --state rejected --tag source=KIND:NAME

    Any number of sources may run for one queue. SIGTERM, SIGINT or SIGHUP ends one in order: what
    is stored is acknowledged, and nothing else. Without a broker, or without the queue, it waits.

    \b
    Examples:
      understudy source rabbitmq --queue orders --call shop/checkout
      understudy source redis --stream orders --call shop/checkout --header tenant
    """


@app.command()
def rabbitmq(
    queue: Annotated[
        str, typer.Option("--queue", "--topic", metavar="NAME", help="The queue. It must exist.")
    ],
    call: Call,
    server: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar=SERVER_VARIABLE,
            show_default=False,
            show_envvar=False,
            help=f"The server. [default: {SERVER_VARIABLE}, else {RABBITMQ_SERVER}]",
        ),
    ] = RABBITMQ_SERVER,
    id: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="The ids. [default: {message_id}]")
    ] = None,
    header: Headers = None,
    timeout: Timeout = None,
    version: Version = None,
    priority: Priority = None,
    tag: Tags = None,
    in_flight: InFlight = 2048,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Feed calls from a queue of RabbitMQ. Needs the extra [rabbitmq].

    RabbitMQ gives messages no position, so the id is the message id that the sender has set. A
    message without one is rejected as poison, unless --id has a field that every message has.

    \b
    Fields of --id:
      {message_id}          the message id that the sender has set
      {message_id_or_hash}  the same, and a hash of the content of messages without one
      {hash}                a hash of the content: equal messages are one call
      {routing_key}, {topic}  the routing key, and the name of the queue

    \b
    Examples:
      understudy source rabbitmq --queue orders --call shop/checkout
      understudy source rabbitmq --queue mail --call mail/send --id 'mail-{message_id_or_hash}'

    \b
    Exit codes:
      0  stopped in order
      1  a broker has refused the source
      2  wrong usage
    """

    def make(module: Any) -> Source:
        made: Source = module.RabbitQueue(server, queue, in_flight)
        return made

    given = _Given(
        queue, call, id, header, timeout, version, priority, tag, in_flight, as_json, url
    )
    return _run("rabbitmq", make, given)


@app.command()
def redis(
    stream: Annotated[
        str,
        typer.Option(
            "--stream", "--topic", metavar="KEY", help="The stream. Made if it does not exist."
        ),
    ],
    call: Call,
    server: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar=SERVER_VARIABLE,
            show_default=False,
            show_envvar=False,
            help=f"The server. [default: {SERVER_VARIABLE}, else {REDIS_SERVER}]",
        ),
    ] = REDIS_SERVER,
    group: Group = GROUP,
    consumer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The name in the group, unique among its consumers. [default: a new one]",
        ),
    ] = None,
    field: Annotated[
        str, typer.Option(metavar="NAME", help="The field that holds the body.")
    ] = "body",
    claim: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Take over entries that a consumer has not touched for so long."
        ),
    ] = "60s",
    id: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="The ids. [default: {topic}-{entry}]"),
    ] = None,
    header: Headers = None,
    timeout: Timeout = None,
    version: Version = None,
    priority: Priority = None,
    tag: Tags = None,
    in_flight: InFlight = 2048,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Feed calls from a stream of Redis. Needs the extra [redis].

    The entries are read by a consumer group, so several sources share them. Entries of a source
    that died are taken over by another one after --claim. The body is one field of the entry; the
    other fields are headers.

    \b
    Fields of --id:
      {entry}  the id of the entry
      {hash}   a hash of the body: equal messages are one call
      {topic}  the key of the stream

    \b
    Examples:
      understudy source redis --stream orders --call shop/checkout
      understudy source redis --stream orders --call shop/checkout --field json --header tenant

    \b
    Exit codes:
      0  stopped in order
      1  a broker has refused the source
      2  wrong usage
    """
    from understudy.cli.times import parse_seconds

    claim_s = parse_seconds(claim, "--claim") or 60.0

    def make(module: Any) -> Source:
        made: Source = module.RedisStream(
            server, stream, group, consumer or _fresh_name(), field=field, claim_s=claim_s
        )
        return made

    given = _Given(
        stream, call, id, header, timeout, version, priority, tag, in_flight, as_json, url
    )
    return _run("redis", make, given)


@app.command()
def nats(
    stream: Annotated[
        str,
        typer.Option("--stream", "--topic", metavar="NAME", help="The stream. It must exist."),
    ],
    call: Call,
    server: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar=SERVER_VARIABLE,
            show_default=False,
            show_envvar=False,
            help="The server, or several with commas between them. "
            f"[default: {SERVER_VARIABLE}, else {NATS_SERVER}]",
        ),
    ] = NATS_SERVER,
    group: Group = GROUP,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="SUBJECT",
            help="Only messages of this subject, if the consumer is made now. [default: all]",
        ),
    ] = None,
    ack_wait: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Messages of a dead source are delivered again after this time, if the consumer "
            "is made now.",
        ),
    ] = "30s",
    id: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="The ids. [default: {topic}-{sequence}]"),
    ] = None,
    header: Headers = None,
    timeout: Timeout = None,
    version: Version = None,
    priority: Priority = None,
    tag: Tags = None,
    in_flight: InFlight = 2048,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Feed calls from a stream of NATS JetStream. Needs the extra [nats].

    The messages are read by a durable pull consumer, named by --group, which several sources share.
    It is made if it does not exist, and begins with the oldest message of the stream.

    \b
    Fields of --id:
      {sequence}    the number of the message in its stream
      {message_id}  the header Nats-Msg-Id, if the sender has set it
      {hash}        a hash of the content: equal messages are one call
      {subject}, {topic}  the subject of the message, and the name of the stream

    \b
    Examples:
      understudy source nats --stream orders --call shop/checkout
      understudy source nats --stream orders --subject 'orders.eu.>' --group eu --call shop/checkout

    \b
    Exit codes:
      0  stopped in order
      1  a broker has refused the source
      2  wrong usage
    """
    from understudy.cli.times import parse_seconds

    ack_wait_s = parse_seconds(ack_wait, "--ack-wait") or 30.0

    def make(module: Any) -> Source:
        made: Source = module.NatsStream(
            server, stream, group, subject=subject, ack_wait_s=ack_wait_s
        )
        return made

    given = _Given(
        stream, call, id, header, timeout, version, priority, tag, in_flight, as_json, url
    )
    return _run("nats", make, given)


@app.command()
def kafka(
    topic: Annotated[str, typer.Option(metavar="NAME", help="The topic. It must exist.")],
    call: Call,
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            envvar=SERVER_VARIABLE,
            show_default=False,
            show_envvar=False,
            help="A server, or several with commas between them. "
            f"[default: {SERVER_VARIABLE}, else {KAFKA_SERVER}]",
        ),
    ] = KAFKA_SERVER,
    group: Group = GROUP,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            help="A setting of the library, as librdkafka names them: security.protocol=SSL. May "
            "be repeated.",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with such settings, one a line, for those that are secret.",
        ),
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="The ids. [default: {topic}-{partition}-{offset}]"),
    ] = None,
    header: Headers = None,
    timeout: Timeout = None,
    version: Version = None,
    priority: Priority = None,
    tag: Tags = None,
    in_flight: InFlight = 2048,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Feed calls from a topic of Kafka. Needs the extra [kafka].

    The sources of a topic are members of one consumer group and share its partitions. Offsets are
    committed once the calls are stored. A new group begins with the oldest message, unless
    --setting auto.offset.reset=latest.

    \b
    Fields of --id:
      {partition}, {offset}  the position of the message
      {key}                  the key of the message, if it is text
      {hash}                 a hash of the content: equal messages are one call
      {topic}                the name of the topic

    \b
    Examples:
      understudy source kafka --topic orders --call shop/checkout
      understudy source kafka --topic orders --call shop/checkout --settings kafka.properties

    \b
    Exit codes:
      0  stopped in order
      1  a broker has refused the source
      2  wrong usage
    """
    from understudy.cli.options import parse_pairs

    lines = [] if settings is None else settings.read_text(encoding="utf-8").splitlines()
    kept = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    pairs = {**parse_pairs(kept, "--settings"), **parse_pairs(setting, "--setting")}

    def make(module: Any) -> Source:
        made: Source = module.KafkaTopic(server, topic, group, pairs)
        return made

    given = _Given(
        topic, call, id, header, timeout, version, priority, tag, in_flight, as_json, url
    )
    return _run("kafka", make, given)


@app.command()
def sqs(
    queue: Annotated[
        str, typer.Option("--queue", "--topic", metavar="NAME", help="The queue. It must exist.")
    ],
    call: Call,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar=SERVER_VARIABLE,
            show_default=False,
            show_envvar=False,
            help=f"The server. [default: {SERVER_VARIABLE}, else that of the region]",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The region. [default: AWS_DEFAULT_REGION]"),
    ] = None,
    visibility: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Messages of a dead source are delivered again after this time. "
            "[default: as the queue has it]",
        ),
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="The ids. [default: {topic}-{message_id}; of a FIFO queue {topic}-{dedup_id}]",
        ),
    ] = None,
    header: Headers = None,
    timeout: Timeout = None,
    version: Version = None,
    priority: Priority = None,
    tag: Tags = None,
    in_flight: InFlight = 2048,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Feed calls from a queue of Amazon SQS, or a server like it. Needs the extra [sqs].

    Keys and region come from where boto3 finds them: AWS_ACCESS_KEY_ID, ~/.aws, the machine's role.
    Message attributes that are text are headers.

    \b
    Fields of --id:
      {message_id}  the id that SQS has given the message
      {dedup_id}    the deduplication id (FIFO queues)
      {group_id}    the message group (FIFO queues)
      {hash}        a hash of the content: equal messages are one call
      {topic}       the name of the queue

    \b
    Examples:
      understudy source sqs --queue orders --region eu-central-1 --call shop/checkout
      understudy source sqs --queue orders.fifo --call shop/checkout --id 'order-{dedup_id}'

    \b
    Exit codes:
      0  stopped in order
      1  a broker has refused the source
      2  wrong usage
    """
    from understudy.cli.times import parse_seconds

    visibility_s = parse_seconds(visibility, "--visibility")

    def make(module: Any) -> Source:
        made: Source = module.SqsQueue(
            server,
            queue,
            region=region,
            visibility_s=None if visibility_s is None else max(1, round(visibility_s)),
        )
        return made

    given = _Given(
        queue, call, id, header, timeout, version, priority, tag, in_flight, as_json, url
    )
    return _run("sqs", make, given)


def _fresh_name() -> str:
    """Make up a name that no other process has."""
    return f"{platform.node()}-{secrets.token_hex(4)}"


#: by queue: the module that its library installs
_LIBRARIES: Final = {
    "kafka": "confluent_kafka",
    "nats": "nats",
    "rabbitmq": "pika",
    "redis": "redis",
    "sqs": "boto3",
}


class _Given(NamedTuple):
    """The options that the commands of all queues have; see their help."""

    name: str
    call: str
    id: str | None
    header: list[str] | None
    timeout: str | None
    version: int | None
    priority: int | None
    tag: list[str] | None
    in_flight: int
    as_json: bool
    url: str | None


def _run(kind: str, make: Callable[[Any], Source], given: _Given) -> int:
    """Run a source.

    Parameters
    ----------
    make
        Makes the queue with its module.
    """
    from understudy import extras
    from understudy.cli.errors import CliError
    from understudy.sources.process import run_source
    from understudy_actors.processes.lifeline import watch_lifeline
    from understudy_broker.output import protect_output

    try:
        module = import_module(f"understudy.queues.{kind}")
    except ModuleNotFoundError as error:
        if error.name != _LIBRARIES[kind]:
            raise
        raise CliError(extras.advice(f"source {kind}", _LIBRARIES[kind], kind)) from None
    protect_output()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = _settings(given)
    return run_source(make(module), settings, lambda stop: watch_lifeline(stop, on_stop=stop))


def _settings(given: _Given) -> SourceSettings:
    """Check the options, and return the settings that they give."""
    from understudy.cli.options import parse_pairs
    from understudy.cli.times import parse_seconds
    from understudy.options import Options
    from understudy.sources.process import SourceSettings

    options = Options().merge(
        timeout=parse_seconds(given.timeout, "--timeout"),
        version=given.version,
        priority=given.priority,
        tags=parse_pairs(given.tag, "--tag"),
    )
    return SourceSettings(
        call=given.call,
        name=given.name,
        id=given.id,
        url=given.url,
        options=options,
        headers=given.header or (),
        in_flight=given.in_flight,
        as_json=given.as_json,
    )

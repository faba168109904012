"""``understudy source``: feed calls from a queue."""

from __future__ import annotations

import inspect
import platform
import secrets
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_type_hints

import typer

from understudy.cli.log_options import LogFormat, LogLevel, follow
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

Group = Annotated[
    str,
    typer.Option(metavar="NAME", help="The consumer group, whose members share the messages."),
]


class _Options(NamedTuple):
    """The options that the commands of all queues have, after the name of the queue."""

    call: Annotated[
        str, typer.Option(metavar="GROUP/FUNCTION", help="The function that each message calls.")
    ]
    id: Annotated[str | None, typer.Option(metavar="TEMPLATE")] = None
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="NAME",
            help="A header of the message that becomes a tag of its call. May be repeated.",
        ),
    ] = None
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The deadline of each call, from the moment its message is taken: 90 (seconds), "
            "10m, 2h. [default: 30d]",
        ),
    ] = None
    version: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="The function's version. [default: the highest]"),
    ] = None
    priority: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=-PRIORITY_MAX,
            max=PRIORITY_MAX,
            help="Queued calls of a higher priority start first. [default: 0]",
        ),
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=TEXT", help="A tag of each call. May be repeated."),
    ] = None
    in_flight: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=16_384,
            help="The most messages that are taken and not acknowledged.",
        ),
    ] = 2048
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the progress as lines of JSON, for programs.")
    ] = False
    url: Url = None
    log_format: LogFormat = None
    log_level: LogLevel = None


class _Queue(NamedTuple):
    """A queue: its name, and what makes it of the module of its kind and the option in_flight."""

    name: str
    make: Callable[[Any, int], Source]


def _command(default_id: str) -> Callable[[Callable[..., _Queue]], None]:
    """Make a command of a function that has the options of one kind of queue.

    The command has those of all kinds, too, and is named as the function.

    Parameters
    ----------
    default_id
        The template of ids that the help names.
    """

    def register(find: Callable[..., _Queue]) -> None:
        first, *own = inspect.signature(find, eval_str=True).parameters.values()
        option = typer.Option(metavar="TEMPLATE", help=f"The ids. [default: {default_id}]")
        hints = get_type_hints(_Options, include_extras=True)
        hints["id"] = Annotated[str | None, option]
        call, *others = (
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=hint,
                default=_Options._field_defaults.get(name, inspect.Parameter.empty),
            )
            for name, hint in hints.items()
        )
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in (first, call, *own, *others)
        ]

        def command(**given: Any) -> int:
            queue = find(**{each.name: given.pop(each.name) for each in (first, *own)})
            return _run(find.__name__, queue, _Options(**given))

        command.__doc__ = find.__doc__
        # Typer reads both.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(find.__name__)(command)

    return register


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


@_command("{message_id}")
def rabbitmq(
    queue: Annotated[
        str, typer.Option("--queue", "--topic", metavar="NAME", help="The queue. It must exist.")
    ],
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
) -> _Queue:
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

    def make(module: Any, in_flight: int) -> Source:
        made: Source = module.RabbitQueue(server, queue, in_flight)
        return made

    return _Queue(queue, make)


@_command("{topic}-{entry}")
def redis(
    stream: Annotated[
        str,
        typer.Option(
            "--stream", "--topic", metavar="KEY", help="The stream. Made if it does not exist."
        ),
    ],
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
) -> _Queue:
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

    def make(module: Any, _: int) -> Source:
        made: Source = module.RedisStream(
            server, stream, group, consumer or _fresh_name(), field=field, claim_s=claim_s
        )
        return made

    return _Queue(stream, make)


@_command("{topic}-{sequence}")
def nats(
    stream: Annotated[
        str,
        typer.Option("--stream", "--topic", metavar="NAME", help="The stream. It must exist."),
    ],
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
) -> _Queue:
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

    def make(module: Any, _: int) -> Source:
        made: Source = module.NatsStream(
            server, stream, group, subject=subject, ack_wait_s=ack_wait_s
        )
        return made

    return _Queue(stream, make)


@_command("{topic}-{partition}-{offset}")
def kafka(
    topic: Annotated[str, typer.Option(metavar="NAME", help="The topic. It must exist.")],
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
) -> _Queue:
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

    def make(module: Any, _: int) -> Source:
        made: Source = module.KafkaTopic(server, topic, group, pairs)
        return made

    return _Queue(topic, make)


@_command("{topic}-{message_id}; of a FIFO queue {topic}-{dedup_id}")
def sqs(
    queue: Annotated[
        str, typer.Option("--queue", "--topic", metavar="NAME", help="The queue. It must exist.")
    ],
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
) -> _Queue:
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

    def make(module: Any, _: int) -> Source:
        made: Source = module.SqsQueue(
            server,
            queue,
            region=region,
            visibility_s=None if visibility_s is None else max(1, round(visibility_s)),
        )
        return made

    return _Queue(queue, make)


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


def _run(kind: str, queue: _Queue, given: _Options) -> int:
    """Run a source."""
    from understudy import extras, logs
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
    follow(given.log_format, given.log_level)
    logs.configure()
    settings = _settings(queue.name, given)
    return run_source(
        queue.make(module, given.in_flight),
        settings,
        lambda stop: watch_lifeline(stop, on_stop=stop),
    )


def _settings(name: str, given: _Options) -> SourceSettings:
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
        name=name,
        id=given.id,
        url=given.url,
        options=options,
        headers=given.header or (),
        in_flight=given.in_flight,
        as_json=given.as_json,
    )

"""Faults of what users touch: handles, what waits behind them, retry policies, values, errors."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk").mutant
_ROUND_TRIP: Final = "values/test_round_trip.py::TestRoundTrip"
_ERROR_VALUES: Final = "values/test_errors.py"
_ERROR_ATTRIBUTES: Final = "values/test_error_attributes.py"
_CLASSES: Final = "values/test_classes.py"
_FIELDS: Final = "values/test_fields.py"
_RETRY: Final = "test_retry.py"
_PUBLIC_ERRORS: Final = "test_public_errors.py"
_LOCAL: Final = "tests/integration/sdk/test_runtime_local.py"
_CALLABLES_TESTS: Final = "tests/integration/sdk/test_callables.py"
_HANDLES: Final = "client/test_handles.py"
_NOTICES: Final = "test_wait_notices.py"
_SUBMISSIONS: Final = "client/test_submissions.py"

_WAITING: Final = (
    _mutant(
        "wait-without-timeout",
        None,
        "result(timeout=) waits no longer than that",
        "understudy.handle.Handle.result",
        swap("(timeout_s)", "(timeout_s and timeout_s * 10)"),
        _HANDLES,
    ),
    _mutant(
        "await-without-looks",
        None,
        "await handle tells why it takes long, as result() does",
        "understudy.handle.Handle._wait",
        swap("self._looks()", "None"),
        _HANDLES,
    ),
    _mutant(
        "timer-of-one-look",
        None,
        "a wait on asyncio looks again and again",
        "understudy.handle._Timer._next",
        swap("call_later(next(self._looks), self._next)", "call_later(next(self._looks), repr, 0)"),
        _HANDLES,
    ),
    _mutant(
        "parked-unheard",
        None,
        "who waits for a call is told that it is parked",
        "understudy.wait_notices.WaitNotices._on_task",
        drop('self._tell(promise, f"halted {task.version}", f" {halt_text(task)}")'),
        _NOTICES,
    ),
    _mutant(
        "waits-for-nobody-unheard",
        None,
        "who waits for a call is told that no node can perform it",
        "understudy.wait_notices.WaitNotices._on_groups",
        swap("why is not None", "why is None"),
        _NOTICES,
    ),
    _mutant(
        "looks-without-bound",
        None,
        "those who wait ask for a bounded number of things at a time",
        "understudy.wait_notices.WaitNotices._ask",
        swap("len(self._unanswered) < UNANSWERED_MAX", "True"),
        _NOTICES,
    ),
    _mutant(
        "functions-own-timeout-hidden",
        None,
        "a TimeoutError that the function raised is its own",
        "understudy.handle.Handle.result",
        swap("timeout_s is None or self._future.done()", "timeout_s is None"),
        _HANDLES,
    ),
    _mutant(
        "refusal-taken-for-success",
        None,
        "a peer that is refused is told",
        "understudy.handle.refusal",
        swap("CommandError(answer.status, answer.error)", "None"),
        _HANDLES,
    ),
    _mutant(
        "cancelled-wait-cancels-the-call",
        None,
        "a canceled wait does not affect the call",
        "understudy.handle.wait_future",
        swap(
            "        await settled\nreturn",
            "        try:\n            await settled\n"
            "        finally:\n            future.cancel()\nreturn",
        ),
        _HANDLES,
    ),
    _mutant(
        "second-waiter-forgotten",
        None,
        "every waiter for a promise gets its result",
        "understudy.client.requests.PendingRequests.resolve",
        swap("watches.pop(record.id, ())", "watches.pop(record.id, [])[:1]"),
        _HANDLES,
    ),
    _mutant(
        "settled-before-the-watch",
        None,
        "a promise that settled before it was watched gives its result, too",
        "understudy.client.requests.PendingRequests._send_watch.on_reply",
        drop("self.resolve(answer.reply.promises or ())"),
        _HANDLES,
    ),
    _mutant(
        "watched-once",
        None,
        "after a reconnect a process watches the promises that it waits for again",
        "understudy.client.peer.Peer.on_connected",
        drop("if reconnected:\n    self._requests.renew_watches()"),
        "tests/integration/sdk/test_runtime_processes.py::test_calls_outlive_the_broker",
    ),
    _mutant(
        "absent-one-of-many-watched",
        None,
        "an absent id does not end the waits for the others",
        "understudy.client.requests.PendingRequests._send_watch.on_reply",
        swap(
            "    for id in ids:\n        self._send_watch((id,))\nelif",
            "    self.watches.clear()\nelif",
        ),
        _HANDLES,
    ),
    _mutant(
        "another-functions-id",
        None,
        "an id under which another function was called is refused",
        "understudy.client.requests._collision",
        swap("name == other", "name or other"),
        _HANDLES,
    ),
    _mutant(
        "waits-on-what-has-ended",
        None,
        "no caller waits forever on a runtime that has stopped",
        "understudy.client.requests.PendingRequests.fail_all",
        swap(
            "    self.fail(list(futures), error)\nself.fail_unanswered",
            "    self.fail(list(futures)[:1], error)\nself.fail_unanswered",
        ),
        _HANDLES,
    ),
    _mutant(
        "submission-without-wake-up",
        None,
        "a submission after the queue was emptied wakes the loop again",
        "understudy.client.submissions.SubmissionQueue._run_all",
        drop("self._signaled = False"),
        _SUBMISSIONS,
    ),
    _mutant(
        "refused-submission-ends-the-others",
        None,
        "a request that the link refuses fails alone",
        "understudy.client.submissions.SubmissionQueue._run_all",
        swap("requests.fail(futures, error)", "queue.clear()"),
        _SUBMISSIONS,
    ),
)

_PUBLIC_API: Final = (
    _mutant(
        "argument-error-of-python",
        None,
        "every error of a public call is an UnderstudyError",
        "understudy.registry.Function.check_arguments",
        swap("raise InvalidArgumentsError(", "raise TypeError("),
        _PUBLIC_ERRORS,
    ),
    _mutant(
        "unknown-option-ignored",
        None,
        "an option that does not exist is refused",
        "understudy.options._unknown",
        swap(
            'raise InvalidArgumentsError(f"there is no option {option!r}; the options are '
            "{', '.join(_CHECKS)}\")",
            "return None",
        ),
        _PUBLIC_ERRORS,
    ),
    _mutant(
        "keyword-stolen-from-a-schedule",
        None,
        "keyword arguments of the user's function are not taken as options",
        "understudy.schedules.Schedules._promise_id_of",
        swap(
            "function is None or function.takes_keyword",
            "function is None or not function.takes_keyword",
        ),
        "test_keywords.py",
    ),
    _mutant(
        "times-without-a-zone",
        None,
        "public times are in UTC",
        "understudy.promises.utc",
        swap("epoch_ms / 1000, UTC", "epoch_ms / 1000"),
        "test_public_types.py",
    ),
    _mutant(
        "options-of-the-copy-are-the-runtimes-own",
        None,
        "options() leaves the runtime as it is",
        "understudy.runtime.Runtime.options",
        swap("copy.copy(self)", "self"),
        "test_public_types.py",
    ),
)

_CALLABLES: Final = (
    _mutant(
        "a-wrapper-is-taken-for-what-it-wraps",
        None,
        "what a callable itself is decides its kind",
        "understudy.registry._kind",
        swap("_kind_of_callable(fn)", "_kind_of_callable(_innermost(fn))"),
        "test_registry.py::TestFunction::test_kind",
    ),
    _mutant(
        "methods-are-never-found-again",
        None,
        "a bound method is the same each time that it is taken",
        "understudy.registry.key_of",
        swap("fn.__class__ is types.MethodType", "False"),
        f"{_CALLABLES_TESTS}::test_a_method_is_found_again",
    ),
    _mutant(
        "target-of-a-registration-ignored",
        None,
        "register(target=) is the default target",
        "understudy.client.calls.client_call",
        swap("(function and function.target) or env.target", "env.target"),
        f"{_CALLABLES_TESTS}::TestTargets::test_a_function_has_a_target",
    ),
    _mutant(
        "percent-in-an-id",
        None,
        "the id is no part of the user's format",
        "understudy.context.FunctionLog.log",
        swap('prefix.replace("%", "%%")', "prefix"),
        f"{_CALLABLES_TESTS}::test_the_log_takes_any_id",
    ),
)

_POLICIES: Final = (
    _mutant(
        "one-attempt-too-many",
        None,
        "max_attempts counts the first one too",
        "understudy.retry._Policy.delay_s",
        swap("attempt >= self.max_attempts", "attempt > self.max_attempts"),
        _RETRY,
    ),
    _mutant(
        "retries-what-must-not-be",
        None,
        "a NonRetryableError ends the call at once",
        "understudy.retry._Policy.delay_s",
        swap("_is_lasting(each) or _is_one_of", "_is_one_of"),
        _RETRY,
    ),
    _mutant(
        "groups-are-not-looked-into",
        None,
        "an error in a group counts as one alone",
        "understudy.retry._members",
        swap("yield from _members(inner)", "continue"),
        _RETRY,
    ),
    _mutant(
        "non-retryable-name-that-matches-nothing",
        None,
        "a name without a module is one of Python's own exceptions",
        "understudy.retry._dotted",
        swap('f"builtins.{kind}"', "kind"),
        _RETRY,
    ),
    _mutant(
        "retry-after-without-bound",
        None,
        "a Retry-After is honored up to a bound",
        "understudy.retry._Policy.delay_s",
        swap("min(asked_s, float(self.retry_after_max_s))", "asked_s"),
        _RETRY,
    ),
    _mutant(
        "pause-without-bound",
        None,
        "a pause is at most max_delay_s",
        "understudy.retry.Exponential._pause_s",
        swap(
            "min(self.initial_s * float(self.factor) ** (attempt - 1), self.max_delay_s)",
            "self.initial_s * float(self.factor) ** (attempt - 1)",
        ),
        _RETRY,
    ),
)

_VALUES: Final = (
    _mutant(
        "tuples-become-lists",
        None,
        "a value arrives with the type that it had",
        "understudy.values.decoding.Decoder._decode_extension",
        swap("tuple(inner)", "inner"),
        f"{_ROUND_TRIP}::test_corner_cases",
    ),
    _mutant(
        "folded-hour-unfolded",
        None,
        "a time in the hour that comes twice keeps which of the two it is",
        "understudy.values.decoding._with_zone",
        swap("int(fold)", "0"),
        f"{_ROUND_TRIP}::test_corner_cases",
    ),
    _mutant(
        "large-int-unsigned",
        None,
        "large numbers keep their sign",
        "understudy.values.decoding._SCALARS",
        swap(
            'int.from_bytes(data, "big", signed=True)',
            'int.from_bytes(data, "big", signed=False)',
        ),
        f"{_ROUND_TRIP}::test_corner_cases",
    ),
    _mutant(
        "unpickles-for-anyone",
        None,
        "pickled data is refused unless it was allowed",
        "understudy.values.codec.Codec.__init__",
        swap(
            "Decoder(read_pickle, self.decode_error, tagged=False)",
            "Decoder(unpickle, self.decode_error, tagged=False)",
        ),
        "values/test_pickles.py::TestPickle::test_pickled_data_is_refused_unless_allowed",
    ),
    _mutant(
        "cycle-not-noticed",
        None,
        "a value that contains itself is refused",
        "understudy.values.encoding.Converter.convert",
        swap("self.depth == DEPTH_MAX", "self.depth == -1"),
        "values/test_encoding.py::TestRefused::test_nesting_is_bounded",
    ),
    _mutant(
        "too-large-a-value",
        None,
        "a payload past its limit is refused where it is made",
        "understudy.values.codec.Codec.encode_value",
        swap("len(data) > self.payload_bytes_max", "len(data) > 2 * self.payload_bytes_max"),
        "values/test_encoding.py::TestRefused::test_the_size_is_bounded",
    ),
    _mutant(
        "missing-data-is-an-error",
        None,
        "a timer's value is None",
        "understudy.values.codec.Codec.decode_value",
        swap("return None", 'return data or b""'),
        f"{_ROUND_TRIP}::test_no_data_is_none",
    ),
    _mutant(
        "errors-wire-rewritten",
        None,
        "an error passes unchanged through a process that does not know its class",
        "understudy.values.error_encoding._ErrorEncoder.encode",
        drop("return _received(error, error.received)"),
        _ERROR_VALUES,
    ),
    _mutant(
        "notes-by-way-of-the-class",
        None,
        "encoding an error survives whatever the code of its class does",
        "understudy.values.error_encoding._notes",
        swap('error_dict(error).get("__notes__")', 'getattr(error, "__notes__", None)'),
        _ERROR_VALUES,
    ),
    _mutant(
        "error-past-the-limit",
        None,
        "every error fits into a payload",
        "understudy.values.error_encoding._ErrorEncoder.encode",
        swap("len(data) <= self.payload_bytes_max", "len(data) >= 0"),
        _ERROR_VALUES,
    ),
    _mutant(
        "stop-iteration-rebuilt",
        None,
        "an exception with a meaning for Python itself is not raised into a generator",
        "understudy.values.class_names.may_be_raised",
        swap("(kind, Exception) and not issubclass(kind, _NEVER_REBUILT)", "(kind, Exception)"),
        _ERROR_VALUES,
    ),
    _mutant(
        "error-constructed-anew",
        None,
        "an exception is rebuilt without its constructor, which nobody knows how to call",
        "understudy.values.error_decoding._made",
        swap("made = blank(kind)\n", "made = kind(*args)\n"),
        _ERROR_ATTRIBUTES,
    ),
    _mutant(
        "loss-not-noted",
        None,
        "an attribute that cannot travel is named in a note",
        "understudy.values.error_encoding._ErrorEncoder.encode",
        swap("if lost:", "if False:"),
        _ERROR_ATTRIBUTES,
    ),
    _mutant(
        "cause-forgotten",
        None,
        "an exception keeps its cause",
        "understudy.values.error_decoding._set_causes",
        drop("_CAUSE.__set__(made, cause)"),
        _ERROR_ATTRIBUTES,
    ),
    _mutant(
        "module-getattr-called",
        None,
        "data never makes a module run its code",
        "understudy.values.class_names.loaded_class",
        swap(
            "names.get(part) if isinstance(names, Mapping) else None", "getattr(found, part, None)"
        ),
        _ERROR_ATTRIBUTES,
    ),
    _mutant(
        "module-of-class-ignored",
        None,
        "two classes of one name are told apart by their modules",
        "understudy.values.class_names.fit_of",
        swap("module == kind.__module__", "True"),
        _CLASSES,
    ),
    _mutant(
        "class-becomes-dict",
        None,
        "an instance in a field that does not name its class is refused where it is sent",
        "understudy.values.encoding.Converter.convert_fields",
        swap("self.instances != instances\n", "False\n"),
        _FIELDS,
    ),
    _mutant(
        "pickled-member-by-value",
        None,
        "a member of an enum whose value is pickled is found by its name",
        "understudy.values.encoding._convert_enum",
        swap("converter.pickles != pickles", "False"),
        "values/test_pickles.py",
    ),
    _mutant(
        "protocol-takes-any-class",
        None,
        "an instance for which only a protocol is annotated is refused where it is sent",
        "understudy.values.structure._new_builder_of",
        swap('getattr(kind, "_is_protocol", False)', "False"),
        _FIELDS,
    ),
    _mutant(
        "arguments-unchecked",
        None,
        "a class that the parameter does not name is refused where it is sent",
        "understudy.values.codec.Codec._convert",
        drop("_check_rebuilt(encode(converted), builder)"),
        _CLASSES,
    ),
    _mutant(
        "raw-field-becomes-class",
        None,
        "a field that held raw data holds it on arrival too",
        "understudy.values.builders.ClassBuilder.inside_instance",
        swap("InstanceBuilder(self)", "self"),
        _FIELDS,
    ),
    _mutant(
        "type-parameters-unbound",
        None,
        "the fields of a generic class have the types of its parameters",
        "understudy.values.structure.field_hints",
        swap("generics.bindings_of(kind, arguments)", "generics.bindings_of(kind)"),
        _CLASSES,
    ),
    _mutant(
        "zone-replaced",
        None,
        "a time's zone is kept or refused, and never replaced by an offset",
        "understudy.values.zones.zone_text",
        swap("if text is None:", "if text is None and (text := '') is None:"),
        "values/test_zones.py",
    ),
    _mutant(
        "zone-of-pydantic-replaced",
        None,
        "a time that pydantic has read arrives with a zone of the same class",
        "understudy.values.zones._with_pydantic",
        swap("value.replace(tzinfo=TzInfo(round(offset.total_seconds())))", "value"),
        "values/test_zones.py",
    ),
)

_STATES: Final = (
    _mutant(
        "state-as-the-store-names-it",
        None,
        "Python names the states of promises as tables do",
        "understudy.promises._stored_promise",
        swap("PROMISE_WORDS[record.state]", "record.state"),
        "test_public_types.py",
    ),
    _mutant(
        "state-of-a-task-as-the-store-names-it",
        None,
        "JSON names the states of tasks as tables do",
        "understudy.cli.records.task_json",
        swap("TASK_WORDS[task.state]", "task.state"),
        "cli/test_records.py",
    ),
    _mutant(
        "searches-know-one-name-only",
        None,
        "a search takes the store's name of a state and the one that is shown",
        "understudy.states.stored_name",
        swap("word == state", "name == state"),
        "cli/test_tables.py",
    ),
    _mutant(
        "signal-missed",
        None,
        "a signal that another thread receives wakes the one that waits for it",
        "understudy.processes.signals.StopRequest.awake_at_signals",
        swap("signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)", "-1"),
        "tests/integration/sdk/test_stop_requests.py",
    ),
    _mutant(
        "concurrency-unsaid",
        None,
        "a node announces how many functions it runs at a time",
        "understudy.client.peer.Peer.hello",
        swap("node.config.concurrency if node is not None else None", "None"),
        "tests/integration/cli/test_commands.py::test_tree_and_groups_name_a_group_without_nodes",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    *_WAITING,
    *_PUBLIC_API,
    *_CALLABLES,
    *_POLICIES,
    *_VALUES,
    *_STATES,
)

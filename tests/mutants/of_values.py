"""Faults of values and errors on their way."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk").mutant
_ROUND_TRIP: Final = "values/test_round_trip.py::TestRoundTrip"
_ERROR_VALUES: Final = "values/test_errors.py"
_ERROR_ATTRIBUTES: Final = "values/test_error_attributes.py"
_CLASSES: Final = "values/test_classes.py"
_FIELDS: Final = "values/test_fields.py"

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

MUTANTS: Final[tuple[Mutant, ...]] = (*_VALUES,)

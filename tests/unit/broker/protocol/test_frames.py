"""Frames: what goes in comes out, and nothing that comes in does harm."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.protocol.frames import (
    FrameError,
    FrameLimits,
    FrameSequence,
    decode_to_broker,
    decode_to_peer,
    encode,
    number_of,
    numbered,
    salvage,
    split,
)
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Beat,
    Bye,
    Credit,
    Hello,
    Message,
    PromiseCreateWatched,
    PromiseWatch,
    Request,
    Response,
    Settled,
)
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSettle, Reply, TaskFence
from understudy_store.records import EMPTY, PromiseRecord, Value

LIMITS = FrameLimits()

texts = st.text(max_size=20)
values = st.builds(
    Value, st.dictionaries(texts, texts, max_size=2), st.none() | st.binary(max_size=50)
)
creates = st.builds(
    PromiseCreate, texts, st.integers(0, 2**62), values, st.dictionaries(texts, texts, max_size=2)
)
settles = st.builds(PromiseSettle, texts, texts, values)
fences = st.builds(
    TaskFence, texts, st.integers(0, 99), st.lists(creates | settles, max_size=3).map(tuple)
)
watches = st.builds(PromiseWatch, st.lists(texts, max_size=3).map(tuple))
created = st.builds(PromiseCreateWatched, creates)
requests = st.builds(Request, st.integers(0, 2**62), creates | fences | watches | created)
hellos = st.builds(
    Hello,
    st.integers(0, 255),
    st.sampled_from(["node", "client"]),
    texts,
    texts,
    texts,
    st.integers(0, 99),
    texts,
    texts,
    claims=st.lists(st.tuples(texts, st.integers(0, 9)), max_size=3).map(tuple),
    concurrency=st.none() | st.integers(1, 99),
    build=texts,
)
messages = st.lists(
    requests | hellos | st.just(Beat()) | st.just(Bye()) | st.builds(Credit, st.integers(0, 99)),
    max_size=8,
)


def to_broker(frame: bytes) -> Sequence[Message]:
    return decode_to_broker(frame, LIMITS)


def outcome(decode: Callable[[bytes], Sequence[Message]], frame: bytes) -> int:
    """200 for messages, else the status of the error; any other exception is a failure."""
    try:
        decode(frame)
    except FrameError as error:
        return error.status
    return 200


@given(messages)
def test_decoding_gives_the_encoded_messages(sent: list[Message]) -> None:
    assert decode_to_broker(encode(sent), LIMITS) == sent


@given(st.binary(max_size=200))
def test_random_bytes_give_messages_or_a_frame_error(data: bytes) -> None:
    for frame in (data, bytes([PROTOCOL_VERSION]) + data):
        for decode in (to_broker, decode_to_peer):
            assert outcome(decode, frame) in (200, 400, 413, 426)


@given(messages.filter(bool), st.data())
def test_truncated_or_bent_frames_never_raise_anything_else(
    sent: list[Message], data: st.DataObject
) -> None:
    frame = bytearray(encode(sent))
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(FrameError):
        decode_to_broker(bytes(frame[:cut]), LIMITS)
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(to_broker, bytes(frame)) in (200, 400, 413, 426)


def status_of(frame: bytes, limits: FrameLimits = LIMITS) -> int:
    with pytest.raises(FrameError) as caught:
        decode_to_broker(frame, limits)
    return caught.value.status


def test_the_statuses() -> None:
    head = bytes([PROTOCOL_VERSION])
    assert status_of(b"") == 400
    assert status_of(head) == 400
    assert status_of(bytes([PROTOCOL_VERSION + 1]) + encode([Beat()])[1:]) == 426
    assert status_of(head + b"\xff" * 20) == 400
    # Announces four milliards of messages, and has none.
    assert status_of(head + b"\xdd\xff\xff\xff\xff") == 413
    # Arrays in arrays in arrays.
    assert status_of(head + b"\x91\x92\xa4beat" + b"\x91" * 100_000) == 400
    assert status_of(encode([Beat()] * 5), FrameLimits(messages_max=4)) == 413
    assert status_of(encode([Beat()] * 50), FrameLimits(frame_bytes_max=64)) == 413


def test_a_pickle_is_just_a_malformed_frame() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("a frame was unpickled",)

    assert status_of(bytes([PROTOCOL_VERSION]) + pickle.dumps(Bomb())) == 400


@given(
    st.lists(st.integers(0, 400), max_size=40),
    st.integers(60, 500),
    st.integers(1, 7),
)
def test_split_keeps_the_order_and_the_bounds(
    sizes: list[int], soft: int, messages_max: int
) -> None:
    hard = 300
    sent = [Response(corr, Reply(200, error="x" * size)) for corr, size in enumerate(sizes)]
    frames, left_out = split(sent, soft=soft, hard=hard, messages_max=messages_max)
    too_large = [message for message, why in left_out if why is None]
    assert len(too_large) == len(left_out)
    received: list[Response] = []
    for frame in frames:
        part = decode_to_peer(frame)
        assert len(frame) <= (soft if len(part) > 1 else hard)
        assert 1 <= len(part) <= messages_max
        received += [message for message in part if isinstance(message, Response)]
    assert sorted(received + too_large, key=lambda m: m.corr) == sent
    assert received == [message for message in sent if message not in too_large]
    assert all(len(encode([message])) > hard for message in too_large)


def test_a_list_that_fits_is_one_frame() -> None:
    record = PromiseRecord("p", "pending", EMPTY, EMPTY, {}, 2, 1)
    frames, left_out = split(
        [Settled([record])] * 100, soft=1 << 20, hard=1 << 20, messages_max=999
    )
    assert len(frames) == 1
    assert not left_out


def test_a_message_that_cannot_be_encoded_harms_no_other() -> None:
    good = [Request(corr, PromiseGet(f"p{corr}")) for corr in (1, 3, 5)]
    bad = [Request(2, PromiseGet("\ud800")), Request(4, PromiseCreate("p", 1 << 70, EMPTY, {}))]
    frames, left_out = split(
        [good[0], bad[0], good[1], bad[1], good[2]], soft=1 << 20, hard=1 << 20, messages_max=999
    )
    assert [m for frame in frames for m in decode_to_broker(frame, LIMITS)] == good
    assert [message for message, _ in left_out] == bad
    assert all(left_out[n][1] for n in (0, 1))


def test_the_valid_messages_of_a_malformed_frame_are_salvaged() -> None:
    wrong = Request(2, PromiseGet(5))  # type: ignore[arg-type]
    frame = encode([Credit(3), Request(1, PromiseGet("p")), wrong, Request(3, PromiseGet("q"))])
    assert status_of(frame) == 400
    good, bad = salvage(frame)
    assert good == [Credit(3), Request(1, PromiseGet("p")), Request(3, PromiseGet("q"))]
    assert [corr for corr, _ in bad] == [2]


@given(messages.filter(bool), st.data())
def test_salvaging_never_raises(sent: list[Message], data: st.DataObject) -> None:
    frame = bytearray(encode(sent))
    for _ in range(3):
        frame[data.draw(st.integers(1, len(frame) - 1))] = data.draw(st.integers(0, 255))
    salvage(bytes(frame))


def test_data_does_not_alias_the_frame() -> None:
    frame = bytearray(encode([Request(1, PromiseSettle("p", "resolved", Value({}, b"data")))]))
    decoded = decode_to_broker(memoryview(frame), LIMITS)
    frame[:] = bytes(len(frame))
    assert decoded == [Request(1, PromiseSettle("p", "resolved", Value({}, b"data")))]
    assert msgspec.msgpack.encode(decoded)


def test_a_number_changes_nothing_else() -> None:
    frame = encode([Beat(), Credit(3)])
    assert number_of(frame) is None
    for number in (1, 255, 2**32 - 1):
        assert number_of(numbered(frame, number)) == number
        assert decode_to_broker(numbered(frame, number), LIMITS) == [Beat(), Credit(3)]
    for cut in range(1, 8):
        with pytest.raises(FrameError):
            decode_to_broker(numbered(frame, 7)[:cut], LIMITS)
    with pytest.raises(FrameError) as caught:
        decode_to_broker(numbered(bytes([PROTOCOL_VERSION + 1]) + frame[1:], 1), LIMITS)
    assert caught.value.status == 426


@pytest.mark.parametrize("begin", [0, 2**32 - 3])
def test_frames_that_come_again_or_are_missing_are_noticed(begin: int) -> None:
    sender, receiver = FrameSequence(), FrameSequence(begin)
    sender.sent = begin
    first, second, third, fourth = (sender.stamp(encode([Beat()])) for _ in range(4))
    assert [receiver.check(first), receiver.check(second)] == ["next", "next"]
    assert [receiver.check(second), receiver.check(first)] == ["again", "again"]
    assert receiver.check(fourth) == "gap"
    assert [receiver.check(third), receiver.check(fourth)] == ["next", "next"]
    assert receiver.check(encode([Beat()])) == "next", "whoever does not count is not checked"

"""Delivery over gRPC: signed calls to checked addresses, within time limits.

grpcio's own threads make the calls, and their ends are brought back to the trio loop. A name is
resolved here and not by grpc, which would connect to whatever address it finds. Its channel gets
the addresses that were checked, and the name for the certificate. It is closed when the receiver
could not be reached, and not used again after a pause, so that the name is resolved anew.
"""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import trio
from grpc import StatusCode

from understudy._version import __version__
from understudy.edge.carrier import DeliveryError
from understudy.edge.grpc.push_messages import (
    SCHEMES,
    Metadata,
    Place,
    place_of,
    push_of,
    rest_of,
    signature_of,
)
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import ReceiverStub
from understudy.edge.push.allow_list import AllowList, NotAllowedError
from understudy.edge.push.networks import Address
from understudy.edge.push.resolution import ResolutionError, resolve
from understudy.edge.push.settings import PushSettings
from understudy.edge.push.turns import Turns
from understudy_broker.protocol.messages import Forward
from understudy_broker.transport.loop_lock import LoopThread

__all__ = ["SCHEMES", "GrpcPusher", "open_pusher"]

#: how long a channel, and its connection, stay open without a use
IDLE_S: Final = 30.0
#: bytes of an answer, which is empty, and of its metadata
_ANSWER_BYTES_MAX: Final = 65_536


class _Channel:
    """A channel to one place, and how it is used."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.push: Any = ReceiverStub(channel).Push
        self.uses = 0
        self.used_at = trio.current_time()
        self.is_old = False

    def close_if_old(self) -> None:
        """Close it if it is not to be used again and nobody does."""
        if self.is_old and not self.uses:
            self._channel.close()


class GrpcPusher:
    """Delivers to ``grpc://`` and ``grpcs://`` addresses; see `open_pusher`.

    Parameters
    ----------
    server_url
        The address of an edge, which receivers are told.
    """

    def __init__(self, settings: PushSettings, server_url: str) -> None:
        self._settings = settings
        self._server_url = server_url
        self._turns = Turns(settings.host_max)
        self._trio = LoopThread()
        self._roots = _root_certificates()
        self._channels: OrderedDict[Place, _Channel] = OrderedDict()

    async def deliver(self, forward: Forward) -> None:
        """Make a delivery; see `carrier.Deliver`."""
        settings, place = self._settings, place_of(forward.address)
        push = push_of(forward, self._server_url)
        try:
            async with self._turns.turn(place.host, place.port):
                metadata = signature_of(forward, push, settings.keys, time.time())
                with trio.fail_after(settings.answer_s):
                    await self._push(place, push, metadata)
        except trio.TooSlowError:
            raise DeliveryError(f"no answer within {settings.answer_s:g} s") from None
        except (NotAllowedError, ResolutionError) as error:
            refused = isinstance(error, NotAllowedError)
            raise DeliveryError(str(error), refused=refused) from None

    async def _push(self, place: Place, push: bytes, metadata: Metadata) -> None:
        channel = await self._channel_to(place)
        channel.uses += 1
        try:
            future = channel.push.future(v1.PushRequest(push=push), metadata=metadata)
            code = StatusCode.UNAVAILABLE
            try:
                code = await self._until_done(future)
            finally:
                if code is StatusCode.UNAVAILABLE:
                    # Or it has not answered. Its address may have changed.
                    self._retire(place, channel)
            if code is not StatusCode.OK:
                rest_s = rest_of(code, future.trailing_metadata() or ())
                raise DeliveryError(f"{code.name}: {future.details()}", retry_after_s=rest_s)
        finally:
            channel.uses -= 1
            channel.used_at = trio.current_time()
            channel.close_if_old()
            if self._channels.get(place) is channel:
                self._channels.move_to_end(place)

    async def _until_done(self, future: Any) -> StatusCode:
        """Wait for the end of a call, which ends with the wait."""
        done = trio.Event()
        future.add_done_callback(lambda _: self._trio.run_soon(done.set))
        try:
            await done.wait()
        except trio.Cancelled:
            future.cancel()
            raise
        code: StatusCode = future.code()
        return code

    async def _channel_to(self, place: Place) -> _Channel:
        """Return a channel to a place, as far as the allow-list has it."""
        allowed = self._settings.allowed
        allowed.check_host(place.scheme, place.host, place.port)
        self._close_idle()
        channel = self._channels.get(place)
        if channel is None:
            addresses = _passed(allowed, place, await self._resolve(place))
            channel = self._channels.get(place)  # somebody may have been quicker
            if channel is None:
                channel = self._channels[place] = _Channel(self._connect(place, addresses))
        return channel

    async def _resolve(self, place: Place) -> list[Address]:
        limit_s = self._settings.connect_s
        with trio.move_on_after(limit_s):
            return await resolve(place.host, place.port)
        raise ResolutionError(f"{place.host} cannot be resolved within {limit_s:g} s")

    def _connect(self, place: Place, addresses: Sequence[Address]) -> grpc.Channel:
        target, options = _target(addresses, place.port), _options(place)
        if place.scheme == "grpc":
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(self._roots), options)

    def _retire(self, place: Place, channel: _Channel) -> None:
        """Use a channel no more."""
        if self._channels.get(place) is channel:
            del self._channels[place]
        channel.is_old = True

    def _close_idle(self) -> None:
        """Close the channels that were not used for a while; those last used come last."""
        oldest = trio.current_time() - IDLE_S
        for place, channel in list(self._channels.items()):
            if channel.used_at > oldest:
                return
            if not channel.uses:
                self._retire(place, channel)
                channel.close_if_old()

    def close(self) -> None:
        """Close all channels."""
        for place, channel in list(self._channels.items()):
            self._retire(place, channel)
            channel.close_if_old()


@asynccontextmanager
async def open_pusher(settings: PushSettings, server_url: str) -> AsyncIterator[GrpcPusher]:
    """Deliver over gRPC while the block runs, and close all channels then."""
    pusher = GrpcPusher(settings, server_url)
    try:
        yield pusher
    finally:
        pusher.close()


def _passed(allowed: AllowList, place: Place, found: Sequence[Address]) -> list[Address]:
    """Return the addresses that are allowed, of one kind, because a channel takes no others.

    Raises
    ------
    NotAllowedError
        None of them is.
    """
    passed: list[Address] = []
    refusal = NotAllowedError(f"{place.host} has no address")
    for address in found:
        try:
            allowed.check_address(place.scheme, place.host, place.port, address)
        except NotAllowedError as error:
            refusal = error
        else:
            passed.append(address)
    if not passed:
        raise refusal
    return [each for each in passed if each.version == passed[0].version]


def _target(addresses: Sequence[Address], port: int) -> str:
    """Return addresses in grpc's own spelling, which it does not resolve any more.

    Examples
    --------
    >>> import ipaddress
    >>> _target([ipaddress.ip_address("10.0.0.5")], 443)
    'ipv4:10.0.0.5:443'
    >>> _target([ipaddress.ip_address("2001:db8::1")], 443)
    'ipv6:[2001:db8::1]:443'
    """
    if addresses[0].version == 4:
        return "ipv4:" + ",".join(f"{each}:{port}" for each in addresses)
    return "ipv6:" + ",".join(f"[{each}]:{port}" for each in addresses)


def _options(place: Place) -> list[tuple[str, Any]]:
    """Return the bounds of a channel, in the words of grpc's core."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    return [
        ("grpc.default_authority", f"{host}:{place.port}"),
        ("grpc.primary_user_agent", f"understudy/{__version__}"),
        # Proxies of the environment are not used, nor what other channels know of an address.
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.client_idle_timeout_ms", round(IDLE_S * 1_000)),
        # The brokers decide when something is tried again.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", _ANSWER_BYTES_MAX),
    ]


def _root_certificates() -> bytes | None:
    """Return the certificates that this machine trusts, as for HTTP; None: those of grpc."""
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, found)).encode() or None

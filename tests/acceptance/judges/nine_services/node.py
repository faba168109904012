"""The frame of each service, which the documents describe and do not print: see README.md."""

import uuid
from threading import Event

from resonate import Resonate
from resonate.message_sources import Poller
from resonate.stores import RemoteStore


def connect(group: str, id: str = "") -> Resonate:
    """Connect to the server as a member of a group, under a new id unless one is given."""
    poller = Poller(group=group, id=id or str(uuid.uuid4()), host="http://localhost", port="8002")
    store = RemoteStore(host="http://localhost", port="8001")
    return Resonate(store=store, message_source=poller)


def serve(resonate: Resonate) -> None:
    """Serve for ever."""
    resonate.start()
    print("running", flush=True)
    Event().wait()

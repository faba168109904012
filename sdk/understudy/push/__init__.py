"""Functions that are performed where they are pushed to: a web service without nodes of its own.

A task whose target is ``https://pay.example/understudy`` is pushed to that address by an edge
(``understudy edge --push pay.example``). The middleware there, `PushASGI` or `PushWSGI`, verifies
who has sent it, answers, and has a `Runtime` acquire and perform the task. `add_push_servicer` does
the same in a gRPC server, for targets like ``grpc://pay.example:50051``. If the function waits for
something long, it is suspended, and a later push has it resumed, here or in another process at that
address.

Nothing is lost if a process ends in the middle: its lease ends, and the task is pushed again. The
process must be able to work after it has answered. Where a platform stops it then, ``hold=True``
has it answer only when it has done what it can for the task.
"""

from understudy.push.asgi import PushASGI
from understudy.push.servicer import add_push_servicer
from understudy.push.wsgi import PushWSGI

__all__ = ["PushASGI", "PushWSGI", "add_push_servicer"]

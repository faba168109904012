"""Numbers as text and answers over HTTP, for people and programs that watch over understudy.

`histogram`, `exposition` and `families` are pure. `listener` has a thread and a socket.
"""

"""Push: the edge delivers tasks and settlements to ``http://`` and ``https://`` addresses.

The pure parts say where an edge may connect to (`allow_list`, `networks`) and what it sends
(`posts`). The shell connects (`backend`) and posts (`poster`), a few at a time to each host
(`turns`).
"""

"""The dashboard: pages about the calls, groups and brokers of a deployment, made on the server.

The pages are made from facts that were read at one moment. Modules with the names of what a page
shows (`overview`, `timeline`, `waterfall`, `graph_layout`, `payloads`, `deeds`) are pure: they turn
facts into rows and drawings, and neither read nor serve anything. Around them, `sources` reads from
brokers, from the file of a store or from a history; `handlers` answers requests, `streams` tells
open pages what has changed, and `process` is the program.
"""

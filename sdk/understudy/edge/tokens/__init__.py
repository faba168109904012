"""Tokens: who asks, at an edge that does not serve everybody.

Theory of operation
===================

A file says which tokens are taken, and whose they are (`rules`). A token is either one of the
file's own, of which it has the hash, or a JWT of an issuer that the file names. `bearer` looks at
one by the rules, the issuers' keys and the time, all of which it is given; `jwts` has the part that
needs PyJWT. Both are pure.

`gate` is the shell around them. It reads the file again when it changes, whole or not at all, and
fetches the keys of issuers that publish them (`discovery`): once a while, and when a token names a
key that is not known yet, but then at most once in some seconds, because anyone can make up a key
id. What a token says is never taken for an address.

In front of HTTP stands `asgi`, and the gRPC service asks the gate itself. The identity that comes
out of it goes to the brokers with each command (`understudy.edge.asker`); what it may do there is
theirs to say.

What is not perfect: a JWT cannot be revoked before it expires, but its line in the file can be
removed. A request is judged when it comes, so one that waits for five minutes may end after its
token. Streams do not: they end with it.
"""

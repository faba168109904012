"""Sources: processes that turn the messages of a queue into calls.

Theory of operation
===================

A source takes messages from one queue, stores a call for each, and only then acknowledges them. It
keeps nothing. If it is killed between the two, the queue delivers the message again, and the call
is there already: its id is made of the message's position (`template`). So the queue's "at least
once" becomes "exactly one call".

The parts:

- `port` says what a queue is to a source: poll, acknowledge, close. Each module in `queues` is one.
- `translator` makes a call of a message, or says why it is none (a *poison* message). It is pure.
- `filing` is the way of one message to the store: the call, or the promise that records a poison
  message. It is pure, too: replies in, commands out.
- `window` knows what is under way. It bounds that, and says which messages may be acknowledged: in
  each partition the oldest ones, up to the first that is not stored.
- `feed` is the loop, the same for all queues: poll, translate, submit, acknowledge. At the bound it
  polls no more, so that the messages wait in the queue.
- `process` has the signals, the log and the exit code.

Why nothing is lost
-------------------
A message is acknowledged only after the broker has answered that its call, or the record of its
failure, is stored, and after every older message of its partition. Whatever dies before then, the
queue has the message yet.

What is not perfect
-------------------
- An id protects for as long as the broker keeps it taken. A queue that delivers a message again
  after that has it performed again.
- A message that cannot be stored yet, because its broker is away, keeps the later ones of its
  partition from being acknowledged. Their calls are stored, so after a restart of the source they
  are delivered again, and found.
"""

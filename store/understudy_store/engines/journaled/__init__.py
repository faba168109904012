"""The part that engines with a journal share: quick commits before a table that lags behind.

Theory of operation
-------------------
A database writes whole pages, and each row again whenever it changes. But most rows change three
times within milliseconds: a promise is created, its task is handed out, and it settles. So a commit
goes to a **journal** first, as one record, because that is the least that makes it durable. Then
the broker goes on. A journal is a `Log`, and the rows themselves are a `Table`; the engines fill
these two ports.

The rows of commits that the table does not have yet are in a **memtable**, merged: only the last
state of each. A thread, the **follower**, seals the memtable about once a second and writes it to
the table in one transaction. The journal has two halves. While one is sealed and being written to
the table, commits go to the other, with a memtable of its own; then they change places. A half is
used again only once the table has everything in it.

A **find** looks into both memtables, then into the table. Nearly every id that is looked for is
that of a new call, and to learn from a database that it is absent costs more than creating it.
`absent_ids` remembers which ids had no descendants; because every insert passes through here, it
then knows without asking that ``order-7.42`` is new. `gaps` does the same for ids that ascend, such
as ``order-8`` after ``order-7``. A commit that is too large for a journal record is written to the
table at once, after all others.

A **search** needs the whole truth in one place. It has the follower bring the commits so far to the
table at once, and then reads the table as of one moment (`searcher`). Commits go on all the time. A
**preload** belongs to a commit, and has the memtables written under the lock of commits: it is
small, and somebody waits for it.

**Recovery.** The table says up to which commit number it is complete. When a store is opened, the
records after that number are read from the journal, merged into one memtable (`replay`) and written
to the table. A record that is cut short was never acknowledged.

**Two truths at once.** A find takes some rows from memory and the rest from the table, one after
the other. Between the two the follower may write a later commit to the table, and the result would
show a commit by half. So a find counts the writes to the table before and after, and looks again if
there was one. It rarely has to: about one write begins per second, unless searches, preloads or
large commits force more.

Locks
-----
They are taken in this order:

``append``   commits, and the follower while it seals: one writer to the journal. Held until the
             record is durable.
``table``    one writer to the table. The follower holds it for as long as its write takes, without
             the append lock, so commits go on. If it writes little, it pauses between chunks of
             rows to let other threads have the interpreter; `table_wanted` ends the pauses as soon
             as somebody waits for the lock.
``view``     the memtables, the absent ids and the count of writes; held for microseconds.

What is not perfect: after a failed write of the follower the store's owner is told, not those whose
commits could not be written. They are durable in the journal, so nothing is lost: the store stops,
and recovery brings them to the table.

Modules: `journaled_table` commits and follows, `view` finds, and `searcher` searches, without any
file or SQL;
`journal_records` is the form of a commit in a journal; `replay` reads a journal again; `memtable`
and `absent_ids` are pure.
"""

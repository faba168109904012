"""The SQLite engine: a journal that is quick to write, and SQLite's file behind it.

Theory of operation
-------------------
A commit of SQLite writes whole pages, and each row again whenever it changes. But most rows change
three times within milliseconds: a promise is created, its task is handed out, and it settles. So a
commit goes to a **journal** first: one record, written over bytes that the file already has, by one
system call that returns when the bytes are on the disk. Then it is durable, and the broker goes on.

The rows of commits that SQLite's file does not have yet are in a **memtable**, merged: only the
last state of each. A thread, the **follower**, seals the memtable about once a second and writes it
to the file in one transaction. The journal has two halves. While one is sealed and being written to
the file, commits go to the other, with a memtable of its own; then they change places. A half is
written over only once the file has everything in it.

A **find** looks into both memtables, then into the file. Nearly every id that is looked for is that
of a new call, and to learn from SQLite that it is absent costs more than creating it. `absent_ids`
remembers which ids had no descendants; because every insert passes through here, it then knows
without asking that ``order-7.42`` is new. A **search** or a preload needs the whole truth in one
place: it has the memtables written to the file first. A commit that is too large for a journal
record is written to the file at once, after all others.

**Recovery.** The file says up to which commit number it is complete. When a store is opened, the
records after that number are read from the journal; they must be there without a gap. They are
merged into one memtable and written to the file, and a new journal begins. A record that is cut
short was never acknowledged, because its write did not return. Payloads are bytes of strangers, so
the journal's format has no place where a payload could be taken for a record.

The file names its journal as long as the journal may have commits that the file lacks: from before
the first commit, until all are in the file when the store is closed. So a file that was copied
without its journal, and a journal beside the wrong file, are refused. A store that is closed in
order names none and leaves none.

**Two truths at once.** A find takes some rows from memory and the rest from the file, one after the
other. Between the two the follower may write a later commit to the file, and the result would show
a commit by half. So a find counts the writes to the table before and after, and looks again if
there was one. It rarely has to: about one write begins per second, unless searches or large commits
force more.

**Other programs.** One that holds SQLite's lock is waited for without end, and the store's owner is
told its name. The follower waits; commits go on in the journal. Once the other half is needed and
is not in the file, `commits_at_once` is false, and commits wait on the store's thread instead of
the owner's loop.

Locks
-----
They are taken in this order:

``append``   commits, and the follower while it seals: one writer to the journal. Held through the
             write to the disk.
``table``    one writer to the file. The follower holds it for as long as its write takes, without
             the append lock, so commits go on. If it writes little, it pauses between chunks of
             rows to let other threads have the interpreter; `table_wanted` ends the pauses as soon
             as somebody waits for the lock.
``view``     the memtables, the absent ids and the count of writes; held for microseconds.
``find``     of `Database`: the connection that finds. Finds run beside writes, because SQLite's WAL
             lets one reader go on beside one writer.

What is not perfect: a find of many ids may wait for a search; and after a failed write of the
follower the store's owner is told, not those whose commits could not be written. They are durable
in the journal, so nothing is lost: the store stops, and recovery brings them to the file.

Modules: `engine` opens and closes; `journaled_table` is the part above without any file or SQL;
`journal`, `journal_records` and `database` are its journal and its file, and `journal_recovery`
and `journal_v1` read what a dead process left; `memtable` and `absent_ids` are pure; `files` guards
the files, `lock_holders` names processes with locks, and `lock_wait` waits for them.
"""

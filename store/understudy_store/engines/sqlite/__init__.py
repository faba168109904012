"""The SQLite engine: a journal that is quick to write, and SQLite's file behind it.

Theory of operation
-------------------
The journal, the memtables before the table, the follower and finds are those of
`understudy_store.engines.journaled`. This package has the journal as a file, the table as SQLite's
file, and what keeps others away from both.

A commit is one record in the **journal**, written over bytes that the file already has, by one
system call that returns when the bytes are on the disk. A half is written over only once SQLite's
file has everything in it.

**Recovery.** The file says up to which commit number it is complete. When a store is opened, the
records after that number are read from the journal; they must be there without a gap. They are
merged into one memtable and written to the file, and a new journal begins. A record that is cut
short was never acknowledged, because its write did not return. Payloads are bytes of strangers, so
the journal's format has no place where a payload could be taken for a record.

The file names its journal as long as the journal may have commits that the file lacks: from before
the first commit, until all are in the file when the store is closed. So a file that was copied
without its journal, and a journal beside the wrong file, are refused. A store that is closed in
order names none and leaves none.

**Other programs.** One that holds SQLite's lock is waited for without end, and the store's owner is
told its name. The follower waits; commits go on in the journal. Once the other half is needed and
is not in the file, `commits_at_once` is false, and commits wait on the store's thread instead of
the owner's loop.

Locks
-----
After those of `journaled` come two more:

``find``     of `Database`: the connection that finds. Finds run beside writes, because SQLite's WAL
             lets one reader go on beside one writer.

``search``   of `FileSearcher`: the connection that searches, as of one moment, beside both.

What is not perfect: SQLite cannot begin its log anew during a search, so the log grows meanwhile.
Before a search begins, the follower writes what was committed; then no other search is under way,
so it can move all of a long log into the file.

Modules: `engine` opens and closes; `journal` and `database` are the journal and the table, and
`searcher` searches the file; `journal_recovery` and `journal_v1` read what a dead process left;
`files` guards the files, `lock_holders` names processes with locks, and `lock_wait` waits for them.
"""

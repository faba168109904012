"""The PostgreSQL engine: a journal in a table, and a fence that keeps brokers off each other.

Theory of operation
-------------------
The memtables before the tables, the follower and finds are those of
`understudy_store.engines.journaled`. Here the journal is a table with one row for each commit, and
the rows that the follower writes go into tables of the same schema.

**A commit** is one statement, and so one round trip. It inserts its record into `journal`, but only
if the row of this broker's start in `writer` is there, of this session, and not fenced. It writes
one row, and is durable; or it writes none, and the broker stops without a word to anybody.

**A start** of a broker is a **writer**: a row whose number is never used again, which is the epoch
of all its commits. It takes over from the writers before it in one transaction: it locks its own
row, sets their `fenced`, reads what they have left in the journal, writes that to the tables, and
deletes it from the journal.

**Why nothing is lost and nothing comes late.** The commit takes a share lock on its writer's row,
and the fence changes that very row. So each commit is wholly before the fence, which waits for it,
or after it, and then it finds `fenced` and writes nothing. The journal is read in a statement after
the fence, at READ COMMITTED, so with a view of the database that is newer than the fence: it sees
every commit from before. REPEATABLE READ would look with the eyes of before the wait and miss the
last one, so the engine sets the level itself. The follower locks its writer's row in the same way.

**A lost connection** leaves open whether the commit was written, and the old session may still be
at work for a while. So a new connection begins a new **session**: it raises a number in the
writer's row, for which it waits until the old session has let go of the row. Whatever that one
still sends writes nothing. Then it looks for the commit, in the same transaction, and sends it
again if it is not there. Without sessions a late commit could come after the follower has deleted
its row, and a takeover would bring it in a second time.

**A database that lost commits.** If a standby took the place of the primary without its last
commits, the number of the last one is less than it was. Each new connection compares them, and the
broker stops and says how many are gone.

**A follower's write** whose answer was lost: `progress` has the number of the last commit that is
in the tables, and each attempt begins by moving it from the old number to the new one. The second
attempt waits for the first, and finds it done or takes its place.

**The pulse** tells other brokers that this one lives, on a connection and a thread of its own, and
in a table of its own, so that beats and commits do not wait for each other. A broker that starts
waits until the earlier pulse is older than the lease. Nothing of the fence depends on clocks.

**A paused broker** may hold an open transaction, with its lock. A takeover ends its sessions first;
that is a matter of time only, not of safety.

Locks
-----
After those of `journaled` comes one more:

``find``     of `PostgresTable`: the connection that finds.

What is not perfect: a broker that was fenced while it was paused may answer reads from its memory
after it wakes, until its next commit or beat. The rows of a commit are written twice, to the
journal and to the tables. While the primary waits for a synchronous standby that is gone, commits
wait without end, because PostgreSQL does.

Modules: `engine` opens and closes; `address` reads the URL; `connections` makes connections again;
`opening` takes over and `writer` is what it gets; `checks` and `schema` look at the server and make
the tables; `log` and `table` are the ports, `rows_writer` writes to the tables, and `pulse` beats.
"""

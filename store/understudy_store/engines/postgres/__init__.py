"""The PostgreSQL engine: a journal in a table, and a fence that keeps brokers off each other.

One broker has the store for itself, or several share it, each with slots of its own.

Theory of operation
-------------------
The memtables before the tables, the follower and finds are those of
`understudy_store.engines.journaled`. Here the journal is a table with one row for each commit, and
the rows that the follower writes go into tables of the same schema.

**A commit** is one statement, and so one round trip. It inserts its record into `journal`, but only
if the row of this broker's start in `writer` is there, of this session, and not fenced. It writes
one row, and is durable; or it writes none, and the broker stops without a word to anybody. A small
one is sent by the broker's loop, which goes on with other things and takes the answer when it has
come (`RemoteEngine`); if anything comes between, the store's writer thread completes it.

**A start** of a broker is a **writer**: a row whose number is never used again, which is the epoch
of all its commits. A broker that has the store for itself takes over from the writers before it in
one transaction: it locks its own row, sets their `fenced`, reads what they have left in the
journal, writes that to the tables, and deletes it from the journal.

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

**An opening** ends with one transaction, under a lock that one opening has at a time. It fences
those that are in the way and dead, and marks its writer as **joined**. Of two openings that cannot
both have the store, the second one finds that the first has joined. Whoever waits in an opening
beats meanwhile.

**A paused broker** may hold an open transaction, with its lock. A takeover ends its sessions first;
that is a matter of time only, not of safety.

Shared by several brokers
-------------------------
A broker that is opened with a name and an address joins those that live. The table `slot` names
the one writer that owns each of the 256 slots, and counts how often that has changed (`epoch`). The
owner alone commits to a slot. Each broker has a journal of its own, under its own number, and a
follower; what they write concerns different rows. The whole of the fence above holds for each of
them, one by one.

**Owners change** only by these three, each in one transaction that locks its own writer's row
first, unfenced, with a share lock:

- a *takeover*: fence a writer whose pulse is older than the lease, bring its journal to the tables,
  and give its slots to those that live, together with all slots of nobody and of fenced writers;
- a *hand-over*: the owner stops committing to a slot, has everything in its journal written to the
  tables, then names another writer, which is locked unfenced in the same transaction;
- the *end* of a broker in order: it fences itself and leaves its slots to those that live.

So whoever finds itself named in `slot` finds every acknowledged commit to that slot in the tables:
those of a dead owner came in the transaction that named it, those of a living one before that. And
nothing is committed by an owner of before: a dead one is fenced in that transaction, a living one
has stopped. A slot has one owner in each state of the database, because it is one row. `load_slots`
looks at that row first.

**No slot stands still.** A writer that is fenced, and does not know it yet, takes nothing: its own
row comes first. No writer that is fenced is given anything: the receivers' rows are locked until
the transaction is over. One whose row is locked exclusively at that moment is about to be fenced,
most often, and is passed over instead of waited for. And every broker that sees a slot without a
living owner gives it away, however it came to that. Slots are shared out by the hashes of names
(`slots.shared_out`), so that brokers which do it at the same time mean the same.

**The keeper** beats and looks at the others in one statement, four times in the length of a lease;
twenty times in a second while slots that this broker ought to have are still with others. The
**taker** does takeovers, on a thread of its own, because they may take longer than a lease. If
several brokers take over from one, the fence lets one of them through; the others wait for it for a
second at most, then look again.

**Who may judge.** After the database was away for all, all pulses are old. So a broker whose own
beats have paused for half a lease judges nobody for a whole one, and neither does one that has just
begun. Nothing of the fence depends on it: it is for the living not to be taken over from.

**Reads from memory** need no commit, so a broker that was taken over from could go on answering
them. Nobody takes over before its last beat is as old as the lease, by the database's clock. So it
answers only while that beat was sent less than 80 % of a lease ago, by its own (`is_fresh`), which
goes on while the machine is suspended. Commits prove nothing here: they do not renew the pulse.

**A hand-over whose answer was lost** is done again over the connection that commits, whose new
session waits for the old one and makes void what that may still send. So it is not told that a
slot has stayed here, when a late statement then gives it away. Epochs tell which slots have left,
and not their owners: one may be back already, with commits of another. The other transactions lock
the row of the writer in question until they are over, so a second attempt finds what became of the
first.

**Versions** are sums of epochs, and committed states are ordered: of two, the later one has the
greater version, or the same slots. So holdings are never read in a transaction that has moved slots
itself.

**Absent ids** (`journaled.absent_ids`) are forgotten for slots that leave, and again when they
come, because a find may be under way at both moments; such a find learns nothing.

**Time.** `meta.now` is raised by every follower and every takeover before the slots move. So an
owner never begins earlier than what was committed to its slots.

Once a store was shared, `meta.shared` says so for ever, and no broker opens it for itself any more:
what waits between slots needs brokers that share them.

Locks
-----
After those of `journaled` comes one more:

``find``     of `PostgresTable`: the connection that finds.

In the database, a transaction locks its own writer's row (share), then that of the writer which it
fences (exclusive), rows of receivers (share, passing over those that are locked), and slots in
their order. Two brokers that fence each other, or that find different writers dead first, can wait
for each other: the server ends one of the two transactions, or its `lock_timeout` of a second does,
and it is done again.

What is not perfect: a broker that has the store for itself and was fenced while it was paused may
answer reads from its memory after it wakes, until its next commit or beat. The rows of a commit are
written twice, to the journal and to the tables. While the primary waits for a synchronous standby
that is gone, commits wait without end, because PostgreSQL does. If the clock of the database's
machine is set forward by more than a lease, or another server with such a clock takes its place,
brokers that live may take over from each other; nothing is lost, and those that were taken over
from end. Then, and in a virtual machine that is halted from outside with its clock, answers from
memory may be out of date until the next beat. If the journal of a dead broker is
damaged, its slots stand still until somebody mends it; the others go on, and say so. A database
that came back without its last hand-over or takeover is noticed only by brokers that knew of it.
All followers raise the one row `now`, and so wait for each other for as long as one of them needs
to flush. Rows of `writer` are never removed: there is one for each start.

Modules: `engine` opens and closes, and `shared_engine` is the same as one of several; `address`
reads the URL; `connections` makes connections again, and `advice` says what to do if that does not
help; `opening` takes over and `writer` is what it gets; `checks` and `schema` look at the server
and make the tables; `log` and `table` are the ports, `prepared` is a statement on the wire, `begun`
what no thread waits for, `packing` makes large records small, `rows_writer` writes to
the tables, and `pulse` beats. For several brokers, `keeper` looks at the others, `holdings` is what
it sees, and `takeover` brings in what a dead one has left.
"""

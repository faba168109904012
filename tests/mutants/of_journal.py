"""Faults of the journal's format and of its recovery."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/store").mutant
_JOURNAL: Final = "engines/sqlite/test_journal.py"
_REFUSED: Final = "engines/sqlite/test_journal_refused.py"
_PAYLOADS: Final = "engines/sqlite/test_journal_payloads.py"
_FIRST_FORMAT: Final = "engines/sqlite/test_journal_v1.py"

_FORMAT: Final = (
    _mutant(
        "journal-not-synced",
        None,
        "a record is on the disk when it is acknowledged",
        "understudy_store.engines.sqlite.journal._SYNCED",
        swap('getattr(os, "O_DSYNC", os.O_SYNC)', "0"),
        f"{_JOURNAL}::test_a_write_is_durable_when_it_returns",
    ),
    _mutant(
        "short-write-taken-for-whole",
        None,
        "a record of which a part was written is not acknowledged",
        "understudy_store.engines.sqlite.journal.write_through",
        swap("written != len(data)", "written < 0"),
        f"{_JOURNAL}::test_a_short_write_is_an_error",
    ),
    _mutant(
        "numbers-that-stand-still",
        None,
        "each record is numbered one higher than the one before",
        "understudy_store.engines.sqlite.journal.Journal.append",
        drop("self.number = number"),
        f"{_JOURNAL}::test_each_record_begins_at_a_block_and_the_file_does_not_grow",
    ),
    _mutant(
        "records-within-a-block",
        None,
        "writing a record does not touch earlier records",
        "understudy_store.engines.sqlite.journal._blocks",
        swap(
            "return (1 + more) * BLOCK_BYTES",
            "return -(-(_HEAD.size + length) // 512) * 512",
        ),
        f"{_JOURNAL}::test_each_record_begins_at_a_block_and_the_file_does_not_grow",
    ),
    _mutant(
        "sum-not-checked",
        None,
        "a record that was cut short does not count",
        "understudy_store.engines.sqlite.journal.record_at",
        drop("if crc != _crc(content[place : place + _UNSEALED_BYTES], data):\n    return None"),
        f"{_JOURNAL}::test_a_garbled_record_does_not_count",
    ),
    _mutant(
        "sum-without-the-head",
        None,
        "a record's number is trusted only if its sum is right",
        "understudy_store.engines.sqlite.journal._crc",
        swap("crc32(data, crc32(unsealed))", "crc32(data)"),
        f"{_JOURNAL}::test_a_garbled_record_does_not_count",
    ),
    _mutant(
        "payload-at-the-beginning-of-a-block",
        None,
        "no byte of a payload is where a record is recognized",
        "understudy_store.engines.sqlite.journal",
        swap('_MORE: Final = b"more"', '_MORE: Final = b""'),
        f"{_PAYLOADS}::test_what_an_older_record_left_is_none_whatever_it_holds",
    ),
    _mutant(
        "record-of-any-journal",
        None,
        "a record of an earlier journal in the same file does not count",
        "understudy_store.engines.sqlite.journal.record_at",
        swap(
            "(magic, marked, placed) != (_MAGIC, mark, place)",
            "(magic, placed) != (_MAGIC, place)",
        ),
        f"{_JOURNAL}::test_a_record_of_another_journal_or_place_is_none",
    ),
    _mutant(
        "record-of-any-place",
        None,
        "a record that was copied from another place does not count",
        "understudy_store.engines.sqlite.journal.record_at",
        swap(
            "(magic, marked, placed) != (_MAGIC, mark, place)",
            "(magic, marked) != (_MAGIC, mark)",
        ),
        f"{_JOURNAL}::test_a_record_of_another_journal_or_place_is_none",
    ),
    _mutant(
        "journal-of-any-store",
        None,
        "a store does not replay the journal of another store",
        "understudy_store.engines.sqlite.journal_recovery.recover",
        swap("header.store != store", "len(header.store) != len(store)"),
        f"{_REFUSED}::test_the_journal_of_another_store_is_refused",
    ),
    _mutant(
        "journal-of-any-time",
        None,
        "a store is not opened beside a journal that is not its own",
        "understudy_store.engines.sqlite.journal_recovery.recover",
        swap("if mark or later:", "if later:"),
        f"{_REFUSED}::test_the_journal_of_another_time_is_refused",
    ),
    _mutant(
        "missing-journal-accepted",
        None,
        "a store is not opened silently without the journal that it names",
        "understudy_store.engines.sqlite.journal_recovery.recover",
        swap("mark and not accept_lost", "mark and accept_lost"),
        f"{_REFUSED}::test_a_journal_that_is_named_must_be_there",
    ),
    _mutant(
        "cut-journal-accepted",
        None,
        "a store is not opened silently with a journal that was cut short",
        "understudy_store.engines.sqlite.journal_recovery.recover",
        swap("len(content) < file_bytes()", "len(content) < BLOCK_BYTES"),
        f"{_REFUSED}::test_a_journal_that_is_named_must_be_whole",
    ),
    _mutant(
        "name-in-the-log-only",
        None,
        "a copy of the file alone shows that it may lack commits",
        "understudy_store.engines.sqlite.database.Database.name_journal",
        swap("if mark:", "if not mark:"),
        "tests/integration/store/test_journal.py::test_a_copy_without_its_journal_is_not_opened"
        "_silently",
    ),
    _mutant(
        "foreign-payload-in-the-first-format",
        None,
        "a payload in a journal of the first format is not taken for another store's record",
        "understudy_store.engines.sqlite.journal_v1.records_in",
        swap("owner != store and at in starts", "owner != store"),
        f"{_FIRST_FORMAT}::test_a_payload_in_a_journal_of_the_first_format_is_not_taken_for_one_of"
        "_another_store",
    ),
    _mutant(
        "gap-in-the-journal",
        None,
        "a missing record between others is not skipped",
        "understudy_store.engines.sqlite.journal_recovery._consecutive",
        swap("found.keys() != set(wanted)", "(wanted := sorted(found)) is None"),
        f"{_JOURNAL}::test_a_garbled_record_does_not_count",
    ),
    _mutant(
        "one-half-runs-into-the-other",
        None,
        "a half is overwritten only when its records are in the file",
        "understudy_store.engines.sqlite.journal.Journal.fits",
        swap("self._start + self._half_bytes", "2 * self._half_bytes"),
        f"{_JOURNAL}::test_fits_to_the_last_block",
    ),
    _mutant(
        "always-the-same-half",
        None,
        "the half that is not yet in the file is left alone",
        "understudy_store.engines.sqlite.journal.Journal.switch",
        swap("2 * BLOCK_BYTES + self._half_bytes - self._start", "BLOCK_BYTES"),
        f"{_JOURNAL}::test_halves_change_places",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_FORMAT,)

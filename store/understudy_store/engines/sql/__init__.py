"""Parts that SQL engines share: tables, rows, statements, queries, migrations."""

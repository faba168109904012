"""What SQL engines share: tables, rows, statements, queries, migrations."""

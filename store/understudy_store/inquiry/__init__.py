"""Questions in SQL that people put to a store, which they cannot change thereby."""

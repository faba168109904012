"""Records of the store as JSON data, in the words that people are shown.

The command line and the edge show the same records with the same keys. Nothing here does I/O.
"""

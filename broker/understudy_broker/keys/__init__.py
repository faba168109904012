"""Keys of brokers and peers: their files, and whose they are."""

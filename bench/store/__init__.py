"""Descriptors on disk: shards, their keys and locks, reuse, hashes of files, room."""

"""Exact ranks by counting; areas, absent rows, compression, indexes of faiss."""

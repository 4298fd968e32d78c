"""Replication of five person re-identification papers, and the library it is made of."""

__version__ = "0.1.0"

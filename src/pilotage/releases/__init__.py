"""Releases: built once, named by the digest of what is in them, never changed."""

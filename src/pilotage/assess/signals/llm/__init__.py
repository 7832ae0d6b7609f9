"""Signals of pilots that ask a language model: chat, retrieval and agents."""

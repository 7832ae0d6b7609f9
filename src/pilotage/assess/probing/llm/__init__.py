"""The probe of a pilot that asks a language model: a twin of its provider, and what the application does with it."""

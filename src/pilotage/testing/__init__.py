"""Public test support: builders, twins and suites that plug-in authors and our own tests share."""

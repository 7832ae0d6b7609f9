"""Server-rendered pages over the same services as the API; small vendored scripts, no build step."""

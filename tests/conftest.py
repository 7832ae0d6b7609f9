"""What every test may use: shared builders under `tests.`, and a private PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.postgres import fresh_postgres, postgres_server, postgres_url

__all__ = ["fresh_postgres", "postgres_server", "postgres_url"]

"""The system that is measured, by name, and its columns: what every server of the benchmark knows, and no more."""

from __future__ import annotations

from pilotage.contracts.model import Column

__all__ = ["COLUMNS", "FEATURES", "KEY", "PATH", "SYSTEM"]

SYSTEM = "bench-credit"
PATH = f"/v1/systems/{SYSTEM}/decide"
KEY = "pk_bench_" + "k" * 43

FEATURES = (
    Column(name="LIMIT_BAL", type="number", minimum=0, maximum=1_000_000),
    *(Column(name=name, type="integer", minimum=1, maximum=4) for name in ("SEX", "EDUCATION", "MARRIAGE")),
    Column(name="AGE", type="integer", minimum=18, maximum=100),
    *(Column(name=f"PAY_{month}", type="integer", minimum=-2, maximum=9) for month in range(1, 7)),
    *(Column(name=f"BILL_AMT{month}", type="number", minimum=-400_000, maximum=2_000_000) for month in range(1, 7)),
    *(Column(name=f"PAY_AMT{month}", type="number", minimum=0, maximum=2_000_000) for month in range(1, 7)),
)
COLUMNS = (Column(name="ID", type="integer", role="subject", personal=True), *FEATURES)

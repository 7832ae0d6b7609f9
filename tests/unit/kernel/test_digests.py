"""Digests in one form everywhere."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pilotage.kernel.digests import digest, file_digest, short

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_standards_example() -> None:
    assert digest(b"abc") == ABC
    assert short(ABC) == "ba7816bf8f01"
    assert short(ABC.removeprefix("sha256:")) == "ba7816bf8f01"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_other_bytes_have_another_digest(one: bytes, other: bytes) -> None:
    assert (digest(one) == digest(other)) is (one == other)


def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5_000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == digest(content)

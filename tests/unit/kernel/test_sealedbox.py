"""A sealed box opens for its key and its context, and for nothing else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pilotage.errors import InputError, IntegrityError
from pilotage.kernel.sealedbox import key_id, open_box, seal

PRIVATE = X25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes_raw()


def test_it_opens_with_the_key_and_context_it_was_sealed_to() -> None:
    box = seal(PUBLIC, b"secret", b"here")
    assert open_box(PRIVATE, box, b"here") == b"secret"
    assert box != seal(PUBLIC, b"secret", b"here")


def test_another_key_or_context_opens_nothing() -> None:
    box = seal(PUBLIC, b"secret", b"here")
    with pytest.raises(IntegrityError):
        open_box(X25519PrivateKey.generate(), box, b"here")
    with pytest.raises(IntegrityError):
        open_box(PRIVATE, box, b"there")


def test_any_changed_byte_is_noticed() -> None:
    box = seal(PUBLIC, b"secret", b"")
    for at in range(len(box)):
        with pytest.raises(IntegrityError):
            open_box(PRIVATE, box[:at] + bytes((box[at] ^ 1,)) + box[at + 1 :], b"")
    with pytest.raises(IntegrityError):
        open_box(PRIVATE, b"", b"")


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32)])
def test_what_is_no_public_key_is_refused(public: bytes) -> None:
    with pytest.raises(InputError, match="X25519"):
        seal(public, b"secret", b"")


def test_a_key_id_names_the_key() -> None:
    assert len(key_id(PUBLIC)) == 16
    assert key_id(PUBLIC) != key_id(bytes(32))

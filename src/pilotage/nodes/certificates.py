"""Certificates of nodes and of the steward that reads them: Ed25519, made here, trusted by nobody else.

The authority signs nodes' certificates. The steward's own client certificate is in each invitation: a node trusts
that one and no other, so that no node can read another's journal.
"""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilotage.errors import IntegrityError

__all__ = [
    "client_context",
    "fingerprint",
    "key_from_pem",
    "key_to_pem",
    "make_authority",
    "make_node_certificate",
    "make_reader_certificate",
    "public_key",
    "server_context",
]

_AUTHORITY_DAYS, _LEAF_DAYS = 3_650, 730


def key_to_pem(key: Ed25519PrivateKey) -> str:
    """PKCS#8, not encrypted: for a file of mode 0600."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_from_pem(text: str) -> Ed25519PrivateKey:
    """The key again. Raises IntegrityError when it is none."""
    key = load_pem_private_key(text.encode(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise IntegrityError("this is no Ed25519 key", mend="invite the node again")
    return key


def make_authority(key: Ed25519PrivateKey) -> str:
    """The certificate (PEM) of the authority that signs nodes' certificates."""
    builder = _builder("pilotage nodes", "pilotage nodes", key.public_key(), _AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _signed(builder, key)


def make_node_certificate(signer: Ed25519PrivateKey, name: str, key: Ed25519PublicKey) -> str:
    """A server certificate (PEM) for the node of this name."""
    builder = _builder(name, "pilotage nodes", key, _LEAF_DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return _signed(builder, signer)


def make_reader_certificate(key: Ed25519PrivateKey) -> str:
    """The steward's client certificate (PEM), signed by itself: nodes pin it."""
    builder = _builder("pilotage steward", "pilotage steward", key.public_key(), _AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return _signed(builder, key)


def fingerprint(certificate: str) -> bytes:
    """SHA-256 of the certificate (PEM) in DER."""
    return x509.load_pem_x509_certificate(certificate.encode()).fingerprint(SHA256())


def public_key(certificate: str) -> Ed25519PublicKey:
    """The key that a certificate (PEM) is for."""
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise IntegrityError("this certificate is not for an Ed25519 key", mend="invite the node again")
    return key


def server_context(key: str, certificate: str, reader: str) -> ssl.SSLContext:
    """TLS 1.3 for a node: only whoever holds the key of the `reader` certificate gets in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=reader)
    _load(context, key, certificate)
    return context


def client_context(key: str, certificate: str, authority: str) -> ssl.SSLContext:
    """TLS 1.3 for the steward: the node must show a certificate of the authority, for the name that is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    _load(context, key, certificate)
    return context


def _load(context: ssl.SSLContext, key: str, certificate: str) -> None:
    """The standard library reads keys from files only: one that nobody else can open, for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.pem"
        path.touch(mode=0o600)
        path.write_text(key + certificate)
        context.load_cert_chain(path)


def _builder(name: str, issuer: str, key: Ed25519PublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A node's clock may be behind.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: Ed25519PrivateKey) -> str:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    made = builder.add_extension(identifier, critical=False).sign(key, None)
    return made.public_bytes(Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

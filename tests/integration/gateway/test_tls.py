"""TLS from files: renewed files are for new connections, client certificates are asked for where an authority is."""

from __future__ import annotations

import datetime
import hashlib
import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilotage.errors import InputError, Unauthenticated
from pilotage.gateway.authenticate import Principals
from pilotage.gateway.plan import Key
from pilotage.gateway.tls import Certificate, Tls, TlsFiles, certificate_of

KEY = "pk_live_" + "a" * 43
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files that replace those before."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = made.public_bytes(serialization.Encoding.PEM), key.private_bytes(serialization.Encoding.PEM, *form)
    paths = folder / "tls.crt", folder / "tls.key"
    folder.mkdir(exist_ok=True)
    for path, content in zip(paths, contents, strict=True):
        path.with_suffix(".new").write_bytes(content)
        path.with_suffix(".new").replace(path)
    return paths


@pytest.fixture
def connect():
    opened = []

    def connect_to(*facts, **bounds):
        opened.append(connection(*facts, **bounds))
        return opened[-1]

    yield connect_to
    for each in opened:
        each.close()


def connection(worker, client=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client:
        context.load_cert_chain(*client)
    host, port = worker.url.removeprefix("http://").split(":")
    return http.client.HTTPSConnection(host, int(port), context=context, timeout=10)


def ask(on, key=KEY):
    headers = ({"x-api-key": key} if key else {}) | {"content-type": "application/json"}
    on.request("POST", "/v1/systems/example/decide", json.dumps({"inputs": ROW}), headers)
    reply = on.getresponse()
    reply.read()
    return reply.status


def served(on):
    return x509.load_der_x509_certificate(on.sock.getpeercert(True)).subject.rfc4514_string()


def start(stand, tls):
    stand.publish()
    worker = stand.start(wait=False, tls={name: str(path) for name, path in tls.items()})
    end = time.monotonic() + 15
    told = stand.home.run / f"gateway-{worker.number}.json"
    while worker.process.poll() is None and (not told.exists() or worker.told()["state"] != "ready"):
        assert time.monotonic() < end, worker.log.read_text()
        time.sleep(0.02)
    return worker


@pytest.mark.slow
def test_a_renewed_certificate_is_for_new_connections_and_the_open_ones_go_on(stand, tmp_path, connect):
    certificate, key = write_certificate(tmp_path / "tls", "first")
    worker = start(stand, {"certificate": certificate, "key": key})
    old = connect(worker)
    assert ask(old) == 200
    assert served(old) == "CN=first"
    write_certificate(tmp_path / "tls", "second")
    end = time.monotonic() + 5
    while True:
        fresh = connect(worker)
        assert ask(fresh) == 200
        if served(fresh) == "CN=second":
            break
        assert time.monotonic() < end
        time.sleep(0.05)
    assert ask(old) == 200
    assert served(old) == "CN=first"
    key.write_bytes(b"broken")
    time.sleep(1.3)
    broken = connect(worker)
    assert ask(broken) == 200
    assert served(broken) == "CN=second"
    assert "the ones before stay" in worker.log.read_text()
    since = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - since < 8, "it waited for clients that only rest"
    assert len(stand.decisions()) >= 4


def test_without_a_client_certificate_of_the_authority_nobody_gets_in(stand, tmp_path, connect):
    certificate, key = write_certificate(tmp_path / "server", "server")
    ours = write_certificate(tmp_path / "client", "client")
    others = write_certificate(tmp_path / "other", "other")
    worker = start(stand, {"certificate": certificate, "key": key, "client_ca": ours[0]})
    assert ask(connect(worker, ours)) == 200
    for client in (None, others):
        with pytest.raises((ssl.SSLError, OSError)):
            ask(connect(worker, client))
    assert worker.end() == 0
    assert len(stand.decisions()) == 1


def signed_by(authority: tuple[Path, Path], folder: Path, names: list[x509.GeneralName], hours: float = 1) -> Any:
    """A client's certificate of an authority, with alternative names, and its key."""
    issuer = x509.load_pem_x509_certificate(authority[0].read_bytes())
    secret: Any = serialization.load_pem_private_key(authority[1].read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [(NameOID.ORGANIZATION_NAME, "Corp, Inc"), (NameOID.COMMON_NAME, "shop")]
    subject = x509.Name([x509.NameAttribute(*part) for part in parts])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer.subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=hours))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(secret, hashes.SHA256())
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir()
    paths = folder / "c.crt", folder / "c.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


SHOP = [x509.UniformResourceIdentifier("spiffe://corp/shop"), x509.DNSName("shop.corp.example")]
SUBJECT = "subject:CN=shop,O=Corp\\, Inc"


def named(*names: str, id_: str = "shop", **facts: Any) -> Key:
    facts = {"scopes": ["decide:example"], "certificates": list(names)} | facts
    return Key(id=id_, sha256=hashlib.sha256(id_.encode()).hexdigest(), **facts)


def test_a_name_of_the_certificate_stands_for_a_key_until_it_is_taken_back(stand, tmp_path, connect):
    certificate, key = write_certificate(tmp_path / "server", "server")
    authority = write_certificate(tmp_path / "ca", "ca")
    shop = signed_by(authority, tmp_path / "shop", SHOP)
    worker = start(stand, {"certificate": certificate, "key": key, "client_ca": authority[0]})
    client = connect(worker, shop)
    assert ask(client, "") == 401, "no name was declared"
    for keys, status in (
        ([named("URI:spiffe://corp/shop")], 200),
        ([named("DNS:shop.corp.example")], 200),
        ([named(SUBJECT)], 200),
        ([named("subject:O=Corp\\, Inc,CN=shop")], 401),
        ([named("URI:spiffe://corp/shop/till")], 401),
        ([named("DNS:corp.example")], 401),
        ([named("URI:spiffe://corp/shop", expires=1)], 401),
        ([named("URI:spiffe://corp/shop", scopes=["decide:elsewhere"])], 403),
        ([named("URI:spiffe://corp/shop", networks=["192.0.2.0/24"])], 403),
        ([named("URI:spiffe://corp/shop"), named("DNS:shop.corp.example", id_="till")], 401),
        ([named("URI:spiffe://corp/shop", "DNS:shop.corp.example")], 200),
    ):
        stand.publish(keys=tuple(keys))
        since = time.monotonic()
        while ask(client, "") != status or worker.told()["plan"] < stand.version:
            assert time.monotonic() < since + 3.0, (keys, status)
            time.sleep(0.02)
        assert ask(client, "") == status
        assert ask(client, "pk_wrong") == 401, "a key in the request comes first"
    # Taken back: refused on the connection that is open.
    stand.publish(keys=())
    since = time.monotonic()
    while ask(client, "") != 401:
        assert time.monotonic() < since + 3.0
        time.sleep(0.02)
    assert worker.end() == 0
    assert {payload.principal for _, _, payload, _ in stand.decisions().values()} == {"key:shop"}


def test_an_end_of_the_certificate_is_an_end_on_open_connections_too():
    one = certificate_of({"notAfter": "Jan  1 00:00:10 2030 GMT", "subjectAltName": (("DNS", "a"),)})
    assert one is not None
    book, end = Principals([named("DNS:a")]), 1_893_456_010_000_000
    assert book.certified(one, end - 1) is not None
    with pytest.raises(Unauthenticated):
        book.certified(one, end)
    assert book.certified(Certificate(("DNS:b",), end), 0) is None
    assert certificate_of({}) is None


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path):
    certificate, right = write_certificate(tmp_path / "one", "one")
    assert Tls(TlsFiles(certificate=certificate, key=right)).context.minimum_version == ssl.TLSVersion.TLSv1_2
    _, key = write_certificate(tmp_path / "two", "two")
    for files in (
        TlsFiles(certificate=certificate, key=key),
        TlsFiles(certificate=tmp_path / "none", key=key),
    ):
        with pytest.raises(InputError) as caught:
            Tls(files)
        assert caught.value.code == "tls_unusable"

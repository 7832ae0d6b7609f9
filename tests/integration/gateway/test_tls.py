"""TLS from files: renewed files are for new connections, client certificates are asked for where an authority is."""

from __future__ import annotations

import datetime
import http.client
import json
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilotage.errors import InputError
from pilotage.gateway.tls import Tls, TlsFiles

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


def ask(on):
    headers = {"x-api-key": KEY, "content-type": "application/json"}
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

"""A remote model over a real socket: what is sent, what is taken for a score, and what a broken one cannot do."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import ssl
import traceback
from time import perf_counter

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilotage.errors import InputError, Unavailable
from pilotage.runtimes.model import Remote, ServingSpec
from pilotage.runtimes.ports import CannotAnswer
from pilotage.runtimes.remote import RemoteRuntime
from pilotage.runtimes.remote_address import checked_remote
from pilotage.testing.runtimes import check_runtime
from tests.remote_twin import KINDLY, MISDEEDS, SECRET, RemoteTwin

ROW = (1.5, 3.0, "rent", True)
PATIENCE_S = 0.6


def spec(url, **changes):
    return ServingSpec(
        runtime="remote",
        artefact="",
        names=["income", "late", "home", "member"],
        kinds=["number", "integer", "string", "boolean"],
        positive="1",
        threshold=0.5,
        adverse="refer",
        favourable="approve",
        tolerance=1e-9,
        remote=Remote(**{"url": url, "model": "late", "output": "score", **changes}),
    )


def opened(twin, environ=None, **changes):
    return RemoteRuntime(spec(twin.url, **changes), patience_s=PATIENCE_S, environ=environ or {})


def asking(does, *rows, environ=None, **changes):
    """(twin, what each row gave: a score or an error)."""

    async def run():
        async with RemoteTwin(iter(does).__next__) as twin:
            runtime = opened(twin, environ, **changes)
            await runtime.start()
            found = []
            for row in rows:
                try:
                    found.append(await runtime.score_async(row))
                except (Unavailable, InputError) as error:
                    found.append(error)
            await runtime.close()
            return twin, found

    return asyncio.run(run())


def test_it_is_a_runtime_as_the_port_says():
    async def run():
        async with RemoteTwin(lambda: "well") as twin:
            await check_runtime(lambda: opened(twin), [ROW] * 5, [0.25] * 5, ROW[:2])

    asyncio.run(run())


def test_a_row_is_sent_by_the_protocol():
    twin, found = asking(["well"], (None, 3.0, "rent", True), version="7")
    head, body = twin.seen
    assert found == [0.25] and head.startswith("POST /v2/models/late/versions/7/infer HTTP/1.1")
    assert "accept-encoding: identity" in head.lower() and "authorization" not in head.lower()
    assert body["outputs"] == [{"name": "score"}]
    assert [(each["name"], each["datatype"], each["data"]) for each in body["inputs"]] == [
        ("income", "FP64", [None]),
        ("late", "INT64", [3]),
        ("home", "BYTES", ["rent"]),
        ("member", "BOOL", [True]),
    ]
    assert {str(each["shape"]) for each in body["inputs"]} == {"[1]"} and type(body["inputs"][1]["data"][0]) is int


@pytest.mark.parametrize("does", KINDLY)
def test_what_answers_is_asked_again(does):
    _, found = asking([does, "well"], ROW, ROW)
    assert found[0] == 0.25 and (found[1] == 0.25 or (does == "closing" and isinstance(found[1], Unavailable)))


@pytest.mark.parametrize("does", MISDEEDS)
def test_what_a_broken_one_does_ends_in_time_says_nothing_of_it_and_spoils_no_other_row(does):
    started = perf_counter()
    twin, (failed, after) = asking([does, "well"], ROW, ROW)
    assert perf_counter() - started < PATIENCE_S + 1 and twin.asked[does] == 1
    assert isinstance(failed, Unavailable) and isinstance(failed, CannotAnswer) == (does == "422"), failed
    told = "".join(traceback.format_exception(failed)) + str(failed.as_dict())
    assert SECRET not in told and twin.url not in told
    assert after == 0.25


def test_a_caller_that_gives_up_leaves_its_answer_to_nobody():
    async def run():
        async with RemoteTwin(iter(["hang", "well"]).__next__) as twin:
            runtime = opened(twin)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await runtime.score_async(ROW)
            assert await runtime.score_async(ROW) == 0.25
            await runtime.close()
            with pytest.raises(Unavailable) as closed:
                await runtime.score_async(ROW)
            assert closed.value.code == "runtime_closed"

    asyncio.run(run())


@pytest.mark.parametrize("readiness", [200, 503])
def test_a_model_that_is_not_ready_is_told_and_breaks_no_plan(caplog, readiness):
    async def run():
        async with RemoteTwin(lambda: "well") as twin:
            twin.readiness = readiness
            runtime = opened(twin)
            await runtime.start()
            assert await runtime.score_async(ROW) == 0.25
            await runtime.close()

    with caplog.at_level(logging.WARNING, "pilotage"):
        asyncio.run(run())
    assert ("not ready" in caplog.text) == (readiness == 503)


def test_nobody_there_breaks_no_plan_either():
    async def run():
        runtime = RemoteRuntime(spec("http://127.0.0.1:9"), patience_s=PATIENCE_S, environ={})
        await runtime.start()
        with pytest.raises(Unavailable):
            await runtime.score_async(ROW)
        await runtime.close()

    asyncio.run(run())


def test_the_token_is_the_nodes_and_is_read_again_from_its_file(tmp_path, caplog):
    held = "PILOTAGE_REMOTE_TOKEN_SCORING"
    twin, _ = asking(["well"], ROW, environ={held: "t0ken"}, token="scoring")
    assert "authorization: bearer t0ken" in twin.seen[0].lower()
    file = tmp_path / "token"
    file.write_text("from-file\n")
    twin, _ = asking(["well"], ROW, environ={f"{held}_FILE": str(file)}, token="scoring")
    assert "authorization: bearer from-file" in twin.seen[0].lower()
    with caplog.at_level(logging.DEBUG):
        _, (failed,) = asking(["500"], ROW, environ={held: "t0ken"}, token="scoring")
    assert "t0ken" not in caplog.text + "".join(traceback.format_exception(failed))
    for value in ("", "two\r\nLines: x", "ümlaut"):
        with pytest.raises(InputError, match="no token"):
            RemoteRuntime(spec("http://[::1]:1", token="scoring"), environ={held: value, "SCORING": "another"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://models.example"),
        ("url", "https://user:hunter2@models.example"),
        ("url", "https://models.example/?a=1"),
        ("url", "https://models.example:port"),
        ("url", "file:///etc/passwd"),
        ("url", "https://"),
        ("url", "https://models.example/\r\nX: y"),
        ("model", "../admin"),
        ("output", ""),
        ("version", "1/infer?"),
        ("token", "AWS_SECRET"),
        ("token", "a_file"),
    ],
)
def test_an_address_that_may_not_be_asked_is_refused_with_the_field(field, value):
    with pytest.raises(InputError) as refused:
        checked_remote(msgspec.structs.replace(spec("https://models.example").remote, **{field: value}))
    assert [fault["path"] for fault in refused.value.faults] == [f"remote.{field}"]
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://models.example/prefix", "http://localhost:1", "http://127.9.9.9", "http://[::1]"]
)
def test_other_addresses_may_be_asked(url):
    assert checked_remote(spec(url).remote).url == url


def made_certificate(folder, *names):
    """A self-signed certificate for names and addresses, and its key: (PEM file, PEM file)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "model")])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(*form))
    return folder / "tls.crt", folder / "tls.key"


@pytest.mark.parametrize(
    ("trusted", "named", "answers"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_certificate_and_name_are_verified(tmp_path, monkeypatch, trusted, named, answers):
    name = x509.IPAddress(ipaddress.ip_address("127.0.0.1")) if named else x509.DNSName("elsewhere.example")
    certificate, key = made_certificate(tmp_path, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def run():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        async with RemoteTwin(lambda: "well", tls=context) as twin:
            runtime = opened(twin)
            try:
                return await runtime.score_async(ROW) == 0.25, twin.asked["well"]
            except Unavailable:
                return False, twin.asked["well"]
            finally:
                await runtime.close()

    assert asyncio.run(run()) == (answers, int(answers)), "no row goes to one that is not who it should be"


def test_other_releases_do_not_speak_of_it():
    plain = msgspec.structs.replace(spec("https://models.example"), runtime="onnx", remote=msgspec.UNSET)
    assert "remote" not in msgspec.to_builtins(plain)
    assert msgspec.json.decode(msgspec.json.encode(plain), type=ServingSpec) == plain

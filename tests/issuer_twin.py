"""An OpenID Connect issuer on 127.0.0.1: discovery, keys, tokens. Signs with `cryptography` alone, no JOSE library."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

AUDIENCE = "pilotage"


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def part(value: Any) -> str:
    return b64(json.dumps(value).encode())


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class SigningKey:
    """A private key of one algorithm, and the JWK of its public part."""

    def __init__(self, kid: str = "k1", algorithm: str = "RS256") -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any
        if algorithm[:2] in ("RS", "PS"):
            self.private = _RSA.get(kid) or _RSA.setdefault(kid, rsa.generate_private_key(65_537, 2_048))
        elif algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()

    def jwk(self, **changes: Any) -> dict[str, Any]:
        public, facts = self.private.public_key(), {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            facts |= {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        elif isinstance(public, ec.EllipticCurvePublicKey):
            point = public.public_numbers()
            facts |= {"kty": "EC", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)}
        else:
            facts |= {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        return facts | changes

    def sign(self, content: bytes) -> bytes:
        if self.algorithm.startswith("RS"):
            return self.private.sign(content, padding.PKCS1v15(), hashes.SHA256())
        if self.algorithm.startswith("PS"):
            return self.private.sign(content, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        if self.algorithm == "ES256":
            r, s = utils.decode_dss_signature(self.private.sign(content, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.private.sign(content)

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        """A signed token; a header of None is left out."""
        head = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid} | header
        signed = part({name: value for name, value in head.items() if value is not None}) + "." + part(claims)
        return f"{signed}.{b64(self.sign(signed.encode()))}"


_RSA: dict[str, Any] = {}


class IssuerTwin:
    """What the issuer is: `keys` are published, `asked` counts requests by path; `away` closes each connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = [SigningKey()]
        self.asked: Counter[str] = Counter()
        self.away, self.wait_s = False, 0.0
        self.document: dict[str, Any] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.raw: bytes | None = None
        self.answers: dict[str, Any] = {}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims of an access token; a change to None leaves one out."""
        now = int(time.time())
        facts = {"iss": self.url, "aud": AUDIENCE, "sub": "s-1", "iat": now, "exp": now + 600, "groups": ["desk"]}
        return {name: value for name, value in (facts | changes).items() if value is not None}

    def token(self, key: SigningKey | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return (key or self.keys[0]).token(self.claims(**changes), **(header or {}))


@contextmanager
def issuer_twin() -> Iterator[IssuerTwin]:
    """An issuer that answers until the end of the context."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            twin, path = server.twin, self.path.partition("?")[0]
            twin.asked[path] += 1
            time.sleep(twin.wait_s)
            if twin.away:
                self.close_connection = True
                return
            if path == "/.well-known/openid-configuration":
                body = json.dumps(twin.document).encode()
            elif path == "/keys":
                body = twin.raw or json.dumps({"keys": [key.jwk() for key in twin.keys]}).encode()
            else:
                self.send_error(404)
                return
            self._send(body)

        def do_POST(self) -> None:
            twin = server.twin
            twin.asked[self.path] += 1
            content = self.rfile.read(int(self.headers["content-length"]))
            status, body = twin.answers[self.path](content, self.headers)
            self._send(json.dumps(body).encode(), status)

        def _send(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        twin: IssuerTwin
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Answer)
    server.twin = IssuerTwin(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.twin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

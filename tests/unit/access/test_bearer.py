"""Tokens against the rules of RFC 7515, 7519, 8725 and 9068: every fault is refused, each by its own check."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.access.bearer import verify
from pilotage.access.issuer_keys import IssuerKeys, readable_keys
from pilotage.access.issuers import Grant, Issuer, rights_of, safe_url
from pilotage.access.unknown_key import UnknownKey
from pilotage.errors import Unauthenticated
from pilotage.gateway.plan import ServingPlan, decode_plan, encode_plan
from tests.issuer_twin import SigningKey, b64, part

URL, NOW = "https://issuer.example", 1_800_000_000
RSA, PSS, EC, ED = (
    SigningKey("rsa"),
    SigningKey("rsa", "PS256"),
    SigningKey("ec", "ES256"),
    SigningKey("ed", "EdDSA"),
)
GRANT = Grant(claim="groups", value="desk", right="decide:credit")


def issuer(**changes):
    keys = json.dumps({"keys": [RSA.jwk(alg="RS256"), PSS.jwk(kid="pss"), EC.jwk(), ED.jwk()]})
    facts = {"name": "corp", "issuer": URL, "audiences": ("pilotage",), "grants": (GRANT,), "keys": keys}
    return Issuer(**(facts | changes))


def claims(**changes):
    facts = {"iss": URL, "aud": "pilotage", "sub": "s-1", "iat": NOW - 10, "exp": NOW + 600, "groups": ["desk"]}
    return {name: value for name, value in (facts | changes).items() if value is not None}


def check(token, at=NOW, folder="/nonexistent", kind="access", tell=lambda _: None, **changes):
    told = issuer(**changes)
    keys = IssuerKeys(told, Path(folder), lambda: at * 1_000_000)
    return verify(token.encode() if isinstance(token, str) else token, told, keys, at * 1_000_000, kind=kind, tell=tell)


@pytest.mark.parametrize("key", [RSA, PSS, EC, ED], ids=["RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_of_each_kind_of_key_is_good(key):
    steps = []
    header = {"kid": "pss"} if key is PSS else {}
    found = check(key.token(claims(), **header), tell=steps.append)
    assert found.name == f"{URL}|s-1"
    assert found.expires == (NOW + 600 + 60) * 1_000_000
    assert rights_of(found.claims, [GRANT]).scopes == ("decide:credit",)
    assert len(steps) == 8
    assert not any("s-1" in step for step in steps)


def hs256_with_public_key():
    signed = part({"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}) + "." + part(claims())
    public = json.dumps(RSA.jwk()).encode()
    return f"{signed}.{b64(hmac.digest(public, signed.encode(), 'sha256'))}"


def unsigned(algorithm="none"):
    return part({"alg": algorithm, "kid": "rsa"}) + "." + part(claims()) + "."


def twice(where):
    header = '{"alg":"RS256","alg":"RS256","kid":"rsa"}' if where == "header" else '{"alg":"RS256","kid":"rsa"}'
    body = json.dumps(claims())
    body = body[:-1] + ',"sub":"s-2"}' if where == "claims" else body
    signed = b64(header.encode()) + "." + b64(body.encode())
    return f"{signed}.{b64(RSA.sign(signed.encode()))}"


def loose(token):
    """The same bytes in another form: the last letter's bits that count for nothing are set."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) + 1]


ANOTHER = SigningKey("another")

FAULTS = {
    "empty": ("", "three parts"),
    "words": ("eyJ not a token", "three parts"),
    "two parts": (RSA.token(claims()).rpartition(".")[0], "three parts"),
    "five parts, encrypted": ("a.b.c.d.e", "three parts"),
    "long": (RSA.token(claims(x="y" * 20_000)), "longer"),
    "long header": (RSA.token(claims(), x="y" * 3_000), "header is too long"),
    "no base64": ("a!." + part(claims()) + ".AAAA", "base64url"),
    "in another form": (loose(ED.token(claims())), "base64url"),
    "padded": (RSA.token(claims()) + "=", "base64url"),
    "header is a list": (part(["RS256"]) + "." + part(claims()) + ".AAAA", "no JSON object"),
    "claims are no JSON": (part({"alg": "RS256"}) + "." + b64(b"{'a': 1}") + ".AAAA", "no JSON object"),
    "deep": (part({"alg": "RS256"}) + "." + b64(b"[" * 9_000) + ".AAAA", "no JSON object"),
    "a name twice in the header": (twice("header"), "unique"),
    "a name twice in the claims": (twice("claims"), "unique"),
    "none": (unsigned() + "AAAA", "algorithm"),
    "None": (unsigned("None") + "AAAA", "algorithm"),
    "none and no signature": (unsigned(), "base64url"),
    "HS256 with the public key": (hs256_with_public_key(), "algorithm"),
    "an algorithm that is not allowed": (RSA.token(claims(), alg="RS512"), "algorithm"),
    "an algorithm that is no text": (RSA.token(claims(), alg=["RS256"]), "algorithm"),
    "no algorithm": (RSA.token(claims(), alg=None), "algorithm"),
    "jku": (RSA.token(claims(), jku="https://evil.example/keys"), "jku"),
    "x5u": (RSA.token(claims(), x5u="https://evil.example/cert"), "x5u"),
    "x5c": (RSA.token(claims(), x5c=["MIIB"]), "x5c"),
    "its own key": (ANOTHER.token(claims(), jwk=ANOTHER.jwk(), kid="rsa"), "jwk"),
    "crit": (RSA.token(claims(), crit=["exp"]), "crit"),
    "b64": (RSA.token(claims(), b64=False), "b64"),
    "zip": (RSA.token(claims(), zip="DEF"), "zip"),
    "kid is no text": (RSA.token(claims(), kid=1), "key's id"),
    "another type": (RSA.token(claims(), typ="logout+jwt"), "type"),
    "a type that is no text": (RSA.token(claims(), typ=7), "type"),
    "signed by another": (ANOTHER.token(claims(), kid="rsa"), "signature"),
    "signed otherwise": (SigningKey("rsa", "PS256").token(claims(), alg="RS256"), "signature"),
    "claims changed": (
        (lambda h, _, s: f"{h}.{part(claims(sub='admin'))}.{s}")(*RSA.token(claims()).split(".")),
        "signature",
    ),
    "signature cut": (RSA.token(claims())[:-4], "signature"),
    "ES256 signature in DER": (EC.token(claims())[:-86] + b64(b"0" * 70), "signature"),
    "another issuer": (RSA.token(claims(iss="https://evil.example")), "another issuer"),
    "an issuer with a slash": (RSA.token(claims(iss=URL + "/")), "another issuer"),
    "no issuer": (RSA.token(claims(iss=None)), "another issuer"),
    "another audience": (RSA.token(claims(aud="mail")), "audience"),
    "another audiences": (RSA.token(claims(aud=["mail", "disk"])), "audience"),
    "an audience that contains ours": (RSA.token(claims(aud="pilotage-test")), "audience"),
    "no audience": (RSA.token(claims(aud=None)), "audience"),
    "an audience in an object": (RSA.token(claims(aud={"pilotage": 1})), "audience"),
    "no end": (RSA.token(claims(exp=None)), "when it ends"),
    "an end in words": (RSA.token(claims(exp="tomorrow")), "exp is no time"),
    "an end that is true": (RSA.token(claims(exp=True)), "exp is no time"),
    "an endless end": (RSA.token(claims(exp=1e300)), "exp is no time"),
    "over": (RSA.token(claims(exp=NOW - 61)), "expired"),
    "not yet": (RSA.token(claims(nbf=NOW + 61)), "not good yet"),
    "from the future": (RSA.token(claims(iat=NOW + 61)), "future"),
    "a long life": (RSA.token(claims(exp=NOW + 90_000)), "too long"),
    "a long life, no beginning": (RSA.token(claims(exp=NOW + 90_000, iat=None)), "too long"),
    "an ID token": (RSA.token(claims(nonce="n")), "no access token"),
    "an ID token with a hash": (RSA.token(claims(at_hash="h")), "no access token"),
    "a refresh token": (RSA.token(claims(typ="Refresh")), "no access token"),
    "bound to a key": (RSA.token(claims(cnf={"jkt": "x"})), "bound"),
    "nobody's": (RSA.token(claims(sub=None)), "whose"),
    "an empty subject": (RSA.token(claims(sub="")), "whose"),
    "a subject that is a number": (RSA.token(claims(sub=7)), "whose"),
    "a long subject": (RSA.token(claims(sub="s" * 256)), "whose"),
    "a subject of two lines": (RSA.token(claims(sub="a\nb")), "whose"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_refused_by_its_own_check(name):
    token, words = FAULTS[name]
    with pytest.raises(Unauthenticated) as caught:
        check(token)
    assert words in caught.value.what
    assert caught.value.code == ("token_expired" if name == "over" else "token_invalid")
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("header", [{"kid": "new"}, {"kid": None}, {"kid": "ec"}, {"kid": "pss"}])
def test_a_key_that_is_not_there_or_is_for_another_algorithm_is_unknown(header):
    keys = {"keys": json.dumps({"keys": [RSA.jwk(), ANOTHER.jwk(), PSS.jwk(kid="pss"), EC.jwk()]})}
    with pytest.raises(UnknownKey):
        check(RSA.token(claims(), **header), **keys)


def test_without_a_kid_the_only_key_that_fits_is_used():
    assert check(EC.token(claims(), kid=None)).subject == "s-1"
    assert check(RSA.token(claims(), kid=None), keys=json.dumps({"keys": [RSA.jwk(kid="x")]})).subject == "s-1"


@pytest.mark.parametrize(
    ("changes", "settings_", "good"),
    [
        ({"exp": NOW - 59}, {}, True),
        ({"exp": NOW}, {"skew_s": 0}, False),
        ({"nbf": NOW + 59}, {}, True),
        ({"nbf": NOW + 1}, {"skew_s": 0}, False),
        ({"aud": ["mail", "pilotage"]}, {}, True),
        ({"aud": "two"}, {"audiences": ("one", "two")}, True),
        ({"exp": NOW + 0.5}, {}, True),
        ({}, {"not_before": (NOW - 10) * 1_000_000}, True),
        ({}, {"not_before": (NOW - 9) * 1_000_000}, False),
        ({"iat": None}, {"not_before": 1}, False),
        ({"exp": NOW + 90_000}, {"life_s": 100_000}, True),
    ],
)
def test_times_audiences_and_revocation(changes, settings_, good):
    if good:
        assert check(RSA.token(claims(**changes)), **settings_)
        return
    with pytest.raises(Unauthenticated):
        check(RSA.token(claims(**changes)), **settings_)


def test_an_id_token_is_for_the_console_alone():
    token = RSA.token(claims(aud="console", nonce="n"), typ="JWT")
    assert check(token, kind="id", client="console").claims["nonce"] == "n"
    for wrong, facts in (
        (RSA.token(claims(aud="pilotage"), typ="JWT"), {}),
        (RSA.token(claims(aud=["console"], azp="other"), typ="JWT"), {}),
        (RSA.token(claims(aud="console"), typ="at+jwt"), {}),
    ):
        with pytest.raises(Unauthenticated):
            check(wrong, kind="id", client="console", **facts)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_one_character_is_accepted(data):
    good = _TOKEN
    at = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.sampled_from([c for c in "AQgwZz09-_.=~\x00 " if c != good[at]]))
    with pytest.raises((Unauthenticated, UnknownKey)):
        check(good[:at] + letter + good[at + 1 :])


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: b"eyJhbGciOiJSUzI1NiJ9." + text.encode()))
)
def test_whatever_is_sent_is_refused_and_nothing_else_is_raised(token):
    with pytest.raises((Unauthenticated, UnknownKey)):
        check(token)


_TOKEN = ED.token(claims())


def test_the_vectors_of_rfc_7515():
    """Appendix A.2 (RS256) and A.3 (ES256): the signature is good, so that the claims are reached and found wanting."""
    payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    rsa = {
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-S"
        "Fd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R"
        "2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9"
        "gb54h4FRWyuXpoQ",
        "e": "AQAB",
    }
    rsa_signature = (
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUA"
        "r7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
        "xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Io"
        "ypGlUPQGe77Rw"
    )
    ec = {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
    ec_signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    for key, header, signature in (
        (rsa, "eyJhbGciOiJSUzI1NiJ9", rsa_signature),
        (ec, "eyJhbGciOiJFUzI1NiJ9", ec_signature),
    ):
        steps, facts = [], {"keys": json.dumps({"keys": [key]}), "issuer": "joe", "at": 1_300_819_000}
        with pytest.raises(Unauthenticated) as caught:
            check(f"{header}.{payload}.{signature}", tell=steps.append, **facts)
        assert "signature is the issuer's" in steps[3]
        assert "audience" in caught.value.what
        broken = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
        with pytest.raises(Unauthenticated) as caught:
            check(f"{header}.{payload}.{broken}", **facts)
        assert "signature" in caught.value.what


def test_rfc_7519_section_3_1_needs_a_shared_secret_and_is_refused():
    token = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNv"
        "bS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(secret + "==")
    assert b64(hmac.new(raw, signed.encode(), hashlib.sha256).digest()) == signature, "the vector is as printed"
    keys = json.dumps({"keys": [{"kty": "oct", "k": secret}, RSA.jwk()]})
    with pytest.raises(Unauthenticated):
        check(token, at=1_300_819_000, keys=keys, issuer="joe")


def test_only_keys_that_can_verify_are_read():
    short = {"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB", "kid": "short"}
    secret = RSA.jwk(d="AQAB")
    found = readable_keys(
        [short, secret, {"kty": "oct", "k": "AAAA"}, RSA.jwk(use="enc"), {"kty": "EC"}, {}, RSA.jwk(kid=7), EC.jwk()]
    )
    assert [key.as_dict(private=False)["kid"] for key in found] == ["ec"]


@pytest.mark.parametrize(
    ("claims_", "rights"),
    [
        ({"groups": ["a", "desk"]}, ("decide:credit",)),
        ({"groups": "desk"}, ("decide:credit",)),
        ({"groups": "desk a"}, ()),
        ({"groups": ["Desk"]}, ()),
        ({"groups": {"desk": True}}, ()),
        ({"groups": [7, None, ["desk"]]}, ()),
        ({"scope": "read all"}, ("outcome:*",)),
        ({"realm": {"roles": ["desk"]}}, ("decide:*",)),
        ({"realm.roles": ["desk"]}, ("decide:*",)),
        ({"realm": "roles"}, ()),
        ({}, ()),
    ],
)
def test_claims_give_what_grants_say(claims_, rights):
    grants = [
        GRANT,
        Grant(claim="scope", value="all", right="outcome:*"),
        Grant(claim="realm.roles", value="desk", right="decide:*"),
    ]
    assert rights_of({"sub": "s"} | claims_, grants).scopes == rights


@pytest.mark.parametrize(
    ("facts", "service"),
    [({}, False), ({"client_id": "s"}, True), ({"azp": "s"}, True), ({"azp": "x"}, False), ({"idtyp": "app"}, True)],
)
def test_a_client_that_speaks_for_itself_is_a_service(facts, service):
    assert rights_of({"sub": "s"} | facts, []).service is service
    assert rights_of({"sub": "s", "bot": "y"}, [Grant(claim="bot", value="y", right="service")]).service


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://issuer.example/realms/x", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080/x", True),
        ("http://issuer.example", False),
        ("https://issuer.example?x=1", False),
        ("https://issuer.example#x", False),
        ("https://me@issuer.example", False),
        ("https://a|b", False),
        ("https://issuer.example:port", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_addresses_over_tls_or_on_this_machine(url, safe):
    assert safe_url(url) is safe


def test_a_plan_carries_an_issuer_as_it_is():
    plan = ServingPlan(version=1, created=1, steward_key="00", routes=[], keys=[], issuers=[issuer(skew_s=7)])
    assert decode_plan(encode_plan(plan)[0]) == plan
    assert msgspec.convert(msgspec.to_builtins(issuer()), Issuer) == issuer()

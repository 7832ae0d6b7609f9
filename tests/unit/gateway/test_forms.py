import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pilotage.gateway.forms import AnsweredForms
from pilotage.ledger.record import Attempt, Plain, Times, decode_leaf

FACTS = {
    "system": 'crédit "x" 100%s',
    "release": "sha256:1",
    "environment": "sha256:2",
    "contract": "sha256:3",
    "policy": "sha256:4",
    "plan": "sha256:5",
    "stage": "internal",
    "arm": "champion",
}
FORMS = AnsweredForms(**FACTS, target="onnx@1%d")
micros = st.integers(min_value=0, max_value=2**53)


@given(micros, micros, st.integers(min_value=0, max_value=10**10))
def test_a_filled_form_is_what_msgspec_would_have_written(received, contract_us, answer_us):
    plain = Plain(
        id="id-1",
        request_id="id-2",
        trace="ab",
        **FACTS,
        outcome="answered",
        attempts=[Attempt(target="onnx@1%d", ms=answer_us / 1_000, status="ok")],
        times=Times(received=received, contract=contract_us, answer=answer_us),
        commitment="cd",
    )
    written = FORMS.plain("id-1", "id-2", "ab", received, contract_us, answer_us, "cd")
    assert decode_leaf(written) == plain
    if answer_us % 10:
        again = written.replace(
            b'"ms":%d.%03d' % divmod(answer_us, 1_000), b'"ms":' + msgspec.json.encode(answer_us / 1_000)
        )
        assert again == msgspec.json.encode(plain), "the field order is msgspec's"


@given(st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_a_reply_is_json(score, label):
    label = label.encode(errors="replace").decode()
    assert json.loads(FORMS.reply("id-1", "id-2", score, label)) == {
        "id": "id-1",
        "request_id": "id-2",
        "system": FACTS["system"],
        "release": "sha256:1",
        "outcome": "answered",
        "answer": {"score": score, "label": label},
    }

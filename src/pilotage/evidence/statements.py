"""Evidence as in-toto Statements with the test-result predicate, so that others can read it with their own tools.

The one test is the check; its configuration is a resource whose digest is the evidence's own, the one that approvals
bind, and whose annotations hold all that the evidence says.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pilotage.errors import InputError
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import content_digest
from pilotage.ledger.envelope import statement

__all__ = ["TEST_RESULT", "evidence_in", "evidence_statement"]

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


def evidence_statement(evidence: Evidence, subject: str) -> dict[str, Any]:
    """The statement about a subject, `subject` being its name; the evidence's own subject must be a digest."""
    named = "passedTests" if evidence.passed else "failedTests"
    configuration = {
        "name": evidence.check,
        "digest": {"sha256": content_digest(evidence).removeprefix("sha256:")},
        "annotations": msgspec.to_builtins(evidence),
    }
    predicate: dict[str, Any] = {
        "result": "PASSED" if evidence.passed else "FAILED",
        "configuration": [configuration],
        "passedTests": [],
        "warnedTests": [],
        "failedTests": [],
    }
    return statement(TEST_RESULT, {subject: evidence.subject}, predicate | {named: [evidence.check]})


def evidence_in(said: dict[str, Any]) -> Evidence:
    """The evidence in a statement that `evidence_statement` made. Raises InputError for any other."""
    try:
        (configuration,) = said["predicate"]["configuration"]
        found = msgspec.convert(configuration["annotations"], Evidence)
        (subject,) = said["subject"]
        told = evidence_statement(found, subject["name"])
    except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
        raise _not_evidence(str(error)) from None
    if told != said:
        raise _not_evidence("it says one thing in its result and another in its annotations")
    return found


def _not_evidence(got: str) -> InputError:
    return InputError(
        "the statement is no evidence of an installation",
        got=got[:200],
        expected=f"a predicate of type {TEST_RESULT} with all of the evidence in its annotations",
        mend="export it again: pilotage release export",
    )

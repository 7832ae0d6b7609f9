"""`pilotage release model-signing sign|verify`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import Call, Installed
from tests.unit.releases.test_model_signing import write_keys


def test_a_release_is_signed_for_hubs_and_verified(call: Call, installed: Installed, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    bundle = tmp_path / "model.sig"
    words = ("release", "model-signing", "sign", installed.release.digest, "--key", str(private), "--out", str(bundle))
    code, out, err = call(*words, "--json", role="auditor")
    assert code == 0, err
    assert json.loads(out)["digest"].startswith("sha256:") and bundle.is_file()
    code, _, err = call(*words, role="auditor")
    assert code == 1 and "cannot write" in err, "a bundle that is there stays"
    verify = ("release", "model-signing", "verify", "--bundle", str(bundle))
    code, out, err = call(*verify, "--key", str(public), installed.release.digest)
    assert code == 0 and out.startswith("holds"), err
    other = write_keys(tmp_path, "other")[1]
    code, _, err = call(*verify, "--key", str(other), installed.release.digest)
    assert code == 1 and "does not prove" in err and "mend" in err


def test_who_may_not_export_does_not_sign(call: Call, installed: Installed, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path)
    out = str(tmp_path / "model.sig")
    words = ("release", "model-signing", "sign", installed.release.digest, "--key", str(private), "--out", out)
    code, _, err = call(*words, role="business_owner")
    assert code == 1 and "forbidden" in err and not Path(out).exists()

"""The operator's own certificate, before anything is rented."""

from pathlib import Path

import pytest

from provisioning.certificate import certificate_problems
from provisioning.server_problems import server_problems
from provisioning.settings import Settings
from tests.unit.certificates import NOW, certificate
from tests.unit.program import given


@pytest.mark.parametrize(
    ("name", "days", "changes", "said"),
    [
        ("lab.example.com", 90, {}, []),
        ("*.example.com", 90, {}, []),
        ("other.example.com", 90, {}, ["certificateFile: it is not for lab.example.com"]),
        ("lab.example.com", 5, {}, ["certificateFile: it ends on 2026-12-01"]),
        ("lab.example.com", -1, {}, ["certificateFile: it ends on 2026-11-25"]),
        ("lab.example.com", 90, {"domain": ""}, ["certificateFile: it has no effect without"]),
        ("lab.example.com", 90, {"certificateKeyFile": ""}, ["certificateKeyFile: it is missing"]),
        (
            "lab.example.com",
            90,
            {"certificateFile": "/nowhere/cert.pem"},
            ["certificateFile: /nowhere/cert.pem cannot be read"],
        ),
        (
            "lab.example.com",
            90,
            {"certificateKeyFile": "FOLDER/cert.pem"},
            ["certificateKeyFile: FOLDER/cert.pem is no private key"],
        ),
        (
            "lab.example.com",
            90,
            {"certificateFile": "FOLDER/cert.key"},
            ["certificateFile: FOLDER/cert.key is no certificate"],
        ),
        (
            "lab.example.com",
            90,
            {"certificateKeyFile": "FOLDER/other/cert.key"},
            ["certificateKeyFile: it is another certificate's key"],
        ),
    ],
)
def test_what_cannot_serve_the_domain_is_said(
    tmp_path: Path, name: str, days: int, changes: dict[str, str], said: list[str]
) -> None:
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other", name)
    told = {"domain": "lab.example.com", **certificate(tmp_path, name, days), **changes}
    told = {key: value.replace("FOLDER", str(tmp_path)) for key, value in told.items()}
    settings = Settings.model_validate(given("dev", tmp_path) | told)
    found = list(certificate_problems(settings, NOW))
    assert len(found) == len(said)
    for problem, words in zip(found, said, strict=True):
        assert words.replace("FOLDER", str(tmp_path)) in str(problem)
        assert problem.warning == (days == 5)


@pytest.mark.parametrize("domain", ["", "lab.example.com"])
def test_ssh_may_have_a_port_of_tls_where_there_is_no_domain(tmp_path: Path, domain: str) -> None:
    settings = Settings.model_validate(given("dev", tmp_path) | {"domain": domain, "sshPort": 443})
    assert ("sshPort" in {p.path for p in server_problems(settings)}) == bool(domain)

"""The door's certificate, where it is the operator's own: looked at before anything is rented."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from provisioning.problems import PlanError, Problem
from provisioning.settings import Settings

_SOON = timedelta(days=14)


def certificate_problems(settings: Settings, now: datetime) -> Iterator[Problem]:
    """What keeps `certificateFile` and `certificateKeyFile` from serving `domain`."""
    if not (settings.certificate_file or settings.certificate_key_file):
        return
    try:
        yield from _problems(settings, now)
    except PlanError as error:
        yield error.problem


def _problems(settings: Settings, now: datetime) -> Iterator[Problem]:
    if not settings.domain:
        right = "name the domain that it is for, or leave it out"
        raise PlanError("certificateFile", "it has no effect without domain", right)
    path = "certificateFile"
    content = _read(path, settings.certificate_file)
    key_content = _read("certificateKeyFile", settings.certificate_key_file)
    try:
        found = x509.load_pem_x509_certificate(content)
    except ValueError:
        right = "name a PEM file: your certificate first, then those between it and the root"
        raise PlanError(path, f"{settings.certificate_file} is no certificate", right) from None
    try:
        key = load_pem_private_key(key_content, password=None)
    except (ValueError, TypeError):
        wrong = f"{settings.certificate_key_file} is no private key without a passphrase"
        raise PlanError("certificateKeyFile", wrong, "name a PEM file") from None
    if key.public_key() != found.public_key():
        yield Problem("certificateKeyFile", "it is another certificate's key", "name its own")
    if not _covers(found, settings.domain):
        wrong = f"it is not for {settings.domain}"
        yield Problem(path, wrong, "name one whose alternative names have the domain")
    if (ends := found.not_valid_after_utc) < now + _SOON:
        wrong = f"it ends on {ends:%Y-%m-%d}"
        yield Problem(path, wrong, "have it renewed", warning=ends > now)


def _read(path: str, name: str) -> bytes:
    if not name:
        raise PlanError(path, "it is missing", "name both files, certificate and key, or none")
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        wrong = f"{name} cannot be read: {error.strerror}"
        raise PlanError(path, wrong, "name a file that you may read") from None


def _covers(certificate: x509.Certificate, domain: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    wanted = {domain, f"*.{domain.partition('.')[2]}"}
    return bool(wanted & {name.lower() for name in names.get_values_for_type(x509.DNSName)})

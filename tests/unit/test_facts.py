"""What code and tests say of the services can be looked up: every reference has its page."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "docs" / "facts"
PAGE = re.compile(r"[\w./-]*(?:facts/[\w-]+\.(?:md|json)|measured\.md)")
SECTION = re.compile(
    r"docs/facts/(?P<page>[\w-]+)\.md`?,?\s(?:#\s*)?§(?P<section>\d+(?:\.\d+)?(?:\sF\d+)?)"
)
NUMBERED = re.compile(r"^(?:#+ )(\d+(?:\.\d+)?)\.? ", re.MULTILINE)
FINDING = re.compile(r"^(F\d+) ", re.MULTILINE)


def _texts() -> list[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    kinds = {".py", ".sh", ".md", ".yaml"}
    names = [name for name in listed if Path(name).suffix in kinds and "cases/" not in name]
    return [
        (name, (ROOT / name).read_text(encoding="utf-8"))
        for name in names
        if (ROOT / name).is_file()
    ]


def _sections(page: str) -> set[str]:
    text = (FACTS / f"{page}.md").read_text(encoding="utf-8")
    found = set(NUMBERED.findall(text))
    return found | {f"1 {finding}" for finding in FINDING.findall(text)}


def test_every_reference_has_its_page() -> None:
    missing = []
    for name, text in _texts():
        if name.startswith("docs/facts/") or name == "tests/unit/test_facts.py":
            continue
        for reference in PAGE.findall(text):
            from_here = (ROOT / name).parent / reference
            if not (ROOT / reference).is_file() and not from_here.is_file():
                missing.append(f"{name}: {reference}")
    assert not missing


def test_every_reference_has_its_section() -> None:
    missing = []
    for name, text in _texts():
        for reference in SECTION.finditer(text):
            section = " ".join(reference["section"].split())
            if section not in _sections(reference["page"]):
                missing.append(f"{name}: {reference['page']}.md §{section}")
    assert not missing

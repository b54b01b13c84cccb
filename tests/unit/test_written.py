"""The READMEs agree, and what is said of the services can be looked up: references have pages."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

from tests.readme import RUN, STOP, TRY, commands
from tests.unit.program import PROJECT

ENGLISH, CHINESE = PROJECT / "README.md", PROJECT / "README.zh-CN.md"
FACTS = PROJECT / "docs" / "facts"
PAGE = re.compile(r"[\w./-]*(?:facts/[\w-]+\.(?:md|json)|measured\.md)")
SECTION = re.compile(
    r"docs/facts/(?P<page>[\w-]+)\.md`?,?\s(?:#\s*)?§(?P<section>\d+(?:\.\d+)?(?:\sF\d+)?)"
)
NUMBERED = re.compile(r"^(?:#+ )(\d+(?:\.\d+)?)\.? ", re.MULTILINE)
FINDING = re.compile(r"^(F\d+) ", re.MULTILINE)


def test_both_languages_give_the_same_commands() -> None:
    """tests/rehearsal/test_readme.py runs them."""
    for section in (TRY, RUN, STOP):
        assert commands(ENGLISH, section).strip()
        assert commands(ENGLISH, section) == commands(CHINESE, section)


def test_the_plugins_are_those_that_the_packages_ask_for() -> None:
    named = re.findall(r"plugin install resource (\S+) v(\S+)$", commands(ENGLISH, RUN), re.M)
    installed = {name: importlib.metadata.version(f"pulumi-{name}") for name, _ in named}
    assert dict(named) == installed
    assert {"alicloud", "command", "docker"} == set(installed)


def _texts() -> dict[str, str]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True)
    paths = [PROJECT / name for name in run.stdout.split() if "cases/" not in name]
    kinds = {".py", ".sh", ".md", ".yaml"}
    kept = [path for path in paths if path.suffix in kinds and path.is_file()]
    return {str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8") for path in kept}


def _sections(page: str) -> set[str]:
    text = (FACTS / f"{page}.md").read_text(encoding="utf-8")
    return {*NUMBERED.findall(text), *(f"1 {finding}" for finding in FINDING.findall(text))}


def test_every_reference_has_its_page_and_its_section() -> None:
    missing = []
    here = str(Path(__file__).relative_to(PROJECT))
    for name, text in _texts().items():
        folder = (PROJECT / name).parent
        pages = () if name.startswith("docs/facts/") or name == here else PAGE.findall(text)
        for page in pages:
            if not (PROJECT / page).is_file() and not (folder / page).is_file():
                missing.append(f"{name}: {page}")
        for reference in SECTION.finditer(text):
            section = " ".join(reference["section"].split())
            if section not in _sections(reference["page"]):
                missing.append(f"{name}: {reference['page']}.md §{section}")
    assert not missing

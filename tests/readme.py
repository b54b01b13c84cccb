"""The commands that a README gives, as a new user would copy them."""

import re
import textwrap
from pathlib import Path

TRY, RUN, STOP = "try", "run", "stop"
"""What its sections are for; README.md and README.zh-CN.md have them under their own titles."""

_SECTIONS = {
    "README.md": {
        TRY: "Try it, without an account",
        RUN: "Run it for real",
        STOP: "How to stop paying",
    },
    "README.zh-CN.md": {TRY: "不需要账号，先试一试", RUN: "正式使用", STOP: "如何停止付费"},
}


def commands(readme: Path, section: str) -> str:
    """The code blocks of a section, in their order, without comments.

    Raises:
        KeyError: the README has no such section.
    """
    title = _SECTIONS[readme.name][section]
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", readme.read_text(), re.M | re.S))
    blocks = re.findall(r"^ *```\n(.*?)^ *```$", parts[title], re.M | re.S)
    text = "".join(textwrap.dedent(block) for block in blocks)
    return re.sub(r" +#.*$", "", text, flags=re.M)

"""A token vocabulary that is large enough to count with: one token a byte (docs/facts/oneapi.md
§9).

Only for where OneAPI's counts do not matter; the real file is much larger.
"""

import base64
from pathlib import Path

CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""What v0.6.6 and v0.6.10 read; sha1 of the file's URL."""
O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""What v0.6.10 reads besides."""


def write_small(folder: Path, *names: str) -> None:
    """Put a vocabulary of 256 tokens under each of `names` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    text = "".join(lines)
    for name in names:
        (folder / name).write_text(text)

"""The text of an uploaded file or of a web page, without Markdown (docs/facts/fastgpt.md §4)."""

import io
import os
import re
import zipfile
from collections.abc import Callable
from xml.etree import ElementTree

import chardet
import httpx
from bs4 import BeautifulSoup

from provisioning.pdf_text import pdf_pages
from rehearsal.doubles.fastgpt.envelope import Problem

_PARTS = r"word/document\d*\.xml|ppt/(slides|notesSlides)/\w+\.xml|xl/(sharedS|worksheets/).*\.xml"


def file_text(name: str, content: bytes) -> str:
    """The text of the file `name`, empty for a scanned PDF; a Problem of what is no such file."""
    kind = name.rpartition(".")[2].lower()
    if kind not in _READERS:
        raise Problem("Only support .txt, .md, .html, .pdf, .docx, pptx, .csv, .xlsx")
    try:
        # A mark in front falls away with the white space around a chunk (JavaScript's trim).
        return _READERS[kind](content).removeprefix("\ufeff")
    except Exception as error:
        raise Problem(f"read file error: {error}") from None


def fetched(link: str) -> tuple[str, str]:
    """Title and text of a web page. A Problem: it cannot be had."""
    try:
        url = httpx.URL(link)
        if os.environ.get("REHEARSAL_HOSTS") and url.port is None:
            # In a rehearsed container the web's ports are the outside world's one, without TLS.
            port = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or 8080)
            url = url.copy_with(scheme="http", port=port)
        answer = httpx.get(url, timeout=20, follow_redirects=True, trust_env=False)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Problem(str(error)) from error
    return html_text(answer.text)


def html_text(page: str) -> tuple[str, str]:
    soup = BeautifulSoup(page, "html.parser")
    for dropped in soup(["script", "style"]):
        dropped.decompose()
    title = soup.title.get_text().strip() if soup.title else ""
    return title, (soup.body or soup).get_text("\n", strip=True)


def _plain(content: bytes) -> str:
    """Of what is no Unicode with a mark, UTF-8 or ASCII, all is GBK to FastGPT."""
    sample, encoding = content[:200], "gbk"
    if sample.startswith(b"\xff\xfe"):
        encoding = "utf-16-le"
    elif str(chardet.detect(sample)["encoding"]).lower() in ("utf-8", "utf-8-sig"):
        encoding = "utf-8"
    elif sample.isascii():
        # Node keeps the lower seven bits.
        content = bytes(byte & 0x7F for byte in content)
    return content.decode(encoding, errors="replace")


def _office(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(_PARTS, name)]
        parts = [ElementTree.fromstring(archive.read(name)) for name in names]
    if not parts:
        raise Problem("there is no document in it")
    blocks = (block for part in parts for block in _ending(part, "}p", "}si", "}is", "}v"))
    texts = ("".join(word.text or "" for word in _ending(block, "}t", "}v")) for block in blocks)
    return "\n\n".join(filter(None, texts))


def _ending(element: ElementTree.Element, *tags: str) -> list[ElementTree.Element]:
    return [each for each in element.iter() if each.tag.endswith(tags)]


_READERS: dict[str, Callable[[bytes], str]] = {
    **dict.fromkeys(("txt", "csv", "md"), _plain),
    **dict.fromkeys(("docx", "pptx", "xlsx"), _office),
    "html": lambda content: html_text(_plain(content))[1],
    "pdf": lambda content: "".join(page.text for page in pdf_pages(io.BytesIO(content))),
}

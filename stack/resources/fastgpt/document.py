"""A document in a dataset: known by what it says, uploaded as a collection."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pulumi

from provisioning.clients.errors import Conflict, NotFound, Refused
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Intake, Uploaded
from provisioning.text_files import as_sent, with_spaced_headings
from stack.resources.base import LabResource
from stack.resources.declaration import ID, IDENTITY, IGNORED, OUTPUT, Lab, Props
from stack.resources.fastgpt.session import SERVICE, Managed


@dataclass(frozen=True, kw_only=True)
class Document(Managed):
    """Uploads one document as a collection."""

    delete_first: ClassVar[bool] = True

    dataset_id: Annotated[str, IDENTITY]
    name: Annotated[str, IDENTITY]
    content_hash: Annotated[str, IDENTITY]
    chunk_size: Annotated[int, IDENTITY]
    training: Annotated[str, IDENTITY] = "chunk"
    # Where it lies and how it is handed over; what it says is in `content_hash`.
    file: Annotated[str | None, IGNORED] = None
    text: Annotated[str | None, IGNORED] = None
    link: Annotated[str | None, IGNORED] = None
    collection_id: Annotated[str, OUTPUT, ID] = ""

    def create(self, lab: Lab) -> "Document":
        """Adopt what an interrupted run left, or upload it; indexing is started, not awaited."""
        with self.client(lab) as client:
            return replace(self, collection_id=self._adopt(client) or self._upload(client))

    def read(self, lab: Lab) -> "Document | None":
        """How it was cut; a link's name is its page's title, which is not ours."""
        with self.client(lab) as client:
            try:
                found = client.collection(self.collection_id, dataset_id=self.dataset_id)
            except NotFound:
                return None
        return replace(
            self,
            name=self.name if self.link else found.name or self.name,
            training=found.training or self.training,
            chunk_size=found.chunk_size or self.chunk_size,
        )

    def delete(self, lab: Lab) -> None:
        """Delete its collection."""
        with self.client(lab) as client:
            client.delete_collection(self.collection_id, dataset_id=self.dataset_id)

    @classmethod
    def inputs(cls, given: Mapping[str, Any]) -> Props:
        """What the document says is hashed when the program runs."""
        said = content_hash(given.get("file"), given.get("text") or given.get("link") or "")
        return super().inputs({**given, "content_hash": said})

    def _adopt(self, client: FastGptClient) -> str | None:
        """What is the same; others of the same source are removed."""
        adopted = None
        for found in client.collections(self.dataset_id):
            # A web page may happen to have a document's name as its title.
            source = (None, found.link) if found.link else (found.name, None)
            is_ours = source == (None if self.link else self.name, self.link)
            # What a run left that ended before a text had got its own name.
            is_unnamed = self.text is not None and found.name == f"{self.name}.txt"
            if not (is_ours or is_unnamed):
                continue
            if adopted is None and self._is_same(client, found.id):
                adopted = found.id
                if is_unnamed:
                    client.rename_collection(found.id, self.name)
            elif is_ours:
                client.delete_collection(found.id, dataset_id=self.dataset_id)
        return adopted

    def _is_same(self, client: FastGptClient, collection_id: str) -> bool:
        found = client.collection(collection_id, dataset_id=self.dataset_id)
        what = (found.mark, found.training, found.chunk_size)
        same = what == (self.content_hash, self.training, self.chunk_size)
        return same and found.text_length != 0

    def _upload(self, client: FastGptClient) -> str:
        made = self._sent(client)
        if problem := self._upload_problem(made):
            client.delete_collection(made.collection_id, dataset_id=self.dataset_id)
            raise Refused(SERVICE, f"index {self.name}", problem)
        return made.collection_id

    def _sent(self, client: FastGptClient) -> Uploaded:
        intake = Intake(self.training, self.chunk_size, self.content_hash)
        if self.link is not None:
            return client.add_link(self.dataset_id, self.link, intake)
        if self.text is not None:
            text = with_spaced_headings(self.text)
            return client.add_text(self.dataset_id, self.name, text, intake)
        content = as_sent(self.name, self._content())
        return client.upload_file(self.dataset_id, self.name, content, intake)

    def _content(self) -> bytes:
        try:
            content = Path(str(self.file)).expanduser().read_bytes()
        except OSError as error:
            raise NotFound("documents", f"read {self.file}", str(error)) from None
        if hashlib.sha256(content).hexdigest() != self.content_hash:
            said = "it changed while `pulumi up` ran; run it again"
            raise Conflict("documents", f"read {self.file}", said)
        return content

    def _upload_problem(self, made: Uploaded) -> str:
        """What keeps all of a new collection from being found; "" if nothing does."""
        if made.too_long:
            return (
                f"FastGPT left out {made.too_long} of its chunks for their length; lower the "
                f"document's chunkSize (now {self.chunk_size}), and break up tables and blocks of "
                "code that are one piece"
            )
        if made.inserted is None or made.inserted > 0:
            return ""
        return no_text(link=self.link is not None)


def no_text(*, link: bool) -> str:
    """What is wrong with a document in which FastGPT has found nothing."""
    if link:
        return (
            "no text was found there; FastGPT must reach the page from the server, and reads "
            "what the page itself holds, not what scripts add to it"
        )
    return "no text was found in it; a scanned document has to go through text recognition"


def content_hash(file: str | None, otherwise: str) -> str:
    """sha256 of what a file says, or of the text or link that is there otherwise."""
    said = otherwise.encode() if file is None else Path(file).expanduser().read_bytes()
    return hashlib.sha256(said).hexdigest()


class FastGptDocument(LabResource, thing=Document, token="fastgpt:Document"):
    """One document in a dataset: exactly one of `file`, `text`, `link`. Started, not awaited.

    Its identity is its content: an unchanged file is not uploaded again, wherever it lies. `name`
    is cited (of a link, its page's title); `training` is `chunk` or `qa`, `chunk_size` characters.
    """

    content_hash: pulumi.Output[str]

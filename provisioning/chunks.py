"""How long the chunks of a document may be, from what its models read at once.

FastGPT counts characters, models count tokens: a Chinese character is about one, four of English
are one, and what is allowed here holds for the worse. FastGPT never keeps to the size that it is
asked for: prose came out at up to three times that, code blocks and rows of tables at any length
(`docs/facts/measured.md §1 F1`).
"""

from collections.abc import Iterator, Sequence

from provisioning.catalogue import Model, input_tokens
from provisioning.knowledge import SMALLEST_CHUNK, Base, Document, Training, meant
from provisioning.problems import Problem

USUAL: dict[Training, int] = {"chunk": 512, "qa": 8000}
"""FastGPT's own sizes, in characters; taken where the models read so much."""

_PROSE = 3
GROWN = _PROSE + 1
"""Tokens that a chunk of prose may come to for each character of its size; rare ones take two."""

# Of the file model's context; FastGPT leaves out a longer chunk, counted in characters.
_QA_SHARE = 0.8


def longest_chunk_size(embedding: Model) -> int:
    """The largest chunk size, in characters, that a base with this embedding model may have.

    An engine of the lab's own cuts a longer text without a word: then the size asked for fits, and
    the rest of a longer chunk is kept and quoted, though its vector does not know it. A provider
    refuses a longer text, and the base is never indexed: then whatever prose comes to has to fit.
    """
    read = input_tokens(embedding)
    return max(SMALLEST_CHUNK, read // GROWN if embedding.remote else read)


def longest_qa_size(file_model: Model) -> int:
    """The largest chunk size, in characters, of which this chat model can write questions."""
    return max(SMALLEST_CHUNK, int(file_model.context * _QA_SHARE) // _PROSE)


def usual_chunk_size(embedding: Model) -> int:
    """The chunk size of a document that sets none, in characters.

    Most prose comes out at less than twice the size: half of what a local model reads holds it.
    """
    longest = longest_chunk_size(embedding)
    most = longest if embedding.remote else max(SMALLEST_CHUNK, longest // 2)
    return min(USUAL["chunk"], most)


def chunk_size(document: Document, embedding: Model, file_model: Model) -> int:
    """The chunk size in force, in characters."""
    if document.chunk_size is not None:
        return document.chunk_size
    if document.training == "chunk":
        return usual_chunk_size(embedding)
    return min(USUAL["qa"], longest_qa_size(file_model))


def chunk_size_problems(base: Base, models: Sequence[Model], path: str) -> Iterator[Problem]:
    """Chunk sizes that are more than the models of a base read; `path` is the base's own."""
    embeddings = meant(models, "embedding", base.embedding)
    file_models = meant(models, "chat", base.file_model)
    if not embeddings or not file_models:
        return  # said already, with the base
    embedding, file_model = embeddings[0], file_models[0]
    read = input_tokens(embedding)
    for index, document in enumerate(base.documents):
        size, longest = document.chunk_size or 0, longest_chunk_size(embedding)
        grown = f"FastGPT makes chunks of up to {_PROSE} times {size} characters, and"
        way = "an embedding model that reads more"
        if document.training == "qa":
            longest, way = longest_qa_size(file_model), "a file model with more context"
            context = f"{file_model.name}'s context of {file_model.context} tokens"
            lost = f"{grown} leaves out those that are too long for {context}"
        elif embedding.remote:
            reads = f"the provider of {embedding.name} refuses a text of more than {read} tokens"
            lost = f"{grown} {reads}"
        else:
            rest = f"leaves out what else a chunk of {size} characters holds"
            lost = f"{embedding.name} reads {read} tokens at once, and {rest}"
        if size > longest:
            place = f"{path}.documents[{index}].chunkSize"
            yield Problem(place, lost, f"set {longest} or less, or give the base {way}")

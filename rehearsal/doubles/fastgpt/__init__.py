"""A FastGPT v4.8.8-fix2 that runs in a rehearsed container (docs/facts/fastgpt.md).

`python -m rehearsal.doubles.fastgpt` listens at once and starts up lazily, as the real one does.

    app.py         routes; reads a call, writes an envelope
    boot.py        the lazy, racy start-up, and what it leaves behind
    auth.py        login, sessions, API keys
    datasets.py    datasets, their queue, embedding anew
    collections.py what their texts were taken from, and the pieces of those texts
    documents.py   the text of an uploaded file or a web page
    chunks.py      how that text is cut
    training.py    the queue that turns pieces into vectors, and which it takes
    search.py      recall, rerank, filter
    apps.py        apps, versions, share links
    workflow.py    runs a published graph
    chat.py        the conversation with an app
    upstream.py    OneAPI and the reranker, over HTTP
    store.py       what is kept, as documents
"""

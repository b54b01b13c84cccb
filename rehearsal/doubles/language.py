"""The text machinery of the rehearsed models: embeddings, relevance and extractive answers.

Texts are compared by what they are written with: words and pieces of words, Chinese characters and
pairs. So retrieval and reranking find the right passage without the weights of a model.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_TOKEN = re.compile(r"[a-z0-9]+(?:[.\-'][a-z0-9]+)*|[\u3400-\u9fff]+")
_SENTENCE_END = re.compile(r"(?<=[。！？；!?;])|(?<=\.)\s+|\n+")
_TAGGED = re.compile(r"<(Data|Reference|QA|Context|Cites|Quote)>(.*?)</\1>", re.S | re.I)
_CONTENT = re.compile(r'^  "content": "(.*?)"\n\}', re.S | re.M)
_QUESTION = re.compile(
    r"(?:问题|提问|question|query)\s*[:：]\s*(?:\"\"\"|[\"“'])?(.+?)(?:\"\"\"|[\"”']\s*$|$)",
    re.S | re.I,
)
_STOP_TEXT = """
a an and any are as at be by can could do does for from has have how i if in is it its me my of on
or our please should tell that the their them there these they this to us was we were what when
where which who whose why will with would you your
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())
_STOP_CHARACTERS = frozenset(
    "的了是在有和与就都而及着或吗呢吧啊么什哪谁怎为请问我你他它们这那个些多少几"
)
_COMMON_WEIGHT, _PIECE_WEIGHT = 0.1, 0.35
_LEAST_RELEVANCE, _CLOSE_TO_BEST, _MOST_SENTENCES = 0.2, 0.75, 3
_NO_ANSWER = "The given content does not answer this question."
_NO_ANSWER_CHINESE = "给出的内容中没有这个问题的答案。"


def embed(text: str, width: int) -> list[float]:
    """The embedding of `text`: `width` floats of length 1, the same for the same text."""
    vector = [0.0] * width
    for feature, weight in _features(text).items():
        hashed = zlib.crc32(feature.encode())
        vector[hashed % width] += weight if hashed & 0x40000000 else -weight
    if not any(vector):
        vector[0] = 1.0
    length = math.hypot(*vector)
    return [value / length for value in vector]


def relevance(query: str, document: str) -> float:
    """How much of what `query` asks `document` speaks of, from 0 to 1; long ones lose a little."""
    asked, said = _features(query), _features(document)
    whole = sum(asked.values()) or 1.0
    covered = sum(weight for feature, weight in asked.items() if feature in said) / whole
    return covered * (1 - 0.1 * (1 - 1 / (1 + math.log1p(len(document) / 200))))


def answer(messages: Sequence[Mapping[str, Any]]) -> str:
    """The sentences of the tagged quotes (without such, of all) nearest to the last question."""
    question, given = _question_and_context(messages)
    ranked = sorted(((relevance(question, text), -place, text) for place, text in enumerate(given)))
    # A heading repeats the question and answers nothing.
    whole = [row for row in ranked if row[2][-1] in ".!?。！？…"]
    if whole and whole[-1][0] >= _LEAST_RELEVANCE:
        ranked = whole
    chinese = _CHINESE.search(question)
    if not ranked or ranked[-1][0] < _LEAST_RELEVANCE:
        return _NO_ANSWER_CHINESE if chinese else _NO_ANSWER
    best = ranked[-1][0]
    chosen = [row for row in reversed(ranked) if row[0] >= best * _CLOSE_TO_BEST][:_MOST_SENTENCES]
    in_order = sorted(chosen, key=lambda row: -row[1])
    return ("" if chinese else " ").join(text for _, _, text in in_order)


def count_tokens(text: str) -> int:
    """A plausible number of tokens: one a Chinese character, one for four other characters."""
    chinese = len(_CHINESE.findall(text))
    return chinese + math.ceil((len(text) - chinese) / 4)


def text_of(content: object) -> str:
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "\n".join(str(part.get("text", "")) for part in parts)


@lru_cache(maxsize=4096)
def _features(text: str) -> Mapping[str, float]:
    counted: Counter[str] = Counter(_pieces(text.lower()))
    return {piece: _weight(piece) * math.sqrt(times) for piece, times in counted.items()}


def _pieces(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        if _CHINESE.match(token):
            yield from token
            yield from (token[place : place + 2] for place in range(len(token) - 1))
            continue
        plural = len(token) > 3 and token.endswith("s") and not token.endswith("ss")
        stem = token[:-1] if plural else token
        yield stem
        if token not in _STOP_WORDS:
            yield from ("~" + f"<{stem}>"[place : place + 3] for place in range(len(stem)))


def _weight(piece: str) -> float:
    if piece in _STOP_WORDS or _STOP_CHARACTERS.issuperset(piece):
        return _COMMON_WEIGHT
    return _PIECE_WEIGHT if piece[0] == "~" or (len(piece) == 1 and piece > "~") else 1.0


def _question_and_context(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    said = [(str(message.get("role", "")), text_of(message.get("content"))) for message in messages]
    asked = max(place for place, (role, _) in enumerate(said) if role == "user")
    question, rest = _split_question(said.pop(asked)[1])
    everything = "\n".join([*(text for role, text in said if role != "assistant"), rest])
    quotes = [match.group(2) for match in _TAGGED.finditer(everything)]
    quotes = [text for quote in quotes for text in _CONTENT.findall(quote) or [quote]]
    parts = _SENTENCE_END.split("\n".join(quotes) if quotes else everything)
    found = (part.strip() for part in parts)
    return question, list(dict.fromkeys(part for part in found if len(part) > 1))


def _split_question(text: str) -> tuple[str, str]:
    untagged = _TAGGED.sub("\n", text)
    if marked := list(_QUESTION.finditer(untagged)):
        return marked[-1].group(1).strip(), text
    last = next((line for line in reversed(untagged.splitlines()) if line.strip()), "")
    return last.strip(), text[: text.rfind(last)]

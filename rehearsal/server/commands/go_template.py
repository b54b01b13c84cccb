"""As much of Go's text/template as `docker ... --format` gets in scripts."""

from __future__ import annotations

import json
import re

from rehearsal.containers.spec import Json


class TemplateError(Exception):
    """The template cannot be read or does not fit the data, in Docker's words."""


_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')


def render(template: str, data: Json) -> str:
    """`template` filled in from `data`, a JSON value with Go's field names.

    Raises:
        TemplateError: an unknown function or field, or a block without its end.
    """
    parts = re.split(r"(\{\{.*?\}\})", _unescaped(template), flags=re.DOTALL)
    text, rest = _block(parts, data, ())
    if rest:
        raise TemplateError("template parsing error: template: :1: unexpected {{end}}")
    return text


def _unescaped(template: str) -> str:
    return template.replace("\\n", "\n").replace("\\t", "\t")


def _block(parts: list[str], data: Json, ends: tuple[str, ...]) -> tuple[str, list[str]]:
    """The text up to one of `ends`, and the parts from that end on."""
    text = ""
    while parts:
        part, parts = parts[0], parts[1:]
        match = _ACTION.fullmatch(part)
        if match is None:
            text += part
            continue
        words = _WORD.findall(match[1])
        if words and words[0] in ("end", "else"):
            if words[0] not in ends:
                raise TemplateError(f"template parsing error: template: :1: unexpected {words[0]}")
            return text, [part, *parts]
        if words and words[0] in ("if", "range", "with"):
            filled, parts = _conditional(words, parts, data)
            text += filled
        else:
            text += _shown(_evaluate(words, data))
    if ends:
        raise TemplateError("template parsing error: template: :1: unexpected EOF")
    return text, []


def _conditional(words: list[str], parts: list[str], data: Json) -> tuple[str, list[str]]:
    value = _evaluate(words[1:], data)
    if words[0] == "range":
        scopes = list(value.values()) if isinstance(value, dict) else list(value or [])
    else:
        scopes = [value if words[0] == "with" else data] if value else []
    # The block is read once even where it is not shown, to find its end.
    shown = ""
    rest: list[str] | None = None
    for scope in scopes:
        filled, rest = _block(parts, scope, ("end", "else"))
        shown += filled
    if rest is None:
        rest = _skipped(parts)
    if _ACTION.fullmatch(rest[0])[1].startswith("else"):  # type: ignore[index]
        if scopes:
            rest = _skipped(rest[1:])
        else:
            shown, rest = _block(rest[1:], data, ("end",))
    return shown, rest[1:]


def _skipped(parts: list[str]) -> list[str]:
    depth = 0
    for index, part in enumerate(parts):
        match = _ACTION.fullmatch(part)
        word = match[1].split()[0] if match and match[1] else ""
        if word in ("if", "range", "with"):
            depth += 1
        elif word in ("end", "else") and depth == 0:
            return parts[index:]
        elif word == "end":
            depth -= 1
    raise TemplateError("template parsing error: template: :1: unexpected EOF")


def _evaluate(words: list[str], data: Json) -> Json:
    if "|" in words:
        at = len(words) - 1 - words[::-1].index("|")
        return _function(
            words[at + 1],
            [*(_operand(w, data) for w in words[at + 2 :]), _evaluate(words[:at], data)],
        )
    if len(words) == 1 and not re.fullmatch(r"[a-z]\w*", words[0]):
        return _operand(words[0], data)
    if not words:
        raise TemplateError("template parsing error: template: :1: missing value for command")
    return _function(words[0], [_operand(word, data) for word in words[1:]])


def _operand(word: str, data: Json) -> Json:
    if word.startswith('"'):
        return json.loads(word)
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    if word == ".":
        return data
    if not word.startswith("."):
        raise TemplateError(f'template parsing error: template: :1: function "{word}" not defined')
    value = data
    for name in word[1:].split("."):
        if isinstance(value, dict) and name in value:
            value = value[name]
        else:
            raise TemplateError(
                f'template: :1:2: executing "" at <{word}>: map has no entry for key "{name}"'
            )
    return value


def _function(name: str, arguments: list[Json]) -> Json:
    if name == "json":
        return json.dumps(arguments[0], separators=(",", ":"))
    if name == "len":
        return len(arguments[0] or [])
    if name == "index":
        value = arguments[0]
        for key in arguments[1:]:
            value = value[key] if isinstance(key, int) else (value or {}).get(key)
        return value
    if name == "eq":
        return arguments[0] in arguments[1:]
    if name == "ne":
        return arguments[0] != arguments[1]
    if name == "not":
        return not arguments[0]
    if name in ("and", "or"):
        test = all if name == "and" else any
        return test(arguments)
    if name in ("upper", "lower"):
        return str(arguments[0]).upper() if name == "upper" else str(arguments[0]).lower()
    if name == "join":
        return arguments[1].join(arguments[0])
    if name in ("println", "print"):
        return " ".join(_shown(value) for value in arguments) + ("\n" if name == "println" else "")
    raise TemplateError(f'template parsing error: template: :1: function "{name}" not defined')


def _shown(value: Json) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{' '.join(_shown(item) for item in value)}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_shown(item)}' for key, item in value.items())}]"
    return str(value)

"""What the tools share: their options and their refusal."""

from __future__ import annotations

import sys
from collections.abc import Iterator


class NotUnderstood(Exception):
    """An option or a statement that this tool does not know; it ends with exit code 2."""


class Options:
    """A command line in getopt's manner: `-ofoo`, `-o foo`, `--long=foo`, `--long foo`, `-abc`.

    Args:
        names: every way to write an option → its name.
        valued: names that take a value.
        optional: names that take one only where it is attached, as MySQL's `-psecret`.

    Raises:
        NotUnderstood: an option that is not in `names`, or a value missing.
    """

    def __init__(
        self, arguments: list[str], names: dict[str, str], valued: set[str], optional: set[str]
    ) -> None:
        self.given: list[tuple[str, str]] = []
        self.operands: list[str] = []
        self._names, self._valued, self._optional = names, valued, optional
        self._words = iter(arguments)
        for word in self._words:
            if word == "--":
                self.operands += list(self._words)
            elif word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and len(word) > 1:
                self._short(word)
            else:
                self.operands.append(word)

    def has(self, name: str) -> bool:
        """Whether the option was given."""
        return any(given == name for given, _ in self.given)

    def get(self, name: str, default: str = "") -> str:
        """The last value given for the option."""
        return next((value for given, value in reversed(self.given) if given == name), default)

    def all(self, name: str) -> list[str]:
        """All values given for the option, in order."""
        return [value for given, value in self.given if given == name]

    def _long(self, word: str) -> None:
        option, equals, value = word.partition("=")
        name = self._name(option, word)
        if name in self._valued and not equals:
            value = self._next(word)
        self.given.append((name, value))

    def _short(self, word: str) -> None:
        letters = word[1:]
        while letters:
            name = self._name(f"-{letters[0]}", word)
            letters = letters[1:]
            if name in self._optional:
                self.given.append((name, letters))
                return
            if name in self._valued:
                self.given.append((name, letters or self._next(word)))
                return
            self.given.append((name, ""))

    def _name(self, option: str, word: str) -> str:
        if option not in self._names:
            raise NotUnderstood(f"option {word.partition('=')[0]}")
        return self._names[option]

    def _next(self, word: str) -> str:
        value = next(self._words, None)
        if value is None:
            raise NotUnderstood(f"option {word} without its value")
        return value


def complain(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(text + "\n")


def say(text: str) -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def statements(text: str) -> Iterator[str]:
    """The SQL statements of `text`, split at semicolons outside of quotes, comments removed."""
    found, quote, place = "", "", 0
    while place < len(text):
        letter, pair = text[place], text[place : place + 2]
        if quote:
            found += letter
            if letter == "\\" and quote == "'" and place + 1 < len(text):
                found += text[place + 1]
                place += 1
            elif letter == quote:
                quote = ""
        elif pair == "--" or letter == "#":
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
            continue
        elif letter == ";":
            yield from _stated(found)
            found = ""
        else:
            quote = letter if letter in "'\"`" else ""
            found += letter
        place += 1
    yield from _stated(found)


def _stated(text: str) -> Iterator[str]:
    if text.strip():
        yield text.strip()

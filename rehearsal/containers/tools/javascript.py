"""A small JavaScript, that of health checks, `mongosh --eval`, `node -e` and code nodes.

Statements: declarations, functions, if, for, while, try, throw, return. Expressions: the usual
operators, arrows, templates, spread, optional chaining. Promises settle at once. Not understood:
classes, regular expressions, generators, labels, switch. What is not understood raises
NotUnderstood, which no `catch` in the script can swallow.

`parse(text)` makes a tree of tuples, `Script(globals).run(tree)` walks it (`javascript_run.py`).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from rehearsal.containers.tools.common import NotUnderstood

Node = tuple[Any, ...]

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*|/\*.*?\*/)+)
    |(?P<number>0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<template>`(?:[^`\\]|\\.)*`)
    |(?P<sign>\.\.\.|=>|===|!==|\*\*|==|!=|<=|>=|&&|\|\||\?\?|\?\.(?!\d)|\+\+|--|[-+*/%]=
      |[-+*/%<>=!?:;,.(){}\[\]])""",
    re.X | re.S,
)
_BINARY = (
    ("??",),
    ("||",),
    ("&&",),
    ("===", "!==", "==", "!="),
    ("<", ">", "<=", ">=", "in", "instanceof"),
    ("+", "-"),
    ("*", "/", "%"),
    ("**",),
)
_ASSIGN = ("=", "+=", "-=", "*=", "/=", "%=")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_UNKNOWN_WORDS = ("class", "switch", "yield", "with", "import", "export", "do", "debugger")


class Token(NamedTuple):
    """One word of a script; `fresh` when a line break precedes it."""

    kind: str
    text: str
    fresh: bool


def parse(text: str) -> list[Node]:
    """The statements of a script.

    Raises:
        NotUnderstood: outside of the subset above.
    """
    parser = _Parser(_tokens(text))
    found = []
    while parser.peek.kind != "end":
        found.append(parser.statement())
    return found


def _tokens(text: str) -> list[Token]:
    found, place, fresh = [], 0, True
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise NotUnderstood(f"this part of the script: {text[place : place + 40]!r}")
        place = match.end()
        if match.lastgroup == "space":
            fresh = fresh or "\n" in match[0]
        else:
            found.append(Token(str(match.lastgroup), match[0], fresh))
            fresh = False
    return [*found, Token("end", "the end", True)]


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _is(self, *texts: str, ahead: int = 0) -> bool:
        place = min(self._at + ahead, len(self._tokens) - 1)
        token = self._tokens[place]
        return token.kind in ("sign", "name") and token.text in texts

    def _take(self, *texts: str) -> bool:
        if self._is(*texts):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise NotUnderstood(f"{self.peek.text!r} where {text!r} belongs")

    def _name(self) -> str:
        if self.peek.kind != "name":
            raise NotUnderstood(f"{self.peek.text!r} where a name belongs")
        return self._next().text

    def _end_statement(self) -> None:
        ended = self._take(";") or self._is("}") or self.peek.fresh or self.peek.kind == "end"
        if not ended:
            raise NotUnderstood(f"{self.peek.text!r} after a complete statement")

    # Statements

    def statement(self) -> Node:
        token = self.peek
        if token.kind == "name" and token.text in _UNKNOWN_WORDS:
            raise NotUnderstood(f"the statement {token.text!r}")
        if token.kind == "name":
            made = getattr(self, f"_{token.text}", None) if token.text in _STATEMENTS else None
            if made is not None:
                self._next()
                node: Node = made()
                return node
            if token.text == "async" and self._is("function", ahead=1):
                self._next()
                return (*self.statement()[:4], True)
        if self._is("{"):
            return ("block", self._block())
        if self._take(";"):
            return ("block", [])
        value = self.expression()
        self._end_statement()
        return ("expression", value)

    def _block(self) -> list[Node]:
        self._expect("{")
        found = []
        while not self._take("}"):
            if self.peek.kind == "end":
                raise NotUnderstood("a block without its end")
            found.append(self.statement())
        return found

    def _const(self) -> Node:
        node = self._declarations()
        self._end_statement()
        return node

    _let = _var = _const

    def _declarations(self) -> Node:
        found = []
        while True:
            target = self._pattern()
            found.append((target, self._assignment() if self._take("=") else None))
            if not self._take(","):
                return ("declare", found)

    def _pattern(self) -> Node:
        if self._take("{"):
            parts = []
            while not self._take("}"):
                key = self._name()
                inner = self._pattern() if self._take(":") else ("name", key)
                parts.append((key, inner, self._assignment() if self._take("=") else None))
                self._take(",")
            return ("pattern", parts)
        if self._take("["):
            items = []
            while not self._take("]"):
                items.append(self._pattern())
                self._take(",")
            return ("items", items)
        return ("name", self._name())

    def _function(self) -> Node:
        name = self._name()
        return ("function", name, self._parameters(), self._block(), False)

    def _parameters(self) -> list[Node]:
        self._expect("(")
        found: list[Node] = []
        while not self._take(")"):
            rest = self._take("...")
            target = self._pattern()
            default = self._assignment() if self._take("=") else None
            found.append(("rest" if rest else "one", target, default))
            self._take(",")
        return found

    def _if(self) -> Node:
        condition = self._condition()
        then = self.statement()
        return ("if", condition, then, self.statement() if self._take("else") else None)

    def _condition(self) -> Node:
        self._expect("(")
        value = self.expression()
        self._expect(")")
        return value

    def _while(self) -> Node:
        return ("while", self._condition(), self.statement())

    def _for(self) -> Node:
        self._expect("(")
        first: Node | None = None
        if self._take("const", "let", "var"):
            start = self._at
            target = self._pattern()
            if self._is("of", "in"):
                kind = self._next().text
                over = self.expression()
                self._expect(")")
                return ("each", kind, target, over, self.statement())
            self._at = start
            first = self._declarations()
        elif not self._is(";"):
            first = ("expression", self.expression())
        self._expect(";")
        condition = None if self._is(";") else self.expression()
        self._expect(";")
        step = None if self._is(")") else self.expression()
        self._expect(")")
        return ("for", first, condition, step, self.statement())

    def _try(self) -> Node:
        body, target, handler, last = self._block(), None, None, None
        if self._take("catch"):
            if self._take("("):
                target = self._pattern()
                self._expect(")")
            handler = self._block()
        if self._take("finally"):
            last = self._block()
        return ("try", body, target, handler, last)

    def _throw(self) -> Node:
        value = self.expression()
        self._end_statement()
        return ("throw", value)

    def _return(self) -> Node:
        bare = self.peek.fresh or self._is(";", "}") or self.peek.kind == "end"
        value = None if bare else self.expression()
        self._end_statement()
        return ("return", value)

    def _break(self) -> Node:
        self._end_statement()
        return ("break",)

    def _continue(self) -> Node:
        self._end_statement()
        return ("continue",)

    # Expressions

    def expression(self) -> Node:
        value = self._assignment()
        while self._take(","):
            value = ("comma", value, self._assignment())
        return value

    def _assignment(self) -> Node:
        arrow = self._arrow()
        if arrow is not None:
            return arrow
        left = self._conditional()
        if self._is(*_ASSIGN):
            sign = self._next().text
            if left[0] not in ("name", "member"):
                raise NotUnderstood("an assignment to something that is no name and no member")
            return ("assign", sign, left, self._assignment())
        return left

    def _arrow(self) -> Node | None:
        starts = self._is("async") and (
            self._is("function", ahead=1) or self._is("=>", ahead=2) or self._arrows(1)
        )
        if starts:
            self._next()
        if self.peek.kind == "name" and self._is("=>", ahead=1):
            parameters: list[Node] = [("one", ("name", self._next().text), None)]
        elif self._is("(") and self._arrows(0):
            parameters = self._parameters()
        elif starts:
            return (*self._primary()[:4], True)
        else:
            return None
        self._expect("=>")
        returned = None if self._is("{") else [("return", self._assignment())]
        return ("function", None, parameters, returned or self._block(), starts)

    def _arrows(self, ahead: int) -> bool:
        """Whether the parenthesis at `ahead` closes right before an arrow."""
        place, depth = self._at + ahead, 0
        while place < len(self._tokens) - 1:
            text, kind = self._tokens[place].text, self._tokens[place].kind
            depth += (kind == "sign" and text in "([{") - (kind == "sign" and text in ")]}")
            place += 1
            if depth == 0:
                return self._tokens[place].text == "=>"
        return False

    def _conditional(self) -> Node:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        then = self._assignment()
        self._expect(":")
        return ("conditional", condition, then, self._assignment())

    def _binary(self, level: int) -> Node:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._is(*_BINARY[level]):
            sign = self._next().text
            left = ("binary", sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> Node:
        if self._is("!", "-", "+", "typeof", "void", "await", "delete"):
            sign = self._next().text
            return ("unary", sign, self._unary())
        if self._is("++", "--"):
            sign = self._next().text
            return ("assign", sign[0] + "=", self._unary(), ("value", 1))
        value = self._postfix(self._primary())
        if self._is("++", "--") and not self.peek.fresh:
            return ("after", self._next().text[0] + "=", value)
        return value

    def _postfix(self, value: Node) -> Node:
        while True:
            if self._take("."):
                value = ("member", value, ("value", self._name()), False)
            elif self._take("?."):
                if self._is("("):
                    value = ("call", value, self._arguments(), True)
                elif self._take("["):
                    value = ("member", value, self.expression(), True)
                    self._expect("]")
                else:
                    value = ("member", value, ("value", self._name()), True)
            elif self._is("["):
                self._next()
                value = ("member", value, self.expression(), False)
                self._expect("]")
            elif self._is("("):
                value = ("call", value, self._arguments(), False)
            else:
                return value

    def _arguments(self) -> list[Node]:
        self._expect("(")
        return self._listed(")")

    def _listed(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._take(end):
            spread = self._take("...")
            value = self._assignment()
            found.append(("spread", value) if spread else value)
            if not self._is(end):
                self._expect(",")
        return found

    def _primary(self) -> Node:
        token = self._next()
        if token.kind == "number":
            return ("value", _number(token.text))
        if token.kind == "string":
            return ("value", _unescaped(token.text[1:-1]))
        if token.kind == "template":
            return self._template(token.text[1:-1])
        if token.text == "(":
            value = self.expression()
            self._expect(")")
            return value
        if token.text == "[":
            return ("array", self._listed("]"))
        if token.text == "{":
            return self._object()
        if token.kind == "name" and token.text not in _UNKNOWN_WORDS:
            return self._word(token.text)
        raise NotUnderstood(f"{token.text!r} where a value belongs")

    def _word(self, text: str) -> Node:
        if text == "function":
            name = self._name() if self.peek.kind == "name" else None
            return ("function", name, self._parameters(), self._block(), False)
        if text == "new":
            made = ("name", self._name())
            return ("new", made, self._arguments() if self._is("(") else [])
        constants = {"true": True, "false": False, "null": None}
        return ("value", constants[text]) if text in constants else ("name", text)

    def _object(self) -> Node:
        parts: list[Node] = []
        while not self._take("}"):
            if self._take("..."):
                parts.append(("spread", self._assignment()))
            else:
                parts.append(self._entry())
            if not self._is("}"):
                self._expect(",")
        return ("object", parts)

    def _entry(self) -> Node:
        token = self._next()
        if token.text == "[":
            key: Node = self._assignment()
            self._expect("]")
        elif token.kind == "string":
            key = ("value", _unescaped(token.text[1:-1]))
        elif token.kind in ("name", "number"):
            key = ("value", token.text)
        else:
            raise NotUnderstood(f"{token.text!r} as a key")
        if self._is("("):
            return ("entry", key, self._method(token.text))
        if self._take(":"):
            return ("entry", key, self._assignment())
        return ("entry", key, ("name", token.text))

    def _method(self, name: str) -> Node:
        return ("function", name, self._parameters(), self._block(), False)

    def _template(self, text: str) -> Node:
        parts: list[Node] = []
        while text:
            plain, found, rest = text.partition("${")
            parts.append(("value", _unescaped(plain)))
            if not found:
                break
            inside, depth = "", 1
            for place, letter in enumerate(rest):
                depth += (letter == "{") - (letter == "}")
                if not depth:
                    inside, text = rest[:place], rest[place + 1 :]
                    break
            inner = _Parser(_tokens(inside))
            parts.append(inner.expression())
        return ("template", parts)


_STATEMENT_TEXT = "const let var function if while for try throw return break continue"
_STATEMENTS = frozenset(_STATEMENT_TEXT.split())


def _number(text: str) -> float | int:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text) if text.isdigit() else float(text)


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1] or "", 16))
        return _ESCAPES.get(match[3], match[3]) if match[3] != "\n" else ""

    text = re.sub(r"\\x([0-9a-fA-F]{2})", r"\\u00\1", text)
    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(u)|(.))", one, text, flags=re.S)

"""Runs the trees that `javascript.py` parses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from rehearsal.containers.tools.common import NotUnderstood
from rehearsal.containers.tools.javascript import Node

Js: TypeAlias = Any
"""A JavaScript value: None, bool, number, str, list, dict, UNDEFINED, Host or a callable."""

MOST_STEPS = 1_000_000


class _Undefined:
    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = _Undefined()


class Thrown(Exception):
    """A JavaScript exception on its way; `value` is what was thrown."""

    def __init__(self, value: Js) -> None:
        super().__init__(shown(value))
        self.value = value


class JsError(dict[str, Any]):
    """An Error object: `name`, `message` and what else belongs to it."""


def error(message: str, name: str = "Error", **more: Js) -> Thrown:
    """An Error to raise."""
    return Thrown(JsError(name=name, message=message, **more))


class Host:
    """An object of the outside: its `members` are all that a script can see of it."""

    def __init__(self, name: str, members: dict[str, Any]) -> None:
        self.name = name
        self.members = members

    def member(self, key: str) -> Js:
        """The member called `key`.

        Raises:
            NotUnderstood: the real object may have it; this one does not.
        """
        if key not in self.members:
            raise NotUnderstood(f"{self.name}.{key}")
        return self.members[key]


class Promise(Host):
    """A promise that is settled already."""

    def __init__(self, value: Js = UNDEFINED, failure: Thrown | None = None) -> None:
        super().__init__(
            "Promise", {"then": self._then, "catch": self._catch, "finally": self._last}
        )
        self.value, self.failure = value, failure

    @classmethod
    def of(cls, work: Callable[[], Any]) -> Promise:
        """The promise of what `work` returns or throws."""
        try:
            value = work()
        except Thrown as thrown:
            return cls(failure=thrown)
        return value if isinstance(value, Promise) else cls(value)

    def settled(self) -> Js:
        """The value; raises what it was rejected with."""
        if self.failure:
            raise self.failure
        return self.value

    def _then(self, done: Js = None, failed: Js = None) -> Promise:
        if self.failure is None:
            return Promise.of(lambda: done(self.value)) if done else self
        return self._catch(failed) if failed else self

    def _catch(self, failed: Js) -> Promise:
        failure = self.failure
        return Promise.of(lambda: failed(failure.value)) if failure else self

    def _last(self, done: Js) -> Promise:
        made = Promise.of(done)
        return made if made.failure else self


class _Return(Exception):
    def __init__(self, value: Js) -> None:
        self.value = value


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Scope:
    """Names of one block or function."""

    def __init__(self, outer: Scope | None = None, names: dict[str, Any] | None = None) -> None:
        self.outer, self.names = outer, names if names is not None else {}

    def home(self, name: str) -> dict[str, Any] | None:
        """The names among which `name` is."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names
            scope = scope.outer
        return None


class Script:
    """One run; `globals` are what the script finds beside the language itself."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.scope = Scope(None, {**_language(), **names})
        self._steps = 0

    def run(self, tree: list[Node]) -> Js:
        """The value of the last expression statement, as a console would print it.

        Raises:
            Thrown: an exception that the script did not catch.
            NotUnderstood: something outside of the subset.
        """
        return self._statements(tree, self.scope)

    # Statements

    def _statements(self, nodes: list[Node], scope: Scope) -> Js:
        for node in nodes:
            if node[0] == "function" and node[1]:
                scope.names[node[1]] = self._closure(node, scope)
        last: Js = UNDEFINED
        for node in nodes:
            value = self._statement(node, scope)
            last = last if node[0] in ("declare", "function") else value
        return last

    def _statement(self, node: Node, scope: Scope) -> Js:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise NotUnderstood(f"a script of more than {MOST_STEPS} steps")
        return getattr(self, f"_do_{node[0]}")(node, scope)

    def _do_expression(self, node: Node, scope: Scope) -> Js:
        return self._value(node[1], scope)

    def _do_block(self, node: Node, scope: Scope) -> Js:
        return self._statements(node[1], Scope(scope))

    def _do_function(self, node: Node, scope: Scope) -> Js:
        return UNDEFINED

    def _do_declare(self, node: Node, scope: Scope) -> Js:
        for target, value in node[1]:
            self._bind(target, UNDEFINED if value is None else self._value(value, scope), scope)
        return UNDEFINED

    def _do_if(self, node: Node, scope: Scope) -> Js:
        if truthy(self._value(node[1], scope)):
            return self._statement(node[2], scope)
        return self._statement(node[3], scope) if node[3] else UNDEFINED

    def _do_while(self, node: Node, scope: Scope) -> Js:
        while truthy(self._value(node[1], scope)):
            try:
                self._statement(node[2], scope)
            except _Break:
                break
            except _Continue:
                continue
        return UNDEFINED

    def _do_for(self, node: Node, scope: Scope) -> Js:
        inner = Scope(scope)
        if node[1]:
            self._statement(node[1], inner)
        while node[2] is None or truthy(self._value(node[2], inner)):
            try:
                self._statement(node[4], Scope(inner))
            except _Break:
                break
            except _Continue:
                pass
            if node[3]:
                self._value(node[3], inner)
        return UNDEFINED

    def _do_each(self, node: Node, scope: Scope) -> Js:
        over = self._value(node[3], scope)
        if not isinstance(over, (list, str)) and node[1] == "of":
            raise error(f"{shown(over)} is not iterable", "TypeError")
        keys = [str(place) for place in range(len(over))] if isinstance(over, list) else over
        for item in over if node[1] == "of" else list(keys):
            inner = Scope(scope)
            self._bind(node[2], item, inner)
            try:
                self._statement(node[4], inner)
            except _Break:
                break
            except _Continue:
                continue
        return UNDEFINED

    def _do_try(self, node: Node, scope: Scope) -> Js:
        try:
            return self._statements(node[1], Scope(scope))
        except Thrown as thrown:
            if node[3] is None:
                raise
            inner = Scope(scope)
            if node[2]:
                self._bind(node[2], thrown.value, inner)
            return self._statements(node[3], inner)
        finally:
            if node[4]:
                self._statements(node[4], Scope(scope))

    def _do_throw(self, node: Node, scope: Scope) -> Js:
        raise Thrown(self._value(node[1], scope))

    def _do_return(self, node: Node, scope: Scope) -> Js:
        raise _Return(UNDEFINED if node[1] is None else self._value(node[1], scope))

    def _do_break(self, node: Node, scope: Scope) -> Js:
        raise _Break

    def _do_continue(self, node: Node, scope: Scope) -> Js:
        raise _Continue

    def _bind(self, target: Node, value: Js, scope: Scope) -> None:
        if target[0] == "name":
            scope.names[target[1]] = value
        elif target[0] == "items":
            for place, inner in enumerate(target[1]):
                self._bind(inner, value[place] if place < len(value) else UNDEFINED, scope)
        else:
            for key, inner, default in target[1]:
                item = self.member(value, key)
                if item is UNDEFINED and default is not None:
                    item = self._value(default, scope)
                self._bind(inner, item, scope)

    # Expressions

    def _value(self, node: Node, scope: Scope) -> Js:
        return getattr(self, f"_get_{node[0]}")(node, scope)

    def _get_value(self, node: Node, scope: Scope) -> Js:
        return node[1]

    def _get_name(self, node: Node, scope: Scope) -> Js:
        home = scope.home(node[1])
        if home is None:
            raise NotUnderstood(f"the name {node[1]}")
        return home[node[1]]

    def _get_comma(self, node: Node, scope: Scope) -> Js:
        self._value(node[1], scope)
        return self._value(node[2], scope)

    def _get_template(self, node: Node, scope: Scope) -> Js:
        return "".join(shown(self._value(part, scope)) for part in node[1])

    def _get_array(self, node: Node, scope: Scope) -> Js:
        return self._all(node[1], scope)

    def _get_object(self, node: Node, scope: Scope) -> Js:
        made: dict[str, Any] = {}
        for part in node[1]:
            if part[0] == "spread":
                spread = self._value(part[1], scope)
                made.update(spread if isinstance(spread, dict) else {})
            else:
                made[shown(self._value(part[1], scope))] = self._value(part[2], scope)
        return made

    def _get_function(self, node: Node, scope: Scope) -> Js:
        return self._closure(node, scope)

    def _get_conditional(self, node: Node, scope: Scope) -> Js:
        chosen = node[2] if truthy(self._value(node[1], scope)) else node[3]
        return self._value(chosen, scope)

    def _get_binary(self, node: Node, scope: Scope) -> Js:
        sign, left = node[1], self._value(node[2], scope)
        if sign in ("&&", "||", "??"):
            goes_on = {"&&": truthy(left), "||": not truthy(left), "??": _missing(left)}[sign]
            return self._value(node[3], scope) if goes_on else left
        return _operate(sign, left, self._value(node[3], scope))

    def _get_unary(self, node: Node, scope: Scope) -> Js:
        sign = node[1]
        if sign == "typeof" and node[2][0] == "name" and scope.home(node[2][1]) is None:
            return "undefined"
        if sign == "delete":
            owner = self._value(node[2][1], scope)
            owner.pop(shown(self._value(node[2][2], scope)), None)
            return True
        value = self._value(node[2], scope)
        if sign == "await":
            return value.settled() if isinstance(value, Promise) else value
        if sign == "!":
            return not truthy(value)
        if sign == "typeof":
            return _type(value)
        if sign == "void":
            return UNDEFINED
        return _whole(-number(value) if sign == "-" else number(value))

    def _get_assign(self, node: Node, scope: Scope) -> Js:
        sign, target = node[1], node[2]
        value = self._value(node[3], scope)
        if sign != "=":
            value = _operate(sign[0], self._value(target, scope), value)
        self._store(target, value, scope)
        return value

    def _get_after(self, node: Node, scope: Scope) -> Js:
        before = number(self._value(node[2], scope))
        self._store(node[2], _operate(node[1][0], before, 1), scope)
        return _whole(before)

    def _store(self, target: Node, value: Js, scope: Scope) -> None:
        if target[0] == "name":
            (scope.home(target[1]) or self.scope.names)[target[1]] = value
            return
        owner, key = self._value(target[1], scope), self._value(target[2], scope)
        if isinstance(owner, list) and isinstance(key, int):
            owner.extend([UNDEFINED] * (key + 1 - len(owner)))
            owner[key] = value
        elif isinstance(owner, dict):
            owner[shown(key)] = value
        else:
            raise NotUnderstood(f"an assignment to a member of {_type(owner)}")

    def _get_member(self, node: Node, scope: Scope) -> Js:
        owner = self._value(node[1], scope)
        if node[3] and _missing(owner):
            return UNDEFINED
        return self.member(owner, self._value(node[2], scope))

    def _get_call(self, node: Node, scope: Scope) -> Js:
        called = self._value(node[1], scope)
        if node[3] and _missing(called):
            return UNDEFINED
        if isinstance(called, Host):
            raise NotUnderstood(f"{_source(node[1])}()")
        if not callable(called):
            raise error(f"{_source(node[1])} is not a function", "TypeError")
        return called(*self._all(node[2], scope))

    def _get_new(self, node: Node, scope: Scope) -> Js:
        made = self._value(node[1], scope)
        return made(*self._all(node[2], scope))

    def _all(self, nodes: list[Node], scope: Scope) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            if node[0] == "spread":
                found.extend(self._value(node[1], scope))
            else:
                found.append(self._value(node, scope))
        return found

    def _closure(self, node: Node, scope: Scope) -> Callable[..., Any]:
        _, _, parameters, body, later = node

        def call(*given: Js) -> Js:
            inner = Scope(scope)
            for place, (kind, target, default) in enumerate(parameters):
                value: Js = given[place] if place < len(given) else UNDEFINED
                if kind == "rest":
                    value = list(given[place:])
                elif value is UNDEFINED and default is not None:
                    value = self._value(default, inner)
                self._bind(target, value, inner)
            try:
                self._statements(body, inner)
            except _Return as returned:
                return returned.value
            except RecursionError as deep:
                raise error("Maximum call stack size exceeded", "RangeError") from deep
            return UNDEFINED

        return (lambda *given: Promise.of(lambda: call(*given))) if later else call

    def member(self, owner: Js, key: Js) -> Js:
        """`owner[key]`."""
        if isinstance(owner, Host):
            return owner.member(shown(key))
        if _missing(owner):
            text = f"Cannot read properties of {shown(owner)} (reading '{shown(key)}')"
            raise error(text, "TypeError")
        if isinstance(owner, dict):
            return owner.get(shown(key), UNDEFINED)
        if isinstance(owner, (list, str)):
            return _of_sequence(owner, key)
        if isinstance(owner, (int, float)) and key in ("toString", "toFixed"):
            digits = key == "toFixed"
            return lambda places=0: f"{owner:.{int(places)}f}" if digits else shown(owner)
        raise NotUnderstood(f"the member {shown(key)} of {_type(owner)}")


def truthy(value: Js) -> bool:
    """JavaScript's truth: empty objects and lists are true."""
    if isinstance(value, (dict, list, Host)) or callable(value):
        return True
    return bool(value) and value == value


def shown(value: Js) -> str:
    """`String(value)`."""
    if isinstance(value, JsError):
        return f"{value['name']}: {value['message']}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "NaN" if value != value else repr(_whole(value)).replace("inf", "Infinity")
    if isinstance(value, list):
        return ",".join("" if _missing(item) else shown(item) for item in value)
    if isinstance(value, (dict, Host)):
        return "[object Object]"
    return str(value)


def inspected(value: Js) -> str:
    """As a console prints it."""
    if isinstance(value, JsError):
        return shown(value)
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, list):
        return "[ " + ", ".join(map(inspected, value)) + " ]" if value else "[]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {inspected(item)}" for key, item in value.items())
        return "{ " + inner + " }" if value else "{}"
    return "[Function]" if callable(value) else shown(value)


def number(value: Js) -> float | int:
    """`Number(value)`."""
    if isinstance(value, (bool, int, float)):
        return value if not isinstance(value, bool) else int(value)
    if value is None or value == "":
        return 0
    try:
        return _whole(float(value)) if isinstance(value, str) else math.nan
    except ValueError:
        return math.nan


def _whole(value: float | int) -> float | int:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _missing(value: Js) -> bool:
    return value is None or value is UNDEFINED


def _type(value: Js) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    if value is UNDEFINED:
        return "undefined"
    return "function" if callable(value) else "object"


def _operate(sign: str, left: Js, right: Js) -> Js:
    if sign in ("===", "!=="):
        return _same(left, right) == (sign == "===")
    if sign in ("==", "!="):
        return _loosely(left, right) == (sign == "==")
    if sign == "in":
        return shown(left) in right
    if sign == "instanceof":
        return isinstance(left, JsError)
    if sign == "+" and (
        isinstance(left, (str, dict, list)) or isinstance(right, (str, dict, list))
    ):
        return shown(left) + shown(right)
    if sign in ("<", ">", "<=", ">="):
        if not (isinstance(left, str) and isinstance(right, str)):
            left, right = number(left), number(right)
        order = {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}
        return order[sign]
    return _whole(_calculated(sign, number(left), number(right)))


def _calculated(sign: str, left: float, right: float) -> float:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if sign == "**":
        return float(left**right)
    if right == 0:
        return math.nan if left == 0 or sign == "%" else math.copysign(math.inf, left)
    return left / right if sign == "/" else math.fmod(left, right)


def _same(left: Js, right: Js) -> bool:
    if isinstance(left, (dict, list, Host)) or isinstance(right, (dict, list, Host)):
        return left is right
    return _type(left) == _type(right) and bool(left == right)


def _loosely(left: Js, right: Js) -> bool:
    if _missing(left) or _missing(right):
        return _missing(left) and _missing(right)
    if _type(left) == _type(right):
        return _same(left, right)
    return bool(number(left) == number(right))


def _source(node: Node) -> str:
    if node[0] == "name":
        return str(node[1])
    if node[0] == "member":
        return f"{_source(node[1])}.{node[2][1] if node[2][0] == 'value' else '...'}"
    return "(intermediate value)"


def _of_sequence(owner: list[Any] | str, key: Js) -> Js:
    if key == "length":
        return len(owner)
    if isinstance(key, int) or (isinstance(key, str) and key.isdigit()):
        return owner[int(key)] if 0 <= int(key) < len(owner) else UNDEFINED
    methods = _of_list(owner) if isinstance(owner, list) else _of_text(owner)
    if key not in methods:
        raise NotUnderstood(f"{_type(owner)}.{shown(key)}")
    return methods[key]


def _of_list(owner: list[Any]) -> dict[str, Callable[..., Any]]:
    def kept(test: Js) -> list[Any]:
        return [item for place, item in enumerate(owner) if truthy(_call(test, item, place))]

    def push(*items: Js) -> int:
        owner.extend(items)
        return len(owner)

    return {
        "push": push,
        "map": lambda f: [_call(f, item, place) for place, item in enumerate(owner)],
        "forEach": lambda f: ([_call(f, item, at) for at, item in enumerate(owner)], UNDEFINED)[1],
        "filter": kept,
        "find": lambda f: next(iter(kept(f)), UNDEFINED),
        "some": lambda f: bool(kept(f)),
        "every": lambda f: len(kept(f)) == len(owner),
        "includes": lambda item: any(_same(item, each) for each in owner),
        "indexOf": lambda item: next((at for at, x in enumerate(owner) if _same(item, x)), -1),
        "join": lambda by=",": str(by).join(shown(item) for item in owner),
        "slice": lambda start=0, end=None: owner[start:end],
        "concat": lambda *more: (
            owner + [x for m in more for x in (m if isinstance(m, list) else [m])]
        ),
        "reduce": lambda f, *first: _reduced(f, [*first, *owner]),
    }


def _call(function: Js, item: Js, place: int) -> Js:
    # A built-in takes one argument; a closure ignores what it did not ask for.
    return function(item) if function in (shown, number, truthy) else function(item, place)


def _reduced(function: Js, items: list[Any]) -> Js:
    if not items:
        raise error("Reduce of empty array with no initial value", "TypeError")
    value = items[0]
    for item in items[1:]:
        value = function(value, item)
    return value


def _of_text(owner: str) -> dict[str, Callable[..., Any]]:
    return {
        "includes": lambda part: part in owner,
        "startsWith": owner.startswith,
        "endsWith": owner.endswith,
        "indexOf": owner.find,
        "toUpperCase": owner.upper,
        "toLowerCase": owner.lower,
        "trim": owner.strip,
        "split": lambda by: list(owner) if by == "" else owner.split(by),
        "slice": lambda start=0, end=None: owner[start:end],
        "replace": lambda old, new: owner.replace(old, new, 1),
        "replaceAll": owner.replace,
        "repeat": lambda times: owner * int(times),
        "toString": lambda: owner,
        "padStart": lambda width, fill=" ": owner.rjust(int(width), fill),
    }


def _json(value: Js, _replacer: Js = None, indent: Js = None) -> str:
    width = int(indent) if isinstance(indent, int) else None
    separators = (",", ": ") if width else (",", ":")
    return json.dumps(_plain(value), indent=width, separators=separators, ensure_ascii=False)


def _plain(value: Js) -> Js:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if item is not UNDEFINED}
        return {key: _plain(item) for key, item in kept.items() if not callable(item)}
    if isinstance(value, list):
        return [None if item is UNDEFINED else _plain(item) for item in value]
    return None if value is UNDEFINED else value


def _parsed(text: Js) -> Js:
    try:
        return json.loads(shown(text))
    except ValueError as broken:
        raise error(f"Unexpected token in JSON: {broken}", "SyntaxError") from broken


def _language() -> dict[str, Any]:
    def maker(name: str) -> Callable[..., JsError]:
        return lambda message="": JsError(name=name, message=shown(message))

    maths = {
        "round": lambda x: math.floor(number(x) + 0.5),
        "floor": lambda x: math.floor(number(x)),
        "ceil": lambda x: math.ceil(number(x)),
        "abs": lambda x: abs(number(x)),
        "max": lambda *xs: max(xs),
        "min": lambda *xs: min(xs),
    }
    return {
        "undefined": UNDEFINED,
        "NaN": math.nan,
        "Infinity": math.inf,
        "Error": maker("Error"),
        "TypeError": maker("TypeError"),
        "String": shown,
        "Number": number,
        "Boolean": truthy,
        "parseInt": lambda text, base=10: int(number(text)),
        "parseFloat": number,
        "JSON": Host("JSON", {"stringify": _json, "parse": _parsed}),
        "Math": Host("Math", maths),
        "Object": Host(
            "Object",
            {
                "keys": lambda value: list(value),
                "values": lambda value: list(value.values()),
                "entries": lambda value: [[key, item] for key, item in value.items()],
                "assign": lambda target, *more: ([target.update(each) for each in more], target)[1],
            },
        ),
        "Array": Host("Array", {"isArray": lambda value: isinstance(value, list)}),
        "Promise": Host("Promise", {"resolve": Promise}),
    }

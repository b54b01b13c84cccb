"""What the engine sends comes back as it was."""

from __future__ import annotations

import pytest

from rehearsal.providers.values import (
    ASSET_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE,
    UNKNOWN,
    Secret,
    from_struct,
    is_asset,
    is_known,
    plain,
    to_struct,
)


def test_plain_values_survive() -> None:
    given = {
        "text": "a",
        "whole": 3,
        "part": 0.5,
        "no": False,
        "none": None,
        "list": [1, {"b": "c"}],
    }
    assert from_struct(to_struct(given)) == given
    assert type(from_struct(to_struct(given))["whole"]) is int


def test_secrets_unknowns_and_assets_keep_their_meaning() -> None:
    asset = {SIGNATURE: ASSET_SIGNATURE, "text": "hello", "hash": "x"}
    given = {"password": Secret("p"), "address": UNKNOWN, "files": [asset]}
    sent = to_struct(given)
    assert sent.fields["password"].struct_value.fields[SIGNATURE].string_value == SECRET_SIGNATURE
    back = from_struct(sent)
    assert back == given
    assert back["address"] is UNKNOWN
    assert is_asset(back["files"][0])


def test_a_secret_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(Secret("hunter2"))


def test_plain_takes_secrets_off_at_any_depth() -> None:
    assert plain({"a": [Secret({"b": Secret("c")})]}) == {"a": [{"b": "c"}]}


def test_an_unknown_is_found_at_any_depth_and_has_no_truth() -> None:
    assert not is_known({"a": [Secret(UNKNOWN)]})
    assert is_known({"a": [Secret("x")]})
    with pytest.raises(TypeError):
        bool(UNKNOWN)


def test_what_no_property_can_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"b\[0\]"):
        to_struct({"b": [object()]})

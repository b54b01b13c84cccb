"""What of the attached providers a rehearsal that goes well does not show."""

import pytest

from rehearsal.providers.values import (
    ASSET_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE,
    UNKNOWN,
    from_struct,
    to_struct,
)


def test_what_the_engine_sends_comes_back_as_it_was_without_its_secrets() -> None:
    asset = {SIGNATURE: ASSET_SIGNATURE, "text": "hello", "hash": "x"}
    given = {"whole": 3, "part": 0.5, "no": False, "none": None, "list": [1, {"b": UNKNOWN}, asset]}
    assert from_struct(to_struct(given)) == given
    assert type(from_struct(to_struct(given))["whole"]) is int
    secret = {SIGNATURE: SECRET_SIGNATURE, "value": {"b": "c"}}
    assert from_struct(to_struct({"a": [secret]})) == {"a": [{"b": "c"}]}
    with pytest.raises(TypeError, match="unknown value"):
        bool(UNKNOWN)

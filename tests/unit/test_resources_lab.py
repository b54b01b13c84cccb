"""Passwords: drawn once, kept by every look, drawn anew where that is asked for."""

import string

import pytest

from stack.resources.lab.password import Password
from tests.unit.subject import Subject


@pytest.fixture
def password() -> Subject:
    made = Subject(Password, {"length": 40, "rotation": 1})
    made.create()
    return made


def test_a_password_is_letters_and_digits_and_no_other_is_like_it(password: Subject) -> None:
    drawn = password.state["result"]
    assert len(drawn) == 40
    assert set(drawn) <= set(string.ascii_letters + string.digits)
    assert password.create()["result"] != drawn


def test_it_stays_as_the_state_has_it(password: Subject) -> None:
    assert password.seen() == password.state
    assert not password.drifts()


@pytest.mark.parametrize("change", [{"length": 41}, {"rotation": 2}, {"rotation": None}])
def test_another_length_or_rotation_replaces_it_the_old_one_staying_till_then(
    password: Subject, change: dict[str, int | None]
) -> None:
    found = password.diff(**change)
    assert found.replaces == list(change)
    assert not found.delete_before_replace

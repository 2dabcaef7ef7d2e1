"""Keys: of the right person, with hashes only on the disk, out at once when removed."""

import json

import pytest

from serval.refusal import Refusal
from serval.serving.keys import Keys, Scope


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys.json")


def test_a_key_is_its_persons_and_no_other_is(keys):
    anna, bert = keys.add("anna", (Scope.WATCH,)), keys.add("bert", (Scope.WATCH, Scope.ASK))
    assert keys.person(anna).name == "anna" and keys.person(bert).scopes == {Scope.WATCH, Scope.ASK}
    number, secret = anna.split("-", 2)[1:]
    other = bert.split("-", 2)[1]
    for wrong in (
        "",
        "serval",
        f"serval-{number}",
        f"serval-{number}-{secret[:-1]}",
        f"serval-{other}-{secret}",
        secret,
        "\0" * 9,
    ):
        assert keys.person(wrong) is None


def test_the_secret_is_nowhere_on_the_disk(keys, tmp_path):
    made = keys.add("anna", (Scope.WATCH,))
    content = (tmp_path / "keys.json").read_text()
    assert made.split("-", 2)[2] not in content and json.loads(content)[0]["name"] == "anna"
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


def test_removed_elsewhere_is_out_here(keys, tmp_path):
    made = keys.add("anna", (Scope.WATCH,))
    assert keys.person(made) is not None
    Keys(tmp_path / "keys.json").remove("anna")
    assert keys.person(made) is None and not keys.any


def test_what_cannot_be_is_refused(keys, tmp_path):
    keys.add("anna", (Scope.WATCH,))
    for name, scopes in (("anna", (Scope.WATCH,)), ("", (Scope.WATCH,)), ("a\nb", (Scope.WATCH,)), ("bert", ())):
        with pytest.raises(Refusal):
            keys.add(name, scopes)
    with pytest.raises(Refusal, match="there is none"):
        keys.remove("bert")
    (tmp_path / "keys.json").write_text("[1]")
    with pytest.raises(Refusal, match="no file of keys"):
        keys.held()


def test_an_admin_may_do_everything_and_nobody_else_more_than_theirs(keys):
    admin, viewer = keys.person(keys.add("admin", (Scope.ADMIN,))), keys.person(keys.add("hall", (Scope.WATCH,)))
    assert all(admin.may(scope) for scope in Scope)
    assert [scope for scope in Scope if viewer.may(scope)] == [Scope.WATCH]

"""Where the bench's key for the policy server comes from."""

import pytest
from rlco.api_key import VARIABLE, read_api_key
from rlco.parameters import ParameterError


def test_the_file_comes_before_the_environment_and_neither_is_needed(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_api_key("") is None
    monkeypatch.setenv(VARIABLE, " from-environment\n")
    assert read_api_key("") == "from-environment"
    path = tmp_path / "key"
    path.write_text("from-file\n")
    assert read_api_key(str(path)) == "from-file"


@pytest.mark.parametrize("text", ["", "\n", "two keys", "one\ntwo\n", "sch\x00n"])
def test_what_is_no_key_is_refused_without_being_told(tmp_path, text):
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(ParameterError, match="does not hold one key") as refusal:
        read_api_key(str(path))
    assert "two" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none", tmp_path / "key"):
        with pytest.raises(ParameterError, match=f"{path} cannot be read as a key"):
            read_api_key(str(path))

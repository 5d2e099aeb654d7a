from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv import profile as profile_module
from edge_audiokv.kv.profile import FORMAT, VERSION, HeadProfile, load_profile, parse_profile
from edge_audiokv.kv.shape import KVShape


def profile() -> HeadProfile:
    tables = {"speech": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return HeadProfile("tiny", "abcd", tables, made_with="edge-audiokv calibrate", samples=5)


def test_saved_profile_reads_back(tmp_path):
    path = tmp_path / "heads.json"
    profile().save(path)
    loaded = load_profile(path)
    np.testing.assert_array_equal(loaded.weights(), profile().weights())
    assert (loaded.model, loaded.model_hash, loaded.samples) == ("tiny", "abcd", 5)
    assert list(tmp_path.iterdir()) == [path]
    assert loaded.nbytes == 24


def test_profile_of_another_model_is_refused():
    with pytest.raises(PolicyError, match="another model"):
        profile().check(KVShape(3, 2, 1, 64), "ffff")
    with pytest.raises(PolicyError, match="3 layers of 2 KV heads"):
        profile().check(KVShape(4, 2, 1, 64))
    profile().check(KVShape(3, 2, 1, 64), "abcd")


def test_unknown_table_lists_the_tables():
    with pytest.raises(PolicyError, match="speech"):
        profile().weights("music")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"format": "x"}, "not a edge-audiokv-head-profile"),
        ({"version": 9}, "version 9"),
        ({"tables": {}}, "no tables"),
        ({"tables": {"speech": [[1, 2], [3]]}}, "rectangle"),
        ({"tables": {"speech": [[1, 2]]}}, "is [1, 2], not [3, 2]"),
        ({"tables": {"speech": [[1, 2], [3, -4], [5, 6]]}}, "negative or infinite"),
        ({"samples": "x"}, "samples must be"),
        ({"samples": float("nan")}, "samples must be"),
        ({"notes": 5}, "notes an object"),
    ],
)
def test_malformed_profiles_say_what_is_wrong(tmp_path, change, words):
    path = tmp_path / "heads.json"
    profile().save(path)
    data = json.loads(path.read_text()) | change
    path.write_text(json.dumps(data))
    with pytest.raises(PolicyError) as error:
        load_profile(path)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_unreadable_profiles_are_one_error(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read"):
        load_profile(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(PolicyError, match="not JSON"):
        load_profile(tmp_path / "broken.json")
    with pytest.raises(PolicyError):
        parse_profile([])
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(PolicyError, match="not JSON"):
        load_profile(tmp_path / "deep.json")


@pytest.mark.filterwarnings("error")
def test_weights_past_float32_are_refused_without_a_word_of_numpy():
    data = {"format": FORMAT, "version": VERSION, "n_layer": 1, "n_kv_head": 1}
    with pytest.raises(PolicyError, match="infinite"):
        parse_profile(data | {"tables": {"speech": [[1e300]]}})
    with pytest.raises(PolicyError, match="rectangle"):
        parse_profile(data | {"tables": {"speech": [[10**400]]}})


def test_a_profile_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(profile_module, "MAX_BYTES", 1 << 20)
    with pytest.raises(PolicyError, match="more than 1 MiB"):
        load_profile(Path("/dev/zero"))

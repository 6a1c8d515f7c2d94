"""What is kept is what was measured, and nothing stale comes back."""

from __future__ import annotations

import os

import numpy as np

from efface.evaluation import store as store_module
from efface.evaluation.store import Store, digest, digest_of_array, user_store

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2])}
KEY = {"model": "m", "seeds": [0, 4, 1]}


def test_what_was_put_comes_back_bit_for_bit(tmp_path):
    store = Store(tmp_path / "new")
    assert store.get(KEY) is None
    store.put(KEY, ARRAYS)
    found = Store(tmp_path / "new").get(dict(reversed(KEY.items())))
    assert found is not None and found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


def test_another_key_finds_nothing(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, ARRAYS)
    assert store.get(KEY | {"model": "n"}) is None
    assert store.get(KEY | {"seeds": [0, 5, 1]}) is None


def test_another_version_of_a_library_or_of_the_protocol_finds_nothing(tmp_path, monkeypatch):
    Store(tmp_path).put(KEY, ARRAYS)
    monkeypatch.setattr(store_module, "PROTOCOL", 99)
    assert Store(tmp_path).get(KEY) is None
    monkeypatch.undo()
    for library in ("torch", "diffusers", "transformers", "PIL"):
        monkeypatch.setattr(getattr(store_module, library), "__version__", "0.0")
        assert Store(tmp_path).get(KEY) is None
        monkeypatch.undo()
    assert Store(tmp_path).get(KEY) is not None


def test_damage_counts_as_missing_and_is_mended(tmp_path):
    store, calls = Store(tmp_path), []

    def compute():
        calls.append(1)
        return ARRAYS

    store.measured(KEY, compute)
    (file,) = tmp_path.iterdir()
    for content in (b"", b"rubbish", file.read_bytes()[:-5]):
        file.write_bytes(content)
        np.testing.assert_array_equal(store.measured(KEY, compute)["a"], ARRAYS["a"])
        assert store.get(KEY) is not None
    assert len(calls) == 4


def test_a_file_under_a_foreign_name_is_not_believed(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, ARRAYS)
    (file,) = tmp_path.iterdir()
    other = KEY | {"model": "n"}
    file.rename(tmp_path / f"{digest(other)}.safetensors")
    assert store.get(other) is None


def test_what_has_no_key_is_computed_each_time(tmp_path):
    calls = []
    for _ in range(2):
        Store(tmp_path).measured(None, lambda: calls.append(1) or ARRAYS)
    assert len(calls) == 2 and not list(tmp_path.iterdir())


def test_the_oldest_goes_when_the_store_is_full(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for i in range(3):
        store.put({"i": i}, ARRAYS)
        os.utime(store._path({"i": i}), (i, i))
    size = store._path({"i": 0}).stat().st_size
    monkeypatch.setattr(store_module, "LIMIT_BYTES", 3 * size)
    assert store.get({"i": 0}) is not None  # read just now, so no longer the oldest
    store.put({"i": 3}, ARRAYS)
    assert [store.get({"i": i}) is not None for i in range(4)] == [True, False, True, True]


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "below")
    assert store.measured(KEY, lambda: ARRAYS) is ARRAYS


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFACE_CACHE", str(tmp_path))
    assert user_store().folder == tmp_path
    monkeypatch.setenv("EFFACE_CACHE", "off")
    assert user_store().folder is None
    monkeypatch.delenv("EFFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert user_store().folder == tmp_path / "x" / "efface"


def test_the_digest_of_an_array_knows_shape_and_type():
    a = np.zeros((2, 3), dtype=np.float32)
    others = [a.reshape(3, 2), a.astype(np.float64), a + 1]
    assert len({digest_of_array(x) for x in [a, *others]}) == 4
    assert digest_of_array(a) == digest_of_array(a.copy())
    assert digest_of_array(a.T) == digest_of_array(np.ascontiguousarray(a.T))

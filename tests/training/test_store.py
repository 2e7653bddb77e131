"""runs/: what is saved comes back bit for bit, and a file that is not what was saved is refused by
name."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lintf.training import store
from lintf.training.store import Record, StoreError

PACKAGE = Path(__file__).parents[2] / "lintf"
CONFIG = {
    "model": {"kind": "LinearTransformer", "init_std": 1e-05, "label": "é"},
    "seed": 3,
    "betas": (0.9, 0.99),
}
META = {"device": "cpu", "seconds": 1.25, "versions": {"torch": "x"}}


def record():
    g = torch.Generator().manual_seed(0)
    tensors = {
        "P": torch.randn(4, 2, 3, generator=g),
        "Q": torch.randn(5, 7, generator=g, dtype=torch.float64).mT,
        "steps": torch.arange(6),
        "count": torch.tensor(3.0),
        "bytes": torch.randint(0, 255, (2, 9), generator=g, dtype=torch.uint8),
        "empty": torch.empty(0, 3),
        "odd": torch.tensor([float("nan"), -0.0, float("inf")]),
    }
    return Record(CONFIG, tensors, META)


@pytest.fixture
def path(runs):
    """A stored run."""
    path = store.path_of("a-run", CONFIG)
    store.save(path, record())
    return path


def same(ours, theirs):
    """Equal in every bit."""

    def content(r):
        tensors = {
            n: (t.dtype, t.shape, t.contiguous().numpy().tobytes()) for n, t in r.tensors.items()
        }
        return tensors, store.canonical(r.config), store.canonical(r.meta)

    return content(ours) == content(theirs)


def refused(path):
    """The message with which the file is refused."""
    with pytest.raises(StoreError) as error:
        store.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


# ---- round trip


def test_round_trip(path):
    assert same(store.load(path), record())
    assert path.parent == store.folder() / "LinearTransformer"


def test_tensors_come_in_the_order_of_their_names(path):
    """In every process: pages go through them in this order."""
    names = list(store.load(path).tensors)
    assert len(names) > 1
    assert names == sorted(names)


def test_names_fit_configurations(path):
    assert path.name == f"a-run-{store.key(CONFIG)}.safetensors"
    assert list(store.runs()) == [path]
    assert store.key(CONFIG) == store.key(json.loads(store.canonical(CONFIG)))
    # Whatever the order of the fields.
    assert store.key(CONFIG) == store.key(dict(reversed(CONFIG.items())))
    for change in ({"seed": 4}, {"betas": (0.9, 0.98)}, {"new": None}):
        assert store.key(CONFIG | change) != store.key(CONFIG)


def test_a_later_save_replaces_the_file(path):
    new = Record(CONFIG, {"P": torch.ones(2)}, META)
    store.save(path, new)
    assert same(store.load(path), new)
    assert os.listdir(path.parent) == [path.name]


def test_others_may_read_the_file(path):
    assert path.stat().st_mode & 0o777 == 0o644


def test_no_file_is_not_a_damaged_file(runs):
    with pytest.raises(FileNotFoundError):
        store.load(store.path_of("a-run", CONFIG))
    assert list(store.runs()) == []


def test_the_folder_is_the_one_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path / "here"))
    assert store.folder() == tmp_path / "here"
    monkeypatch.delenv("LINTF_RUNS")
    assert store.folder() == PACKAGE.parent / "runs"


def test_what_is_found_is_noted_where_the_environment_says(path, monkeypatch, tmp_path):
    trace, other = tmp_path / "trace.txt", store.folder() / "measured" / path.name
    store.save(other, record())
    monkeypatch.setenv("LINTF_TRACE", str(trace))
    for each in (path, other, path):
        assert same(store.find(each), record())
    assert store.find(path.with_name("another.safetensors")) is None
    store.load(path)  # as verify does
    own = path.relative_to(store.folder()).as_posix()
    expected = [own, f"measured/{path.name}", own]
    assert trace.read_text().splitlines() == expected
    monkeypatch.delenv("LINTF_TRACE")
    store.find(path)
    assert trace.read_text().splitlines() == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_configuration_without_a_name_is_not_saved(runs, value):
    with pytest.raises(ValueError, match="JSON"):
        store.save(runs / "a.safetensors", Record({"lr": value}, {}, {}))
    assert not runs.exists() or not os.listdir(runs)


# ---- atomicity


@pytest.mark.parametrize("where", ["os.fsync", "os.replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()], ids=["full", "ctrl-c"]
)
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(path, monkeypatch, where, error):
    def interrupted(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, where.removeprefix("os."), interrupted)
        with pytest.raises(type(error)):
            store.save(path, Record(CONFIG, {"P": torch.ones(2)}, META))
    assert os.listdir(path.parent) == [path.name]
    assert same(store.load(path), record())


def test_a_write_that_stops_half_way_leaves_the_old_file(path, monkeypatch):
    def half(name, data):
        name.write_bytes(data[:100])
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", half)
        with pytest.raises(OSError, match="disk full"):
            store.save(path, Record(CONFIG, {"P": torch.ones(2)}, META))
    assert os.listdir(path.parent) == [path.name]
    assert same(store.load(path), record())


# ---- where the disk, or the system, is not POSIX's


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EPERM]
)
def test_a_disk_that_does_not_confirm_a_write(runs, monkeypatch, number):
    """As network and cloud drives: the bytes are there, and that is what counts."""

    def refused(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refused)
    path = store.path_of("a-run", CONFIG)
    store.save(path, record())
    assert same(store.load(path), record())
    assert os.listdir(path.parent) == [path.name]


def test_a_disk_that_neither_confirms_a_write_nor_does_it(path, monkeypatch):
    def forgets(handle):
        os.ftruncate(handle, 100)
        raise OSError(errno.EINVAL, "not here")

    monkeypatch.setattr(os, "fsync", forgets)
    with pytest.raises(OSError, match=r"could not be saved .*does not hold what was written"):
        store.save(path, Record(CONFIG, {"P": torch.ones(2)}, META))
    assert os.listdir(path.parent) == [path.name]
    assert same(store.load(path), record())


def test_a_handle_that_only_reads_is_not_synced(runs, monkeypatch):
    """Windows refuses that."""
    modes, fsync = [], os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: modes.append(fcntl.fcntl(handle, fcntl.F_GETFL)) or fsync(handle),
    )
    store.save(store.path_of("a-run", CONFIG), record())
    assert [mode & os.O_ACCMODE for mode in modes] == [os.O_WRONLY]


@pytest.mark.parametrize("call", ["os.chmod", "os.utime", "os.chown", "os.link"])
def test_what_a_drive_may_refuse_is_not_asked_for(runs, monkeypatch, call):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EPERM, f"no {call} here")

    monkeypatch.setattr(os, call.removeprefix("os."), refused)
    path = store.path_of("a-run", CONFIG)
    store.save(path, record())
    assert same(store.load(path), record())


def busy(monkeypatch, owner, name, times):
    """Somebody else has the file open, as Windows and antivirus programs take it, for so many
    tries."""
    left, act = [times], getattr(owner, name)

    def refused(*args, **kwargs):
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(errno.EACCES, "used by another process")
        return act(*args, **kwargs)

    monkeypatch.setattr(owner, name, refused)


@pytest.mark.parametrize(("owner", "name"), [(os, "replace"), (Path, "read_bytes")])
def test_a_file_that_another_process_has_open_for_a_moment(path, monkeypatch, owner, name):
    busy(monkeypatch, owner, name, 3)
    new = Record(CONFIG, {"P": torch.ones(2)}, META)
    store.save(path, new)
    assert same(store.load(path), new)
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_another_process_keeps_open(path, monkeypatch):
    busy(monkeypatch, os, "replace", 100)
    with pytest.raises(
        OSError, match=rf"{path.name} could not be saved \(.*used by another process"
    ):
        store.save(path, Record(CONFIG, {"P": torch.ones(2)}, META))
    assert os.listdir(path.parent) == [path.name]
    assert same(store.load(path), record())


@pytest.mark.parametrize(("owner", "name"), [(Path, "unlink"), (Path, "glob")])
def test_what_is_only_tidied_up_cannot_lose_a_run(runs, monkeypatch, owner, name):
    path = store.path_of("a-run", CONFIG)
    runs.mkdir()
    old = runs / ".other-run.safetensors.abcdefgh"
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    with monkeypatch.context() as patch:
        busy(patch, owner, name, 100)
        store.save(path, record())
    assert same(store.load(path), record())


# ---- damage


def test_every_truncation_is_refused(path):
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole + b"\0")
    refused(path)


def test_a_flipped_bit_is_refused_or_changes_nothing(path):
    """All over the file, and everywhere in its first bytes, which hold the header's length."""
    rng, whole, harmless = random.Random(0), path.read_bytes(), 0
    places = [(rng.randrange(len(whole)), rng.randrange(8)) for _ in range(400)]
    places += [(place, bit) for place in range(8) for bit in range(8)]
    for place, bit in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            assert same(store.load(path), record())
            harmless += 1
        except StoreError as error:
            message = str(error)
            assert str(path) in message
    assert harmless < len(places) / 10


def test_a_renamed_file_is_refused(path):
    other = path.rename(path.with_name(f"a-run-{store.key(CONFIG | {'seed': 4})}.safetensors"))
    assert "name" in refused(other)


def test_a_foreign_safetensors_file_is_refused(path):
    save_file({"P": torch.ones(2)}, path)
    refused(path)
    save_file({"P": torch.ones(2)}, path, {"lintf": "[1, 2]"})
    refused(path)
    save_file({"P": torch.ones(2)}, path, {"lintf": json.dumps({"config": CONFIG, "meta": META})})
    refused(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a run\n", b"\x80\x04\x95pickle", b"PK\x03\x04" + bytes(400)]
)
def test_another_kind_of_file_is_refused(path, content):
    path.write_bytes(content)
    refused(path)


def test_a_folder_of_that_name_is_refused(path):
    path.unlink()
    path.mkdir()
    refused(path)


def edit(path, change):
    """Rewrite the JSON header of our own within the file's, and leave the tensors as they are."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    outer = json.loads(whole[8 : 8 + length])
    outer["__metadata__"]["lintf"] = change(outer["__metadata__"]["lintf"])
    header = json.dumps(outer).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + whole[8 + length :])


def test_an_untouched_header_survives_the_editor(path):
    """So that the next tests refuse what was edited, not how."""
    edit(path, lambda text: text)
    assert same(store.load(path), record())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 3', '"seed": 4'),
        ('"seconds": 1.25', '"seconds": 0.25'),
        ('"seconds": 1.25', '"seconds": NaN'),
        ('"seconds": 1.25', '"seconds": 1e999'),
        ('"seed": 3', '"seed": -Infinity'),
        ('"device": "cpu", ', ""),
        ('"digest": "', '"digest": "0'),
        ('"digest": ', '"digestion": '),
        ('{"config"', '{"more": 1, "config": 2, "config"'),
        ('{"config"', '["config"'),
    ],
)
def test_an_edited_header_is_refused(path, old, new):
    def change(text):
        assert old in text
        return text.replace(old, new, 1)

    edit(path, change)
    if "more" in new:  # what nobody reads is no damage
        assert same(store.load(path), record())
    else:
        refused(path)


def test_a_digest_of_other_tensors_is_refused(path):
    """Same names and shapes, and our own header, but other numbers or one tensor more."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])["__metadata__"]
    for change in (
        {"P": record().tensors["P"].flip(0)},
        {"more": torch.ones(1)},
        {"steps": torch.arange(6).int()},
    ):
        save_file({n: t.contiguous() for n, t in (record().tensors | change).items()}, path, header)
        assert "digest" in refused(path)

"""copy_file(): the contents of one file become those of another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cts.runtime.support import cancelled_scope
from cts.support import open_descriptors, pattern
from proactor_trio import copy_file


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_a_copy_has_the_same_contents(path: Path, size: int) -> None:
    path.write_bytes(pattern(size))
    assert await copy_file(path, path.with_name("copy")) == size
    assert path.with_name("copy").read_bytes() == pattern(size)


async def test_a_longer_target_becomes_shorter(path: Path) -> None:
    path.write_bytes(b"new")
    path.with_name("copy").write_bytes(b"much longer than that")
    await copy_file(path, path.with_name("copy"))
    assert path.with_name("copy").read_bytes() == b"new"


async def test_a_file_without_a_length_is_copied(path: Path) -> None:
    assert await copy_file("/proc/self/limits", path) == path.stat().st_size > 0


async def test_what_the_kernel_does_not_copy_is_read_and_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "copy_file_range")
    path.write_bytes(pattern(500_000))
    assert await copy_file(path, path.with_name("copy")) == 500_000
    assert path.with_name("copy").read_bytes() == pattern(500_000)


@pytest.mark.parametrize("other_name", ["file", "link", "hard"])
async def test_a_file_is_not_copied_over_itself(path: Path, other_name: str) -> None:
    path.write_bytes(b"kept")
    path.with_name("link").symlink_to(path)
    path.with_name("hard").hardlink_to(path)
    with pytest.raises(shutil.SameFileError):
        await copy_file(path, path.with_name(other_name))
    assert path.read_bytes() == b"kept"


async def test_a_source_that_is_not_there_leaves_the_target(path: Path) -> None:
    path.write_bytes(b"kept")
    with pytest.raises(FileNotFoundError):
        await copy_file(path.with_name("nothing"), path)
    assert path.read_bytes() == b"kept"


async def test_a_full_device_is_an_error_and_nothing_is_left_open(path: Path) -> None:
    path.write_bytes(b"x")
    before = open_descriptors()
    with pytest.raises(OSError):
        await copy_file(path, "/dev/full")
    assert open_descriptors() == before


async def test_a_cancelled_copy_has_not_begun(path: Path) -> None:
    path.write_bytes(b"x")
    with cancelled_scope():
        await copy_file(path, path.with_name("copy"))
    assert not path.with_name("copy").exists()

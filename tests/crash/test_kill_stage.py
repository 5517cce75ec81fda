"""`kinema data stage` that is killed while it writes: nothing half-done is taken for a store, and the next call leaves nothing of it."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from toys import fork

from kinema.data.stage import world
from kinema.data.store import FRAMES, Store


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_was_killed_is_removed_by_the_next(good, bad, tmp_path, overwrite):
    out = tmp_path / "s"
    words = ("data", "stage", "signs-1", "--out", out, "--clips", 2, *(["--overwrite"] if overwrite else []))
    if overwrite:
        world.write(out, 1)
    (tmp_path / ".kinema-tmp-stage-t").mkdir()  # another one's
    pid = fork(lambda: world.write_signs(out, overwrite=overwrite))
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".kinema-tmp-stage-s/*/" + FRAMES)) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert "another build of the same store is running; wait for it" in bad(*words)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (tmp_path / ".kinema-tmp-stage-s").is_dir()
    assert [len(Store.open(path)) for path in tmp_path.glob("[!.]*")] == ([1] if overwrite else [])

    good(*words)
    assert len(Store.open(out)) == 2
    assert sorted(os.listdir(tmp_path)) == [".kinema-tmp-stage-t", "s"]

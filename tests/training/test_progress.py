"""What lasts is told: a bar with loss, speed and time left in a terminal, a line now and then elsewhere, and nothing for who is quiet."""

import io
import re

import pytest
from rich.console import Console
from toys import stage

from kinema.training import progress
from kinema.training.fit import fit
from kinema.training.progress import Bar, counting


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to draw on; gives what was drawn, without the codes that move the cursor."""
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **how: Console(**how | {"stderr": False}, file=screen, force_terminal=True, width=140)
    )
    return lambda: re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())


def test_a_line_now_and_then(capfd, clock):
    bar = Bar(100, "step", unit="clips")
    bar.rows = 8
    for done in range(1, 31):
        clock[0] += 1
        bar.step(done, lambda: "loss 0.5")
    bar.close()
    captured = capfd.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"step \d\d of 100  loss 0.5  .*clips/s  \d+:\d\d:\d\d left", line) for line in lines), lines
    assert lines[0].startswith("step 10 of 100")


def test_what_is_over_at_once_says_nothing_and_a_text_that_nobody_sees_is_not_made(capfd):
    bar = Bar(1000, "step")
    for done in range(1000):
        bar.step(done, lambda: pytest.fail("fetched from the device"))
    bar.close()
    with counting(10, "clip", "features") as step:
        step(10)
    quiet = Bar(10, "step", shown=False)
    quiet.step(1, lambda: pytest.fail("fetched from the device"), pause=True)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_what_nobody_can_count_beforehand(capfd, clock):
    with counting(None, "clip", "reading") as step:
        for done in range(1, 5):
            clock[0] += 6
            step(done)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [["clip 2", "reading"], ["clip 4", "reading"]]
    assert "left" not in lines[1]


def test_training_in_a_terminal_shows_loss_speed_and_time_left(tmp_path, terminal, monkeypatch, capfd):
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.0)
    fit([stage()], tmp_path, config={}, accelerator="cpu")  # logs every 50 steps, and is over after 12
    drawn = terminal()
    assert re.search(r"regression  epoch \d\.\d\d  loss \d\.\d+", drawn)
    assert re.search(r"\d+ clips/s", drawn)
    assert re.search(r"\d+/12", drawn)
    assert re.search(r"\d:\d\d:\d\d", drawn)
    assert capfd.readouterr().out == ""

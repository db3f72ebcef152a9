"""What a training shows while it runs: on a terminal, and in a log."""

import re

import pytest

from tests.fakes.runs import fit_shapes
from tests.fakes.terminals import shown_on_terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.usefixtures("in_tmp_path")
def test_a_terminal_has_bars_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NO_COLOR asks for; without it there are none either."""
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown_on_terminal(lambda: fit_shapes("--trainer.max_epochs=2"), monkeypatch)
    assert not COLOUR.search(text)
    # Each says what it counts, and how long that takes.
    left = r": +\d+%\|.*?\| \S+ left"
    for title in ("training", "pass 1 of 2", "pass 2 of 2", "validation", "test"):
        assert re.search(title + left, text), title
    assert re.search(r"left, train/loss \d", text)
    assert re.search(r"\rTrained in \d\d:\d\d, train/loss \S+, val/zsl/mAP \S+", text)
    assert "loading libraries ..." in text
    assert len(re.findall("Training .* million parameters on 16 images with 84 labels", text)) == 1
    for phrase in ("Epoch", "Batches", "it/s", "Params", "GPU available", "Seed set"):
        assert phrase not in text
    bars = [part for line in text.split("\n") for part in line.split("\r") if "%|" in part]
    assert max(len(re.sub(r"\x1b\[\w", "", bar)) for bar in bars) <= 80


@pytest.mark.usefixtures("in_tmp_path")
def test_a_log_has_a_line_for_each_pass(capfd: pytest.CaptureFixture[str]) -> None:
    assert fit_shapes("--trainer.max_epochs=3") == 0
    captured = capfd.readouterr()
    passes = [line for line in captured.err.splitlines() if line.startswith("pass ")]
    assert [line.partition(",")[0] for line in passes] == [f"pass {n} of 3" for n in (1, 2, 3)]
    assert all(re.search(r"\d\d:\d\d left, train/loss \d.*, val/zsl/mAP \d", one) for one in passes)
    assert "\x1b" not in captured.out + captured.err
    assert "%|" not in captured.out + captured.err.partition("pass 3")[0]

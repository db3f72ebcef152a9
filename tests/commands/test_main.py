"""What all commands share, and the command `zsl`, which runs them."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.runs import QUICK, TINY_MODEL, TINY_SHAPES
from zsl.commands import exit_codes
from zsl.commands.completion import complete
from zsl.commands.main import COMMANDS, main
from zsl.errors import InputError
from zsl.notes import note, remark
from zsl.versions import __version__

HEAVY = {"torch", "numpy", "pandas", "matplotlib", "optuna", "gradio", "tqdm"}
HELPS = f"""
import contextlib, importlib, io, sys
for name in {[*COMMANDS]}:
    for module in (f"zsl.{{name}}", "zsl.commands.main"):
        module = "zsl.labels.__main__" if module == "zsl.labels" else module
        if module == "zsl.completion":
            continue
        args = [name, "--help"] if module == "zsl.commands.main" else ["--help"]
        text = io.StringIO()
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(text):
            importlib.import_module(module).main(args)
        print(module, name, text.getvalue().startswith("usage: "), *{HEAVY} & {{*sys.modules}})
# Nor does a table of photographs need what trains.
import zsl.commands.make_table
print("make_table", True, *{{"torch", "pandas"}} & {{*sys.modules}})
"""


def test_help_of_all_commands_comes_at_once() -> None:
    """Nothing that takes long to import is imported for it."""
    result = subprocess.run([sys.executable, "-c", HELPS], capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * len(COMMANDS), result.stderr
    for line in lines:
        assert line.endswith("True"), line


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_it_lists_the_commands(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^  (\w+) +[A-Z].*\.$", text, re.MULTILINE) == [*COMMANDS]
    assert max(map(len, text.splitlines())) <= 80


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predcit", "--labels=dog"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("Did you mean 'predict'?\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("predict a.jpg --chekpoint=b.ckpt", "no argument chekpoint. Did you mean 'checkpoint'?"),
        ("search a.jpg --indx=i", "no argument indx. Did you mean 'index'?"),
        ("evaluate --replicats=9", "no argument replicats. Did you mean 'replicates'?"),
        ("export --formt=onnx", "no argument formt. Did you mean 'format'?"),
        ("demo --foldr=a", "no argument foldr. Did you mean 'folder'?"),
        ("prepare table --rot=a", "no argument rot. Did you mean 'root'?"),
        ("prepare nuswide --resise=9", "no argument resise. Did you mean 'resize'?"),
        ("sweep a.yaml --proceses=2", "no argument proceses. Did you mean 'processes'?"),
        ("labels --config=shapes.yaml --outptu=a", "no argument outptu. Did you mean 'output'?"),
        ("prepare table photos", "'photos' stands alone, without the name of an argument. Did you"),
        ("prepare table photos", "Did you mean --root photos?"),
        ("evaluate best.ckpt", "Did you mean --checkpoint best.ckpt?"),
        ("export best.ckpt", "Did you mean --checkpoint best.ckpt?"),
        ("export", "--checkpoint is not set; add --checkpoint VALUE."),
        ("predict", "There are no paths; name some, as --help shows."),
        ("predict a.jpg --labels", "--labels has no value; add one."),
        ("predict a.jpg --accelerator=tpu", "--accelerator is 'tpu'; expected auto, gpu or cpu."),
        ("sweep a.yaml --processes=two", "--processes is 'two'; expected int."),
        ("sweep --count=3", "No sweep file is named"),
        ("evaluate --config=shapes.yaml", "--config goes with --published FILE"),
        ("predict a.jpg --decide=f1", "The ready tagger only ranks"),
        ("fit --config=shapess.yaml", "Did you mean 'shapes.yaml'"),
    ],
)
def test_mistakes_are_one_sentence(
    args: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before anything is loaded."""
    assert main(args.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("args", [[], *([name] for name in COMMANDS)])
def test_all_tell_the_version(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*args, "--version"]) == 0
    assert capsys.readouterr().out == f"zsl {__version__}\n"


def test_usage_names_the_command_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for called, expected in (("/usr/bin/zsl", "zsl fit"), ("zsl/fit.py", "python -m zsl.fit")):
        monkeypatch.setattr(sys, "argv", [called])
        assert main(["fit", "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: {expected} --config")


@pytest.fixture
def may_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes what --quiet does to the process."""
    for name in ("ZSL_QUIET", "TQDM_DISABLE", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)


@pytest.mark.usefixtures("may_be_quiet")
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_quiet_leaves_out_notes_not_results_and_errors(
    quiet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def command(args: list[str]) -> None:
        assert args == ["--batch_size=2"]
        note("one image is odd")
        remark("two are small")
        print("dog 0.9")
        raise InputError("There is no more.")

    assert exit_codes.exit_code(command, [*quiet, "--batch_size=2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ("" if quiet else "note: two are small\n") + "dog 0.9\n"
    notes = "" if quiet else "note: one image is odd\n"
    assert captured.err == notes + "error: There is no more.\n"


@pytest.mark.usefixtures("may_be_quiet", "in_tmp_path")
def test_a_quiet_training_prints_its_results_alone(capfd: pytest.CaptureFixture[str]) -> None:
    config = ["--config=shapes.yaml", "--quiet"]
    assert main(["fit", *config, *TINY_SHAPES, *TINY_MODEL, *QUICK]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.lstrip("\n").startswith("Test on 16 images.\n")
    assert "\r" not in captured.out


@pytest.mark.usefixtures("may_be_quiet")
def test_a_shell_completes_commands_arguments_and_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete([])
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def completed(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        asked = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _zsl; "
        code = f"source ./script; {asked} echo ${{COMPREPLY[@]}}"
        run = ["bash", "-c", code]
        return subprocess.run(
            run, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.split()

    assert completed("zsl", "e") == ["evaluate", "export"]
    assert completed("zsl", "predict", "--lab") == ["--labels"]
    assert completed("zsl", "fit", "--model.head.num_g") == ["--model.head.num_groups"]
    assert completed("zsl", "fit", "--config", "shap") == ["shapes.yaml"]
    assert completed("zsl", "prepare", "") == ["table", "nuswide", "features", "shards"]
    assert completed("zsl", "predict", "--checkpoint", "runs/") == []  # Files are the shell's.

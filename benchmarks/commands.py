"""Time, memory and quality of the commands, each run as a user runs it.

python benchmarks/commands.py help
python benchmarks/commands.py import --runs 5
python benchmarks/commands.py fit --runs 2 shapes.yaml
python benchmarks/commands.py fit --runs 1 table.yaml --data.root /absolute/path
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median


def timed(command: list[str], folder: str) -> tuple[float, float]:
    """Runs a command in a folder; returns seconds and GB at the peak of its largest process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    # The largest child so far: each benchmark runs commands of one kind.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return time.perf_counter() - start, peak


def benchmark_help(folder: str) -> None:
    """Times help three times: the short ones, and the full list of arguments."""
    for command in ("-m zsl.fit --help", "-m zsl.evaluate --help", "-m zsl.fit --help_all"):
        seconds = [timed([sys.executable, *command.split()], folder)[0] for _ in range(3)]
        print(f"python {command:<26}" + "".join(f"{value:8.2f} s" for value in seconds))


def benchmark_import(runs: int) -> None:
    """Times the import of the tagger, and of the libraries that it can't do without."""
    imports = {
        "from zsl import Tagger": "from zsl import Tagger",
        "torch, timm, huggingface_hub": "import torch, timm.data, safetensors.torch\n"
        "from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download",
    }
    seconds: dict[str, list[float]] = {name: [] for name in imports}
    for _ in range(runs):
        for name, code in imports.items():
            program = f"import time; start = time.perf_counter()\n{code}\n"
            program += "print(time.perf_counter() - start)"
            command = [sys.executable, "-c", program]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[name].append(float(result.stdout))
    medians = {name: median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<29}{value:6.2f} s")
    own, theirs = medians.values()
    print(f"ratio {own / theirs:.2f}")


def benchmark_fit(folder: str, config: str, more: list[str], runs: int) -> None:
    """Runs `zsl.fit`, then `zsl.evaluate` on its best checkpoint; compares the numbers."""
    results = []
    for number in range(runs):
        fit = [sys.executable, "-m", "zsl.fit", "--config", config, *more]
        seconds, memory = timed(fit, folder)
        run = next(Path(folder).glob(f"runs/*/version_{number}"))
        results.append(json.loads((run / "results.json").read_text())["metrics"])
        unseen, seen = (results[-1][f"test/{group}/mAP"] for group in ("zsl", "seen"))
        print(
            f"run {number}: {seconds:.0f} s, peak {memory:.2f} GB, "
            f"unseen mAP {unseen:.4f}, seen mAP {seen:.4f}",
            flush=True,
        )
    checkpoint = run / "checkpoints" / "best.ckpt"
    evaluate = [sys.executable, "-m", "zsl.evaluate", "--checkpoint", str(checkpoint)]
    seconds, _ = timed(evaluate, folder)
    evaluated = json.loads((run / "checkpoints/best_evaluation/results.json").read_text())
    results.append(evaluated["metrics"])
    spread = max(
        max(result[name] for result in results) - min(result[name] for result in results)
        for name in results[0]
    )
    print(f"evaluate: {seconds:.0f} s; largest difference of any figure: {spread:.1e}")


def main() -> None:
    """Runs the benchmark that the arguments name, in an empty folder with an empty cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["help", "import", "fit"])
    parser.add_argument("config", nargs="?", default="shapes.yaml")
    parser.add_argument("--runs", type=int, default=1)
    options, more = parser.parse_known_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZSL_CACHE"] = f"{folder}/cache"
        if options.what == "help":
            benchmark_help(folder)
        elif options.what == "import":
            benchmark_import(options.runs)
        else:
            benchmark_fit(folder, options.config, more, options.runs)


if __name__ == "__main__":
    main()

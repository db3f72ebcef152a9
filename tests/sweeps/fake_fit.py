"""Stands in for `zsl.fit`: leaves the files of a run, or goes wrong as `--do` or a file says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

arguments = dict(word[2:].split("=", 1) for word in sys.argv[1:])
folder = Path(arguments["run_folder"])
wrong = Path("wrong.json")
todo = json.loads(wrong.read_text()) if wrong.exists() else {}
do = todo.get(arguments.get("seed_everything"), arguments.get("do"))
environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
(folder / "environment.json").write_text(json.dumps(environment))
(folder / "config.yaml").write_text(json.dumps({"seed_everything": 3}))
if do == "crash":
    raise RuntimeError("the sky fell")
if do == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if do == "refuse":
    print("error: head.dropout is 1.5; expected 0 to below 1.\nwandb: Bye.", file=sys.stderr)
    sys.exit(2)
if do == "nothing":
    sys.exit()
if do == "wait":
    (folder / "process").write_text(str(os.getpid()))
    while wrong.exists():
        time.sleep(0.05)
name = "val/seen/mAP" if do == "other" else "val/zsl/mAP"
(folder / "metrics.csv").write_text(f"epoch,{name}\n")
for epoch, score in enumerate([0.25, 0.5, 0.125]):
    with (folder / "metrics.csv").open("a") as file:
        file.write(f"{epoch},{score}\n")
    time.sleep(30 if do == "slow" else 0)
figures = {"test/zsl/mAP": 0.3, "test/seen/mAP": 1e-5}
(folder / "results.json").write_text(json.dumps({"metrics": figures}))

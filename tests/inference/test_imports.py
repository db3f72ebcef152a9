import subprocess
import sys


def test_a_tagger_is_imported_without_what_only_training_and_tables_need() -> None:
    heavy = ["pytorch_lightning", "lightning_fabric", "torchmetrics", "pandas", "matplotlib"]
    heavy += ["scipy", "pyarrow", "sklearn", "gensim", "sentence_transformers", "jsonargparse"]
    code = f"import sys; from zsl import Tagger; print(*sys.modules.keys() & set({heavy}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")

"""Time and memory of 1006 names from word vectors of GloVe's size.

python benchmarks/label_embeddings.py

Writes 400,000 words of 300 numbers as GloVe's text and as word2vec's binary (1 GB and 0.5 GB),
then embeds 1006 names from each three times, every time in a process of its own: the first opens
the file, the others find the vectors in the cache. Imports are timed apart. Beside it, gensim
reading the text.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NUM_WORDS, WIDTH, NUM_NAMES = 400_000, 300, 1006


def write(folder: Path) -> None:
    """Writes both files."""
    random = np.random.default_rng(0)
    pool = np.array([f"{value:.5f}" for value in random.normal(size=100_000) * 0.4])
    numbers = pool.astype(np.float32)
    with (folder / "glove.txt").open("w") as text, (folder / "word2vec.bin").open("wb") as binary:
        binary.write(f"{NUM_WORDS} {WIDTH}\n".encode())
        for word in range(NUM_WORDS):
            chosen = random.integers(len(pool), size=WIDTH)
            text.write(f"w{word} {' '.join(pool[chosen])}\n")
            binary.write(f"w{word} ".encode() + numbers[chosen].tobytes() + b"\n")


def measure(path: str, how: str) -> None:
    """Embeds the names, or has gensim read the file, in this process."""
    import resource

    start = time.perf_counter()
    if how == "gensim":
        from gensim.models import KeyedVectors
    else:
        from zsl.labels import WordVectors
    imported = time.perf_counter()
    if how == "gensim":
        KeyedVectors.load_word2vec_format(path, no_header=True)
    else:
        names = [f"w{397 * number}" for number in range(NUM_NAMES)]
        vectors = WordVectors(path).encode(names)
        assert vectors.shape == (NUM_NAMES, WIDTH)
    result = {
        "imports": imported - start,
        "seconds": time.perf_counter() - imported,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print("RESULT" + json.dumps(result))


def main() -> None:
    """Writes the files and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure")
    parser.add_argument("--how", default="ours")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.how)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        environment = os.environ | {"ZSL_CACHE": f"{folder}/cache"}
        kinds = [("glove.txt", "ours", 3), ("word2vec.bin", "ours", 3), ("glove.txt", "gensim", 1)]
        for name, how, times in kinds:
            for number in range(times):
                command = [sys.executable, __file__, "--measure", f"{folder}/{name}", "--how", how]
                run = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                )
                found = json.loads(run.stdout.split("RESULT")[1])
                print(
                    f"{name}, {how}, use {number + 1}: {found['seconds']:.2f} s after "
                    f"{found['imports']:.1f} s of imports, peak {found['gigabytes']:.2f} GB",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""`python -m zsl.sweep sweeps/query_augmentation.yaml`: many runs of `zsl.fit`, compared."""

from zsl.sweeps.command import main

if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m zsl.labels --config nuswide.yaml`: how the labels of a config are embedded."""

from zsl.commands.labels import main

if __name__ == "__main__":
    raise SystemExit(main())

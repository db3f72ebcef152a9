"""`python -m zsl.fit --config shapes.yaml`: trains, then tests the best checkpoint."""

from zsl.commands.fit import main

if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m zsl.prepare nuswide|features ...`: what is done once, before training."""

from zsl.commands.prepare import main

if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m zsl.evaluate --checkpoint runs/.../best.ckpt`: the test, from checkpoints alone."""

from zsl.commands.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())

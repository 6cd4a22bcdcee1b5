"""``python -m qcore`` is the ``qcore`` command."""

from qcore.cli import main

if __name__ == "__main__":
    main(prog_name="qcore")

"""``python -m subsel``."""

from subsel.cli import main

if __name__ == "__main__":
    main()

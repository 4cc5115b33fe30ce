"""`python -m unlearn` is the console script `unlearn`."""

from unlearn.cli import main

if __name__ == "__main__":
    main()

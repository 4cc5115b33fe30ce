"""`python -m unlearn` is the console script `unlearn`."""

from unlearn.cli.run import main

if __name__ == "__main__":
    main()

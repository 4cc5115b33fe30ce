"""What Hydra says of a composition that failed, in our words."""

from __future__ import annotations

import re

from unlearn.config.clusters import lacking

# What Hydra says of an option of a group that the chosen parent does not have, asked for with and without a plus.
ABSENT = re.compile(r"Could not override '(\w+/[\w/]+)'|In 'schema/(\w+/\w+)/\w+': ConfigKeyError")
# What it says of a key, and of a value, in a file.
STRANGE = re.compile(r"In '([^']+)': ConfigKeyError .*?(?:not in '(\w+)'.*)?full_key: (\S+)")
WRONG = re.compile(r"In '([^']+)': ValidationError raised while composing config: (.*) full_key: (\S+)")
MISSING = re.compile(r"Could not find '(hydra/\w+)/(\w+)'")
EXTRAS = {"optuna": "optuna", "joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}  # by plugin


def in_words(error: Exception) -> str:
    """A composition's error in one line; a missing plugin of Hydra is named by our extra."""
    absent = ABSENT.search(str(error))
    if absent is not None:
        option = absent[1] or absent[2]
        parent, _, part = option.partition("/")
        return f"{option}: expected a {parent} that has a {part} (see {parent}=NAME --cfg job), got one without"
    text = " ".join(str(error).split())
    if strange := STRANGE.search(text):
        return f"{strange[3]}: expected a key of {strange[2] or 'the config'}, got one in {strange[1]}"
    if wrong := WRONG.search(text):
        return f"{wrong[3]}: {wrong[2]} in {wrong[1]}"
    missing = MISSING.search(str(error))
    if missing is None or missing[2] not in EXTRAS:
        return text or type(error).__name__
    return lacking(missing[1], EXTRAS[missing[2]], missing[2])

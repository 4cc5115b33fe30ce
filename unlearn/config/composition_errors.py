"""Rewrites Hydra's message about a failed composition in plain words."""

from __future__ import annotations

import re

from unlearn.config.clusters import describe_missing_extra

# Hydra's messages:
# about a group that the chosen option of the parent group does not have, without and with a plus
NO_SUBGROUP = re.compile(r"Could not override '(\w+/[\w/]+)'|In 'schema/(\w+/\w+)/\w+': ConfigKeyError")
# about an unknown key in a file
UNKNOWN_KEY = re.compile(r"In '([^']+)': ConfigKeyError .*?(?:not in '(\w+)'.*)?full_key: (\S+)")
# about an invalid value in a file
INVALID_VALUE = re.compile(r"In '([^']+)': ValidationError raised while composing config: (.*) full_key: (\S+)")
# about a plugin that is not installed
MISSING_PLUGIN = re.compile(r"Could not find '(hydra/\w+)/(\w+)'")
EXTRAS = {"optuna": "optuna", "joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}  # by plugin


def describe_composition_error(error: Exception) -> str:
    """Return one line about a failed composition; for a missing plugin, it names the extra of `unlearn` to install."""
    if no_subgroup := NO_SUBGROUP.search(str(error)):
        option = no_subgroup[1] or no_subgroup[2]
        parent, _, part = option.partition("/")
        return f"{option}: expected a {parent} that has a {part} (see {parent}=NAME --cfg job), got one without"
    text = " ".join(str(error).split())
    if unknown := UNKNOWN_KEY.search(text):
        return f"{unknown[3]}: expected a key of {unknown[2] or 'the config'}, got one in {unknown[1]}"
    if invalid := INVALID_VALUE.search(text):
        return f"{invalid[3]}: {invalid[2]} in {invalid[1]}"
    missing = MISSING_PLUGIN.search(str(error))
    if missing is None or missing[2] not in EXTRAS:
        return text or type(error).__name__
    return describe_missing_extra(missing[1], EXTRAS[missing[2]], missing[2])

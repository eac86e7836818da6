"""The identity of a trial: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from src.settings import Settings

# What names, records or selects a trial without changing its result. The data enter by the hash of their content.
NOT_IN_IDENTITY = frozenset({"study", "tracking", "plan", "rerun", "retry_failed", "fail_fast", "plan_only", "checkpoint", "data"})

# Toggles that came later, with the value that every trial had before: at it they are left out, and old identities stay.
ADDED = {
    "kernel_initializer": "glorot_uniform",
    "recurrent_initializer": "orthogonal",
    "accumulate": 1,
    "drop_remainder": False,
    "retracing": "signature",
    "tokens": "word",
}


def identity(settings: Settings, *, data_digest: str) -> str:
    """Returns 16 hexadecimal digits that two trials share exactly if their normalised settings and their data are equal.

    Args:
      settings: normalised settings (`rules.normalise`), all of them: an edited default must not change what old results mean.
        Keys at null are left out, and those of `ADDED` at the value there: a toggle that is added later leaves old identities as
        they are.
      data_digest: hash of the encoded corpus.
    """
    values = {
        key: value
        for key, value in settings.model_dump().items()
        if key not in NOT_IN_IDENTITY and value is not None and (key not in ADDED or value != ADDED[key])
    }
    return digest({"settings": values, "data": data_digest})


def digest(value: Any) -> str:
    """Returns 16 hexadecimal digits of a plain value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

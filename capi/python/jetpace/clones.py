"""Copies of what a block was called with, so that it can run again and change nothing."""

from __future__ import annotations

import copy
from typing import Any

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def clone(value: Any) -> Any:
    """A copy of arguments: tensors without their gradients, containers, and objects that hold tensors, such as caches of
    keys and values."""
    if isinstance(value, _PLAIN):
        return value
    if hasattr(value, "detach") and hasattr(value, "clone"):
        return value.detach().clone()
    if isinstance(value, dict):
        return type(value)((key, clone(held)) for key, held in value.items()) if type(value) is dict else copy.deepcopy(value)
    if type(value) in (list, tuple):
        return type(value)(clone(held) for held in value)
    return copy.deepcopy(value)

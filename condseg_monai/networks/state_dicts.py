"""Words for error messages about state_dicts."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["name_keys"]


def name_keys(keys: Iterable[str], limit: int = 12) -> str:
    """List keys in order, the first ``limit`` by name: ``[a, b, ... 3 more]``."""
    names = sorted(keys)
    more = [f"... {len(names) - limit} more"] if len(names) > limit else []
    return f"[{', '.join(names[:limit] + more)}]"

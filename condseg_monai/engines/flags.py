"""Yes or no, as it comes from a config or a command line."""

from __future__ import annotations

__all__ = ["read_flag"]

_WORDS = {"true": True, "false": False}


def read_flag(value: bool | str, name: str) -> bool:
    """Read a flag that MONAI's command line may have left as a word: ``--resume false`` arrives as ``"false"``.

    Args:
        value: a bool, or ``"true"`` or ``"false"`` in any case.
        name: what to call it in an error.

    Returns:
        The flag.

    Raises:
        ValueError: if it is anything else.

    Example:
        >>> read_flag("false", "resume")
        False
    """
    flag = _WORDS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return flag

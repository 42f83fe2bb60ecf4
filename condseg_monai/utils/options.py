"""Yes or no, as it comes from a config or a command line."""

from __future__ import annotations

__all__ = ["read_flag"]

_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def read_flag(value: bool | int | str, name: str) -> bool:
    """Read a flag that MONAI's command line may have left as a word: ``--resume false`` arrives as ``"false"``.

    Configs read each of their flags with this once, in ``flags``; elsewhere a word for no would count as true.

    Args:
        value: a bool, 0 or 1, or one of ``true``, ``false``, ``yes``, ``no``, ``on``, ``off``, ``1`` and ``0`` in any
            case.
        name: what to call it in an error.

    Returns:
        The flag.

    Raises:
        ValueError: if it is anything else.

    Example:
        >>> read_flag("false", "resume")
        False
    """
    flag = _WORDS.get(str(value).strip().lower()) if isinstance(value, (bool, int, str)) else None
    if flag is None:
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return flag

"""ConDSeg, Med-DisSeg and DEC-Seg as MONAI components.

Every public name of the subpackages is here too, so that a bundle's JSON can say ``condseg_monai.Name``. They are
imported at their first use: ``import condseg_monai`` alone loads neither torch nor MONAI.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from condseg_monai.version import __version__ as __version__

if TYPE_CHECKING:
    from condseg_monai import data, inference, losses, metrics, networks, reports, segmenter, training, utils  # noqa: F401
    from condseg_monai.data import *  # noqa: F403
    from condseg_monai.inference import *  # noqa: F403
    from condseg_monai.losses import *  # noqa: F403
    from condseg_monai.metrics import *  # noqa: F403
    from condseg_monai.networks import *  # noqa: F403
    from condseg_monai.reports import *  # noqa: F403
    from condseg_monai.segmenter import *  # noqa: F403
    from condseg_monai.training import *  # noqa: F403
    from condseg_monai.utils import *  # noqa: F403

_PACKAGES = ("utils", "networks", "losses", "metrics", "data", "training", "inference", "reports", "segmenter")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name == "__all__" or not name.startswith("_"):
        public = _public_names()
        if name in public:
            return public[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_public_names()})


def _public_names() -> dict[str, Any]:
    """Import the subpackages, and keep what they list as public, so that this happens once."""
    modules = [import_module(f"{__name__}.{package}") for package in _PACKAGES]
    public = {name: getattr(module, name) for module in modules for name in module.__all__}
    public["__all__"] = ["__version__", *public]
    globals().update(public)
    return public

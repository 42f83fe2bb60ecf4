"""ConDSeg, Med-DisSeg and DEC-Seg as MONAI components.

All public names are here, so that a bundle's JSON can say ``condseg_monai.Name``; ``__init__.pyi`` lists them. Each is
imported at its first use: ``import condseg_monai`` alone loads neither torch nor MONAI.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

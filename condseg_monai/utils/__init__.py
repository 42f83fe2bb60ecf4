"""Files, environment and option values; imports nothing else of this package."""

from condseg_monai.utils.environment import describe_environment
from condseg_monai.utils.files import atomic_write, file_sha256, keep_earlier, write_checkpoint, write_json
from condseg_monai.utils.options import read_flag
from condseg_monai.utils.unknown_options import check_knobs

__all__ = [
    "atomic_write",
    "check_knobs",
    "describe_environment",
    "file_sha256",
    "keep_earlier",
    "read_flag",
    "write_checkpoint",
    "write_json",
]

"""Files, environment and option values; imports nothing else of this package."""

from condseg_monai.utils.command_line import check_command_line
from condseg_monai.utils.environment import describe_environment
from condseg_monai.utils.files import atomic_write, file_sha256, write_checkpoint, write_json
from condseg_monai.utils.options import read_options

__all__ = [
    "atomic_write",
    "check_command_line",
    "describe_environment",
    "file_sha256",
    "read_options",
    "write_checkpoint",
    "write_json",
]

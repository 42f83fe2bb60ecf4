from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def same_loggers() -> Iterator[None]:
    """Give the loggers back what a command takes from them."""
    root = list(logging.root.handlers), logging.root.level
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, list(logger.handlers), list(logger.filters), logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:] = root[0]
    logging.root.setLevel(root[1])
    for logger, handlers, filters, propagate in before:
        logger.handlers[:], logger.filters[:], logger.propagate = handlers, filters, propagate

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def same_loggers() -> Iterator[None]:
    """Give the loggers back what a command takes from them."""
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, list(logger.handlers), list(logger.filters), logger.propagate) for logger in loggers]
    yield
    for logger, handlers, filters, propagate in before:
        logger.handlers[:], logger.filters[:], logger.propagate = handlers, filters, propagate

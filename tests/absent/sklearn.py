raise ImportError("left out of the processes that tests start: tests/conftest.py")

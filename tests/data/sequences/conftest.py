"""What the tests of sequences share."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes a file of equations or molecules; returns its `data.name`."""

    def make(content, kind="equations"):
        path = tmp_path / f"{kind}.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"{kind}:{path}"

    return make

"""What the commands print and write: in any locale, and to a pipe that is closed."""

import ast
import errno
import io
import os
import subprocess
import sys

import pytest
from helpers import ROOT

from sfvae_jax.runtime import output
from sfvae_jax.runtime.display import Display

PROGRAM = """
import sys
import output  # by itself, without JAX
output.prepare()
{}
"""


def _start(code, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(code)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "sfvae_jax" / "runtime"),
            "PYTHONUNBUFFERED": "",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_what_the_locale_lacks_is_printed_as_its_escape():
    code = "output.say('a \\u00b1 b'); output.say_error('\\u2020')"
    out, err = _start(code, PYTHONIOENCODING="ascii").communicate()
    assert out == b"a \\xb1 b\n"
    assert err == b"sfvae_jax: error: \\u2020\n"


def test_a_reader_that_leaves_ends_nothing():
    code = (
        "for _ in range(3):\n"
        "    output.say('x' * 100_000)\n"
        "with output.reader_may_leave():\n"
        "    print('x' * 100_000)\n"
        "print('left in the buffer')\n"
        "output.say('the end', sys.stderr)"
    )
    with _start(code) as process:
        process.stdout.close()
        assert process.stderr.read() == b"the end\n"
    assert process.returncode == 0
    with _start("output.say_error('x'); print('left')") as process:
        process.stderr.close()
        process.stdout.close()
    assert process.returncode == 0


def test_what_cannot_be_written_ends_no_progress(monkeypatch, capsys):
    """The output fails, as if the terminal of a running run were closed."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    with Display(0, 2) as display:
        display.show(2, "", "step 2/2")
    output.say_error("x")
    with pytest.raises(OSError, match="Input/output error"):
        output.say("a table", sys.stderr)


def _opens_text_in_the_locale(call):
    """Whether a call reads or writes text, and leaves the encoding to the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in ("read_text", "write_text", "open") or "encoding" in _keywords(call):
        return False
    if name != "open":
        return name == "read_text" or not isinstance(call.func, ast.Name)
    of = call.func.value if isinstance(call.func, ast.Attribute) else None
    if ast.unparse(of or call.func) in ("os", "Image", "ts", "ts.KvStore", "self._zip", "source"):
        return False
    modes = [*call.args, *_keywords(call).values()]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    return not any("b" in text for text in texts if isinstance(text, str))


def _keywords(call):
    return {keyword.arg: keyword.value for keyword in call.keywords}


def test_no_file_is_read_or_written_in_the_encoding_of_the_locale():
    found = []
    for folder in ("sfvae_jax", "launch", "benchmarks", "configs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Call) and _opens_text_in_the_locale(node):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []

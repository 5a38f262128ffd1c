r"""report.tex, read as LaTeX reads it: its columns, and that no text of others is a command."""

import re
import shutil
import subprocess

import pytest

from sfvae_jax.reporting.cells import Cell, table_of
from sfvae_jax.reporting.latex import escape, to_latex
from sfvae_jax.reporting.markdown import to_markdown

HOSTILE = 'folder:/50%_a&b#c$d{e}~f^g\\end--h|<i>"`[j]*'


def _cell(mean, std=None, published=None, step="100", **others):
    return {"mean": mean, "std": std, "published": published, "published_step": step, **others}


def _method(name, measures, runs=3, incomplete=()):
    incomplete = dict(incomplete)
    return {"method": name, "runs": runs, "measures": measures, "incomplete": incomplete}


PAPER = {"source": "SFVAE, Table 4", "num_runs": 10, "methods": ["sampling"]}
PAPER |= {"differences": {"data.name": ([HOSTILE], "mnist")}, "note": "50% of x_1 & y."}
SUMMARY = {
    "methods": [
        _method(
            "sampling",
            {
                "collapse_fraction": {
                    "100": _cell(0.4, 0.2, [0.99, 0.015]),
                    "200": _cell(0.3, 0.1, [0.6, None], "1000", published_data="mnist"),
                },
                "lower_bound": {"200": _cell(-12.34, 0.5, caveats=[f"it is at {HOSTILE}"])},
            },
        ),
        _method(
            f"rae (data.name={HOSTILE})",
            {"search_best_1": {"200": _cell(0.4, texts=["x^2 & y_1"])}},
            runs=1,
            incomplete={"lower_bound": {"200": 1}},
        ),
    ],
    "published": [PAPER],
}
RUNS = ["seed=0,data.name=50%", "b\nc"]


def _uncommented(text):
    return "\n".join(re.sub(r"(?<!\\)%.*", "", line) for line in text.splitlines())


def _split(text, separators):
    """At those of the separators that stand outside braces, as TeX's alignments do."""
    parts, depth, place = [""], 0, 0
    while place < len(text):
        token = text[place : place + 2] if text[place] == "\\" else text[place]
        depth += (token == "{") - (token == "}")
        assert depth >= 0
        if token in separators and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
        place += len(token)
    assert depth == 0
    return parts


def _tabular(text):
    """The letters of its columns, and its rows of cells; a cell over two columns stands twice."""
    body = _uncommented(text)
    columns, inside = re.search(
        r"\\begin\{tabular\}\{(\w+)\}(.*)\\end\{tabular\}", body, re.DOTALL
    ).groups()
    rows = []
    for line in _split(inside, {r"\\"}):
        line = re.sub(r"\\(top|mid|bottom)rule|\\cmidrule\(lr\)\{\d+-\d+\}", "", line)
        if not line.strip():
            continue
        cells = []
        for cell in (cell.strip() for cell in _split(line, {"&"})):
            over = re.fullmatch(r"\\multicolumn\{2\}\{c\}\{(.*)\}", cell, re.DOTALL)
            cells += [over[1]] * 2 if over else [cell]
        rows.append(cells)
    return columns, rows


def _read(text):
    """What TeX prints for an escaped text."""
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^"}
    names |= {"textless": "<", "textgreater": ">", "textbar": "|", "char34": '"'}
    names |= {"textasciigrave": "`"}
    text = re.sub(r"\\([a-z]+(?:34)?)\{\}", lambda found: names[found[1]], text)
    text = text.replace("{}", "").replace("{[}", "[").replace("{*}", "*")
    return re.sub(r"\\([%_&#${}])", r"\1", text)


def test_every_row_has_as_many_columns_as_the_head():
    columns, rows = _tabular(to_latex(SUMMARY, RUNS, {}))
    assert columns == "lr" + "rr" * 2 + "r" * 2
    assert {len(row) for row in rows} == {len(columns)}
    head, second, sampling, rae = rows
    assert head[2] == head[3] == r"\shortstack{collapse fraction \\ step 100}"
    assert second[2:6] == ["obtained", "published"] * 2
    assert second[:2] + second[6:] == [""] * 4
    assert sampling == [
        "sampling",
        "3",
        r"$40.0\% \pm 20.0\%$",
        r"$99.0\% \pm 1.5\%$",
        r"$30.0\% \pm 10.0\%$",
        r"$60.0\%$ (step 1000)$^{\ddagger}$",
        r"$-12.3 \pm 0.5$$^{\dagger}$",
        "---",
    ]
    assert _read(rae[0]) == f"rae (data.name={HOSTILE})"
    assert rae[2:] == ["---", "", "---", "", "---", "$0.40$"]


def test_the_cells_are_those_of_the_markdown():
    latex = to_latex(SUMMARY, RUNS, {})
    for _, cells in table_of(SUMMARY).rows:
        for cell in cells:
            shown = [cell.obtained, cell.published] if isinstance(cell, Cell) else [cell]
            for text in filter(None, shown):
                assert text in to_markdown(SUMMARY)
                sought = text.replace("%", r"\%").replace("±", r"\pm").replace("—", "---")
                assert sought in latex


def test_many_measures_are_rows():
    cell = lambda i: {"9": _cell(-float(i), None, [1.0, 0.5], "9")}  # noqa: E731
    measures = {f"optimal_q{i}_bound_test": cell(i) for i in range(13)}
    summary = {"methods": [_method("a_b", measures), _method("c", {})], "published": []}
    columns, rows = _tabular(to_latex(summary, [], {}))
    assert columns == "lrrr"
    assert rows[0] == ["method", r"a\_b", r"a\_b", "c"]
    assert rows[2] == ["runs", "3", "", "3"]
    assert rows[3] == ["optimal q0 bound test, step 9", "$-0.00$", r"$1.00 \pm 0.50$", "---"]
    assert {len(row) for row in rows} == {4}


def test_no_given_text_becomes_markup():
    text = _uncommented(to_latex(SUMMARY, RUNS, {}))
    for hostile in (HOSTILE, "50% of x_1 & y.", "x^2 & y_1"):
        assert escape(hostile) in text
    allowed = {"begin", "centering", "caption", "toprule", "midrule", "bottomrule", "cmidrule"}
    allowed |= {"multicolumn", "shortstack", "end", "par", "smallskip", "footnotesize", "texttt"}
    allowed |= {"pm", "dagger", "ddagger", "char", "textbackslash", "textasciitilde", "textbar"}
    allowed |= {"textasciicircum", "textless", "textgreater", "textasciigrave"}
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= allowed
    assert [name for name in re.findall(r"\\end(\{\w+\})?", text)] == ["{tabular}", "{table}"]
    _split(text, set())  # its braces are whole
    formulas = re.findall(r"(?<!\\)\$([^$]*)(?<!\\)\$", text)
    assert all(
        re.fullmatch(r"(-?[\d.]+(\\%)?( \\pm [\d.]+(\\%)?)?)|\^\{\\d?dagger\}|\\pm", f)
        for f in formulas
    )
    assert not re.search(r"[±†‡—]", text)


@pytest.mark.parametrize("text", [HOSTILE, "", "a--b---c", "[a]", "*", "{}{}", "$x_1^2$", "50%"])
def test_an_escaped_text_is_printed_unchanged(text):
    assert _read(escape(text)) == text
    assert "--" not in escape(text)


def test_control_characters_and_lines_are_not_kept():
    assert escape("a\n\n%b\x07\udc80") == r"a \%b??"


def test_comments_name_the_runs_and_what_was_left_out(tmp_path):
    text = to_latex(SUMMARY, RUNS, {tmp_path / "results.json": "it is damaged\n\\input{x}"})
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert comments[1] == "% Runs: seed=0,data.name=50%, b c"
    assert comments[2].endswith(r"results.json: it is damaged \input{x}")
    assert r"\input" not in _uncommented(text)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_pdflatex_compiles_it(tmp_path):
    (tmp_path / "report.tex").write_text(to_latex(SUMMARY, RUNS, {}), encoding="utf-8")
    page = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{report}\end{document}"
    )
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

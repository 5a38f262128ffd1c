"""The picture of a report's table."""

import pytest

from sfvae_jax.reporting.pictures import bars


@pytest.mark.parametrize("name", ["rae", "sampling (data.name=folder:" + "/a_folder" * 30 + ")"])
def test_the_legend_of_a_report_stays_within_it(tmp_path, monkeypatch, name):
    drawn = []
    monkeypatch.setattr(bars, "save", lambda figure, path: drawn.append(figure))
    cell = {"mean": 1.0, "std": None, "published": [1.0, None], "published_step": "2"}
    method = {"method": name, "measures": {"loss": {"2": {**cell, "published_data": "mnist"}}}}
    other = {"method": "other", "measures": {"fid": {"2": {**cell, "published": None}}}}
    bars.draw_report([method, other], tmp_path / "report.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    shown = "".join(figure.legends[0].get_texts()[1].get_text().split())
    assert shown == f"{name}, published for mnist".replace(" ", "")
    assert figure.legends[0].get_texts()[2].get_text() == "other, obtained"
    assert figure.axes[0].get_window_extent().height > 100

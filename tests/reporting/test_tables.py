import re
from io import StringIO

import numpy as np
from rich.console import Console

from deeplab.reporting.run_files import metrics_document
from deeplab.reporting.tables import percent, result_table

BEFORE = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])
AFTER = np.array([[4, 0, 0], [1, 3, 0], [0, 0, 0]])


def printed(matrix_crf=AFTER, skipped=0, names=("sky", "[red]tree", "car"), **options):
    document = metrics_document(
        BEFORE,
        matrix_crf,
        class_names=names,
        num_images=7,
        num_skipped=skipped,
        num_crf_skipped=0,
        config={},
        seconds=2,
        **options,
    )
    console = Console(width=100, record=True, file=StringIO())
    console.print(result_table(document, title="voc12 val"))
    return console.export_text()


def row(text, name):
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    return re.split(r"\s{2,}", line.strip())[1:]


def test_scores_before_and_after_the_crf_and_the_gain():
    text = printed()
    assert "voc12 val" in text
    assert "7 pictures, 2 s" in text
    assert row(text, "mIoU") == ["60.00", "77.50", "+17.50"]
    assert row(text, "pixel accuracy") == ["75.00", "87.50", "+12.50"]
    assert row(text, "mean accuracy") == ["75.00", "87.50", "+12.50"]
    assert row(text, "IoU sky") == ["60.00", "80.00", "+20.00"]
    assert row(text, "IoU [red]tree") == ["60.00", "75.00", "+15.00"]
    assert row(text, "IoU car") == ["–", "–", "–"]


def test_without_a_crf():
    text = printed(matrix_crf=None, skipped=3)
    assert row(text, "mIoU") == ["60.00", "–", "–"]
    assert row(text, "IoU sky") == ["60.00", "–", "–"]
    assert "3 unreadable and left out" in text


def test_the_papers_numbers_stand_under_ours():
    text = printed(paper={"table": 3, "row": "ASPP-S", "miou": 0.6698, "miou_crf": 0.6973})
    assert row(text, "paper (Table 3, ASPP-S)") == ["66.98", "69.73", "+2.75"]
    assert row(printed(paper={"miou": 0.5}), "paper") == ["50.00", "–", "–"]


def test_no_gain_and_loss():
    assert row(printed(matrix_crf=BEFORE), "mIoU")[2] == "0.00"
    worse = np.array([[2, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert row(printed(matrix_crf=worse), "IoU [red]tree") == ["60.00", "50.00", "-10.00"]


def test_percent():
    assert [percent(value) for value in (None, 0.0, 1.0, 0.123456)] == ["–", "0.00", "100.00", "12.35"]

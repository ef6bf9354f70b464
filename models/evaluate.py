"""Runs the ONNX file with onnxruntime and writes down what it gets right."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from scenes import centre_square
from train import normalise


class Runner:
    """The exported model, one image at a time, as the app runs it."""

    def __init__(self, path: Path, mean: list[float], std: list[float]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.mean, self.std = mean, std

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Logits of one uint8 [side, side, 3] image."""
        x = normalise(image.astype(np.float32) / 255, self.mean, self.std)
        return self.session.run(None, {"input": x.transpose(2, 0, 1)[None]})[0][0]

    def answers(self, images: np.ndarray) -> np.ndarray:
        return np.array([int(self.logits(image).argmax()) for image in images])


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % Wilson interval of a share."""
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return middle - half, middle + half


def accuracy_line(title: str, answers: np.ndarray, labels: np.ndarray) -> str:
    right = int((answers == labels).sum())
    low, high = wilson(right, len(labels))
    return (f"{title}: {right} of {len(labels)} right, {100 * right / len(labels):.2f} % "
            f"(95 % Wilson interval {100 * low:.2f} to {100 * high:.2f} %)")


def class_table(names: list[str], labels: np.ndarray, straight: np.ndarray, jpeg: np.ndarray) -> str:
    """Markdown table of accuracy by class, with the most frequent mistake."""
    rows = ["| class | images | right | right after JPEG q75 | most frequent mistake |", "|---|---|---|---|---|"]
    for i, name in enumerate(names):
        mine = labels == i
        wrong = straight[mine & (straight != i)]
        mistake = ""
        if len(wrong):
            counts = np.bincount(wrong, minlength=len(names))
            mistake = f"{names[int(counts.argmax())]} ({counts.max()})"
        rows.append(f"| {name} | {mine.sum()} | {100 * (straight[mine] == i).mean():.1f} % "
                    f"| {100 * (jpeg[mine] == i).mean():.1f} % | {mistake} |")
    return "\n".join(rows)


def samples_right(runner: Runner, folder: Path, side_px: int) -> tuple[int, list[str]]:
    """How many of the sample JPEG files are named correctly, and a line for each wrong one."""
    right, wrong = 0, []
    with open(folder / "labels.csv", newline="") as f:
        for row in csv.DictReader(f):
            answer = int(runner.logits(centre_square(Image.open(folder / row["file"]), side_px)).argmax())
            if answer == int(row["class_index"]):
                right += 1
            else:
                wrong.append(f"{row['file']}: answered {answer}")
    return right, wrong

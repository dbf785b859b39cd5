"""The files that CVNet's authors published, which SuperGlobal uses too; imports nothing heavy."""

from __future__ import annotations

from typing import Any

PROJECT = "sungonce/CVNet"
TRAINING_SET = "not stated"
LICENCE = "not stated for the weights; sungonce/CVNet has no licence file"
FOLDER = "https://drive.google.com/drive/folders/1gMbZ8JlTyPlH2-6HW5NHRe58LmKfJybx"
SCALES = (0.7071, 1.0, 1.4142)


def weights(depth: int, licence_code: str) -> dict[str, Any]:
    """Return the facts about the file of a ResNet; `licence_code` is that of the program."""
    return {
        "file": f"CVPR2022_CVNet_R{depth}.pyth",
        "manual": f"Google Drive ({FOLDER}), as {PROJECT} says",
        "licence": "not stated",
        "licence_code": licence_code,
        "training_set": TRAINING_SET,
        "dim": 2048,
    }

"""The files that Token's authors published, as facts for WEIGHTS; imports nothing heavy."""

PROJECT = "MCC-WH/Token"
LICENCE = f"not stated for the weights; that of {PROJECT} is MIT"
TRAINING_SET = "GLDv2-clean (81,313 classes)"


def drive(file: str, file_id: str) -> dict[str, str]:
    """Return the facts about a file that the project's README links to on Google Drive."""
    return {
        "file": file,
        "url": f"https://drive.google.com/uc?export=download&id={file_id}",
        "manual": f"Google Drive (https://drive.google.com/file/d/{file_id}), as {PROJECT} says",
        "licence": LICENCE,
        "training_set": TRAINING_SET,
    }

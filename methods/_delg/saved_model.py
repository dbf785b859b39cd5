"""Models that TensorFlow wrote, read for conversion: variables, graph, answers.

TensorFlow is an optional extra, and imported by `library` alone, which the other functions call in
a process of its own: see `apart`. A source is a SavedModel (a folder with saved_model.pb and
variables/), or a checkpoint (FILE.index beside FILE.data-…), which has variables only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, first_few

GRAPH = "saved_model.pb"
FEEDS = ("input_image", "input_scales", "input_max_feature_num", "input_abs_thres",
         "input_global_scales_ind")  # fmt: skip
FETCHES = ("boxes", "features", "scores", "global_descriptors")
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@contextlib.contextmanager
def apart() -> Iterator[Callable[..., Any]]:
    """Give a function that calls another, with its arguments, in a process for TensorFlow.

    TensorFlow and PyTorch in one process may end it: both bring the same compiler library (LLVM).
    """
    if find_spec("tensorflow") is None:
        raise BenchError(
            "a conversion needs TensorFlow, which is not installed here; install the package "
            "tensorflow (the extra `tensorflow` of this project)."
        )
    with ProcessPoolExecutor(1, get_context("spawn"), _quiet) as pool:
        try:
            yield lambda function, *request: pool.submit(function, *request).result()
        except BrokenProcessPool as error:
            raise BenchError(
                "the process of TensorFlow ended without an answer; it may have run out of memory."
            ) from error


def _quiet() -> None:
    """Close standard error of this process: TensorFlow logs there, and faults are exceptions."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def library() -> Any:
    """Return TensorFlow, on the processor only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's remarks on its own parts
        import tensorflow
    with contextlib.suppress(RuntimeError):  # this process has used it before
        tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow


def has_graph(source: Path) -> bool:
    """Tell whether `source` is a SavedModel, which can answer, and not only a checkpoint."""
    return (source / GRAPH).is_file()


def prefix(source: Path) -> Path:
    """Return what the files of the variables have in common: FILE of FILE.index."""
    if not source.exists() and not source.with_name(f"{source.name}.index").is_file():
        raise BenchError(f"the model {source} does not exist.")
    if source.is_dir():
        folder = source / "variables" if has_graph(source) else source
        found = sorted(folder.glob("*.index"))
        if len(found) == 1:
            return found[0].with_suffix("")
        what = "no checkpoint" if not found else f"{len(found)} checkpoints: {first_few(found)}"
        raise BenchError(f"the folder {folder} holds {what}; one FILE.index is needed.")
    if source.suffix == ".index":
        return source.with_suffix("")
    if source.with_name(f"{source.name}.index").is_file():
        return source
    raise BenchError(
        f"{source} is not a TensorFlow model: give a folder with {GRAPH}, or a FILE.index beside "
        "its FILE.data-…; unpack archives first."
    )


def sha256(source: Path) -> str:
    """Return the hash of a source: of the names and bytes of its files, in order of names."""
    if has_graph(source):
        files = [source / GRAPH, *sorted((source / "variables").glob("*"))]
    else:
        first = prefix(source)
        files = sorted(first.parent.glob(f"{first.name}.*"))
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def variables(source: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float variables of a source by their names in the graph, without ":0".

    TensorFlow 2 stores under paths of objects; the names in the graph are beside them in the file.
    """
    tensorflow = library()
    place = prefix(source)
    try:
        reader = tensorflow.train.load_checkpoint(str(place))
        shapes = reader.get_variable_to_shape_map()
        names = _names(reader.get_tensor(_OBJECTS)) if _OBJECTS in shapes else {}
        found = {}
        for key, kind in reader.get_variable_to_dtype_map().items():
            if kind.is_floating:
                name = names.get(key, key.removesuffix(_VALUE))
                found[name] = np.asarray(reader.get_tensor(key), dtype=np.float32)
    except Exception as error:  # a damaged file raises many types, IndexError among them
        raise BenchError(
            f"the variables of {source} cannot be read: {place.name}.index or a file of data "
            "beside it is missing, truncated or damaged."
        ) from error
    return found


def _names(serialised: bytes) -> dict[str, str]:
    """Return the name in the graph of each key, where it is the name of one key only."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialised)
    pairs = [
        (attribute.checkpoint_key, attribute.full_name)
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.full_name
    ]
    names = [name for _, name in pairs]
    return {key: name for key, name in pairs if names.count(name) == 1}


def half_pixel_centers(source: Path) -> bool:
    """Return how the graph of a SavedModel resizes, from all its nodes ResizeBilinear."""
    library()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        model = saved_model_pb2.SavedModel.FromString((source / GRAPH).read_bytes())
    except DecodeError as error:
        raise BenchError(f"{source / GRAPH} cannot be read: it is truncated or damaged.") from error
    rules: set[tuple[bool, bool]] = set()
    for graph in (meta_graph.graph_def for meta_graph in model.meta_graphs):
        bodies = [graph.node, *(function.node_def for function in graph.library.function)]
        for node in (node for body in bodies for node in body if node.op == "ResizeBilinear"):
            rules.add((node.attr["half_pixel_centers"].b, node.attr["align_corners"].b))
    if len(rules) != 1 or next(iter(rules))[1]:
        found = ", ".join(f"half_pixel_centers {a} align_corners {b}" for a, b in sorted(rules))
        raise BenchError(
            f"the graph of {source} resizes by {found or 'no node ResizeBilinear'}; known are "
            "nodes ResizeBilinear that agree, without align_corners."
        )
    return next(iter(rules))[0]


def answers(
    source: Path, images: Sequence[NDArray[np.uint8]], scales: Sequence[float]
) -> list[dict[str, NDArray[Any]]]:
    """Return the output of the graph of a SavedModel for images, uint8 (height, width, 3) in RGB.

    Per image: "global" (scales, dim), and "boxes" (n, 4), "features" (n, d) and "scores" (n, 1) of
    local features at scale 1, at most 1000 with the highest scores. None of it is normalised.
    """
    tensorflow = library()
    try:
        model = tensorflow.saved_model.load(str(source))
    except Exception as error:  # TensorFlow raises nearly every type for a damaged model
        raise BenchError(f"TensorFlow cannot load the model {source}.") from error
    function = _function(model, source)

    def ask(image: NDArray[np.uint8], scales: Sequence[float]) -> dict[str, NDArray[Any]]:
        factors = np.array(scales, dtype=np.float32)
        inputs = image, factors, np.int32(1000), np.float32(0), range(len(scales))
        try:
            outputs = function(*map(tensorflow.constant, inputs))
        except (tensorflow.errors.OpError, TypeError, ValueError) as error:
            raise BenchError(f"the graph of {source} does not run on an image.") from error
        return {name: value.numpy() for name, value in outputs.items()}

    found = []
    for image in images:
        local = ask(image, (1.0,))
        described = np.atleast_2d(ask(image, scales)["global_descriptors"])
        found.append({"global": described, **{key: local[key] for key in FETCHES[:3]}})
    return found


def _function(model: Any, source: Path) -> Callable[..., Any]:
    """Return a loaded model as a function of FEEDS that gives a mapping of FETCHES.

    TensorFlow 2 exports a signature, TensorFlow 1 tensors of these names.
    """
    signature = dict(model.signatures.items()).get("serving_default")
    if signature is not None and set(FETCHES) <= set(signature.structured_outputs):
        return lambda *inputs: signature(**dict(zip(FEEDS, inputs, strict=True)))
    try:
        pruned: Callable[..., Any] = model.prune(
            [f"{name}:0" for name in FEEDS], {name: f"{name}:0" for name in FETCHES}
        )
    except (AttributeError, KeyError, ValueError) as error:
        raise BenchError(
            f"the graph of {source} is not DELG: it lacks one of the tensors "
            f"{', '.join(FEEDS + FETCHES)}."
        ) from error
    return pruned

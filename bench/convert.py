"""Weights of another program made into a file for a method: the method knows how, if it can.

A plug-in that can has a function `convert(variant, source, unproven)`, which returns a state and a
mapping of strings that says where it comes from; it refuses what it cannot prove to be right,
unless `unproven`.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from bench import methods, plugins
from bench.errors import BenchError
from bench.paths import write_bytes


def convert(method: str, source: Path, output: Path, unproven: bool = False) -> Path:
    """Write `output`, a safetensors file for the method "name.variant", from a foreign model.

    The file appears complete or not at all, and replaces one that is there.
    """
    name, variant = methods.split(method)
    module = plugins.import_one(methods.KIND, name)
    if not callable(getattr(module, "convert", None)):
        raise BenchError(f"the method {name} takes its weights as they are; nothing is converted.")
    if variant is None:
        raise BenchError(f"say which variant the file is for: --method {name}.VARIANT.")
    if output.suffix != ".safetensors":
        raise BenchError(f"{output} is to be a safetensors file; give it that suffix.")
    try:
        state, said = module.convert(variant, source, unproven)
    except BenchError:
        raise
    except Exception as error:
        reason = plugins.fault(error, module.__file__)
        raise BenchError(f"{source} cannot be converted for {method}: {reason}.") from error
    write_bytes(output, save(state, said))
    return output

"""The command `list`: methods and data sets, broken ones with the reason."""

from __future__ import annotations

from bench.commands.parser import Command, Nothing


def show(given: Nothing) -> int:
    """Print all methods with their variants, then all data sets."""
    from bench import methods
    from bench.commands import data

    print("methods")
    for entry in methods.entries():
        print(f"  {entry.name}: {entry.error or entry.description}")
        for variant, text in entry.variants.items():
            print(f"    {entry.name}.{variant}: {text}")
    print("data sets")
    print("\n".join(data.lines()))
    return 0


COMMAND = Command(Nothing, show)

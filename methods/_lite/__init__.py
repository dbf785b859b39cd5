"""The `lite0` variants: networks, training, local features."""

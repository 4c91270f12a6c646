"""Tensors in shared memory: written once by the stage that makes them, read in place by those that get them."""

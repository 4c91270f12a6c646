"""What scores mean: the name of the largest."""

from __future__ import annotations

from collections.abc import Sequence

from streamflow import In, InputError, Message, Node, Out, Output


class Labels(Node):
    """Hands on scores float32[classes] with the attribute `label`, the name of the class that has the largest."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: of all classes, in their order."""
        if not names:
            raise InputError("Labels(names)", "none", "the name of each class")
        self.names = tuple(names)
        self.scores = In(f"float32[{len(self.names)}]")
        self.labelled = Out(f"float32[{len(self.names)}]")

    def process(self, message: Message) -> Output:
        return Output(message.array, attributes={"label": self.names[int(message.array.argmax())]})

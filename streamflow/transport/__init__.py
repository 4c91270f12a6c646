"""Links that carry messages between actors; the only place where ZeroMQ is imported."""

"""What a stage writes down of its data, and what is read of that when it is dead."""
